// SPDX-License-Identifier: GPL-2.0-only

//! vfio-pci variant drivers: the physical device, passed through, with migration on top.

mod container;
mod core_device;
mod data_file;
mod device_ref;
mod id;
mod migration_ops;
mod migration_region;
mod private_dma;
mod registers;
mod registration;
mod status;
mod trace;
mod trap;
mod variant;
mod variant_device;
mod vtable;

pub use self::{
    core_device::CoreDevice,
    id::{
        DeviceId,
        IdTable, //
    },
    private_dma::PassError,
    registers::Registers,
    registration::Registration,
    variant::{
        Protocols,
        Variant, //
    }, //
};
