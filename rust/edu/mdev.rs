// SPDX-License-Identifier: GPL-2.0-only

//! Several virtual edu devices on one physical one.
//!
//! Each virtual device has registers and an internal buffer of its own (`slot`). Its commands are
//! carried out by the physical device, in turn with those of the others (`mediator`). What a guest
//! and a migration see of it is `virtual_edu`.

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
