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

use kernel::{
    prelude::*,
    ThisModule, //
};
use vfio::pci::{
    CoreDevice,
    DeviceId,
    IdTable,
    Operations,
    Registration, //
};

mod device;
mod registers;

vfio::pci_device_table!(ID_TABLE, [DeviceId::new(0x1234, 0x11e8)]);

/// The driver.
struct SampleVfioPci;

#[vtable]
impl Operations for SampleVfioPci {
    type Device = device::Sample;

    const ID_TABLE: IdTable = IdTable::new(&ID_TABLE);
    const TRAPPED_BARS: &'static [u8] = &[registers::BAR];

    fn data_section_size() -> usize {
        64 * 1024
    }

    fn new(core: &CoreDevice) -> Result<device::Sample> {
        Ok(device::Sample::new(core))
    }
}

/// The module.
#[pin_data]
struct SampleModule {
    #[pin]
    _driver: Registration<SampleVfioPci>,
}

impl kernel::InPlaceModule for SampleModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _driver <- Registration::new(module),
        })
    }
}

module! {
    type: SampleModule,
    name: "sample_vfio_pci",
    authors: ["rvfio contributors"],
    description: "Sample VFIO PCI variant driver with live migration, for QEMU's edu device",
    license: "GPL",
}
