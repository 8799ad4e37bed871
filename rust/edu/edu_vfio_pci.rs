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
    prelude::*,
    ThisModule, //
};
use vfio::{
    pci::{
        CoreDevice,
        DeviceId,
        IdTable,
        Operations, //
        Registration,
    },
    Protocols, //
};

#[macro_use]
mod config;
mod image;
mod pci;
#[expect(dead_code, reason = "the mediated flavour emulates more of them")]
mod registers;
mod transfer;

use self::{
    config::Parameters,
    pci::EduDevice, //
};

vfio::pci_device_table!(ID_TABLE, [DeviceId::new(0x1234, 0x11e8)]);

/// The driver.
struct EduVfioPci;

#[vtable]
impl Operations for EduVfioPci {
    type Device = EduDevice;

    const ID_TABLE: IdTable = IdTable::new(&ID_TABLE);
    const TRAPPED_BARS: &'static [u8] = &[registers::BAR];

    fn protocols() -> Protocols {
        Parameters::protocols()
    }

    fn data_section_size() -> usize {
        Parameters::given().data_section_size()
    }

    fn new(core: &CoreDevice) -> Result<EduDevice> {
        EduDevice::new(core, Parameters::given().config())
    }

    fn reads_through(_bar: u8, bytes: Range<u64>) -> bool {
        // The driver changes these registers only while the guest does not run.
        // CAST: Widening.
        bytes.end <= registers::DMA_SOURCE::OFFSET as u64
    }
}

/// The module.
#[pin_data]
struct EduModule {
    #[pin]
    _driver: Registration<EduVfioPci>,
}

impl kernel::InPlaceModule for EduModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: { Parameters::given().check()? },
            _driver <- Registration::new(module),
        })
    }
}

edu_module! {
    type: EduModule,
    name: "edu_vfio_pci",
    description: "VFIO PCI variant driver of QEMU's edu device with live migration",
}
