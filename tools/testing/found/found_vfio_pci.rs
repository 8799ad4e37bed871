// SPDX-License-Identifier: GPL-2.0-only

//! A variant driver of QEMU's edu device that finds what the device has written when it is asked,
//! and that reads the user's memory, for `test_found.py`.

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

vfio::pci_device_table!(ID_TABLE, [DeviceId::new(0x1234, 0x11e8)]);

/// The driver.
struct FoundVfioPci;

#[vtable]
impl Operations for FoundVfioPci {
    type Device = device::Found;

    const ID_TABLE: IdTable = IdTable::new(&ID_TABLE);
    const TRAPPED_BARS: &'static [u8] = &[device::BAR];

    fn data_section_size() -> usize {
        64 * 1024
    }

    fn new(core: &CoreDevice) -> Result<device::Found> {
        Ok(device::Found::new(core))
    }
}

/// The module.
#[pin_data]
struct FoundModule {
    #[pin]
    _driver: Registration<FoundVfioPci>,
}

impl kernel::InPlaceModule for FoundModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _driver <- Registration::new(module),
        })
    }
}

module! {
    type: FoundModule,
    name: "found_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver that finds dirty pages, for tests",
    license: "GPL",
}
