// SPDX-License-Identifier: GPL-2.0-only

//! Mediated devices: several virtual PCI functions on one physical device.
//!
//! C header: [`include/linux/mdev.h`](srctree/include/linux/mdev.h)

mod config_space;
mod copies;
mod driver;
mod eventfd;
mod function;
mod handle;
mod interrupts;
mod ioctl;
mod mediated_device;
mod mediated_ops;
mod memory;
mod operations;
mod parent;
mod regions;
mod registration;
mod virtual_device;

pub use self::{
    driver::{
        Driver,
        DriverRegistration, //
    },
    function::Function,
    handle::Handle,
    operations::{
        Operations,
        Type, //
    },
    registration::Registration,
    virtual_device::VirtualDevice, //
};
