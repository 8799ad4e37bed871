// SPDX-License-Identifier: GPL-2.0-only

//! Sample: the least that a vfio-pci variant driver needs to make a device migratable.
//!
//! `Documentation/writing-a-driver.rst` explains it step by step. The device is QEMU's edu, of
//! which a guest can use one register, the liveness check.
//!
//! Limitations:
//!
//! - The guest's accesses to all other registers do nothing, so the device starts no DMA and raises
//!   no interrupt. `rust/edu` has a driver of the whole device.
//! - The driver does not wait for work that the device does when it is bound.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use vfio::pci::{
    CoreDevice,
    DeviceId,
    Operations,
    Trapped, //
};

mod device;
mod registers;

/// The driver.
struct SampleVfioPci;

#[vtable]
impl Operations for SampleVfioPci {
    type Device = device::Sample;

    const TRAPPED: &'static [Trapped] = &[Trapped::bar(registers::BAR)];

    fn new(core: &CoreDevice) -> Result<device::Sample> {
        Ok(device::Sample::new(core))
    }
}

vfio::module_pci_driver! {
    type: SampleVfioPci,
    name: "sample_vfio_pci",
    authors: ["rvfio contributors"],
    description: "Sample VFIO PCI variant driver with live migration, for QEMU's edu device",
    devices: [DeviceId::new(0x1234, 0x11e8)],
}
