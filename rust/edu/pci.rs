// SPDX-License-Identifier: GPL-2.0-only

//! A passed-through edu device.
//!
//! `hardware` accesses the registers of the PCI function, `buffer` its internal buffer. `device` is
//! the device as a guest and a migration see it.

mod buffer;
mod device;
mod hardware;

pub(crate) use self::device::EduDevice;
