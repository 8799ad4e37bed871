// SPDX-License-Identifier: GPL-2.0-only

//! A passed-through edu device.
//!
//! Its registers are those of the physical function (`hardware`), and so is its internal buffer
//! (`buffer`). What a guest and a migration see of it is `device`.

mod buffer;
mod device;
mod hardware;

pub(crate) use self::device::EduDevice;
