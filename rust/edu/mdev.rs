// SPDX-License-Identifier: GPL-2.0-only

//! Several virtual edu devices on one physical one.
//!
//! Each virtual device has its own registers and internal buffer (`slot`). The physical device
//! carries out the commands of all of them in turn (`mediator`). `virtual_edu` is the device as a
//! guest and a migration see it.

mod hardware;
mod instances;
mod mediator;
mod parent;
mod slot;
mod transfers;
mod virtual_edu;

pub(crate) use self::{
    instances::TYPES,
    parent::{
        Control,
        EduParent, //
    },
    virtual_edu::VirtualEdu, //
};
