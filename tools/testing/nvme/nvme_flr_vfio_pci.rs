// SPDX-License-Identifier: GPL-2.0-only

//! Variant driver of QEMU's NVMe controller for `test_offers.py`: it resets the
//! function each time.

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
    Registration,
    Reset, //
};

mod nvme;

vfio::pci_device_table!(ID_TABLE, [DeviceId::new(0x1b36, 0x0010)]);

/// The driver.
struct NvmeFlr;

#[vtable]
impl Operations for NvmeFlr {
    type Device = nvme::Nvme;

    const ID_TABLE: IdTable = IdTable::new(&ID_TABLE);
    const TRAPPED_BARS: &'static [u8] = &[nvme::BAR];
    const RESET: Reset = Reset::FunctionLevel;

    fn data_section_size() -> usize {
        64 * 1024
    }

    fn new(core: &CoreDevice) -> Result<nvme::Nvme> {
        Ok(nvme::Nvme::new(core))
    }
}

/// The module.
#[pin_data]
struct NvmeFlrModule {
    #[pin]
    _driver: Registration<NvmeFlr>,
}

impl kernel::InPlaceModule for NvmeFlrModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _driver <- Registration::new(module),
        })
    }
}

module! {
    type: NvmeFlrModule,
    name: "nvme_flr_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver of QEMU's NVMe controller, for tests",
    license: "GPL",
}
