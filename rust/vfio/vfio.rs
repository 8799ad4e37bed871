// SPDX-License-Identifier: GPL-2.0-only

//! Safe abstractions over VFIO for drivers that make a device live-migratable.
//!
//! The only crate of the project with `unsafe` code and raw bindings. A driver implements
//! [`pci::Operations`] or [`mdev::Operations`] and the migration core's `Device` trait, and needs
//! neither.
//!
//! C headers: [`include/linux/vfio.h`](srctree/include/linux/vfio.h),
//! [`include/linux/vfio_pci_core.h`](srctree/include/linux/vfio_pci_core.h),
//! [`include/linux/mdev.h`](srctree/include/linux/mdev.h)

mod bindings;
mod compat;
mod debugfs;
mod device;
mod driver_module;
mod layout;
mod leaks;
mod lock;
pub mod log;
pub mod mdev;
pub mod pci;
pub mod physical;
pub mod wait;
pub mod workqueue;

pub use self::{
    device::Protocols,
    driver_module::DriverModule, //
};
