// SPDX-License-Identifier: GPL-2.0-only

//! vfio-pci variant driver of QEMU's edu device, with live migration.
//!
//! Limitations:
//!
//! - The device must be alone in its IOMMU group: its internal buffer is read and written through
//!   a domain of the driver's own.
//! - `dma_mask_bits` has one value for all devices, because a device does not show how many address
//!   bits it has.
//! - The device must accept a transfer that ends at the end of the internal buffer. That of QEMU
//!   7.2 does not.

#![forbid(unsafe_code)]

use core::ops::Range;

use kernel::{
    io::register::Register,
    prelude::*, //
};
use vfio::pci::{
    CoreDevice,
    DeviceId,
    Operations,
    Trapped, //
};

#[macro_use]
mod config;
mod image;
mod pci;
#[expect(dead_code, reason = "the mediated flavour emulates more of them")]
mod registers;
mod transfer;

use self::{
    config::Config,
    pci::EduDevice, //
};

/// The driver.
struct EduVfioPci;

#[vtable]
impl Operations for EduVfioPci {
    type Device = EduDevice;

    const TRAPPED: &'static [Trapped] = &[Trapped::bar(registers::BAR)];

    fn new(core: &CoreDevice) -> Result<EduDevice> {
        EduDevice::new(core, Config::given())
    }

    fn reads_through(_bar: u8, bytes: Range<u64>) -> bool {
        // The driver changes these registers only while the guest does not run.
        // CAST: Widening.
        bytes.end <= registers::DMA_SOURCE::OFFSET as u64
    }
}

edu_module! {
    vfio::module_pci_driver,
    type: EduVfioPci,
    name: "edu_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver of QEMU's edu device with live migration",
    devices: [DeviceId::new(0x1234, 0x11e8)],
}
