// SPDX-License-Identifier: GPL-2.0-only

//! vfio-pci variant drivers: the physical device, passed through, with migration on top.

mod container;
mod core_device;
mod id;
mod memory;
mod migration_region;
mod module;
mod operations;
mod passes;
mod pins;
mod power;
mod private_dma;
mod registers;
mod registration;
mod resets;
mod scope;
mod scratch;
mod traps;
mod variant_device;
mod variant_ops;

pub use self::{
    core_device::CoreDevice,
    id::DeviceId,
    operations::Operations,
    private_dma::PassError,
    registers::Registers,
    registration::Registration,
    resets::Reset,
    scratch::ScratchPage, //
};
pub use migration::trapped::Trapped;
