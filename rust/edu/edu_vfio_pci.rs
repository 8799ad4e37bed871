// SPDX-License-Identifier: GPL-2.0-only

//! vfio-pci variant driver of QEMU's edu device, with live migration.
//!
//! Limitations:
//!
//! - The device must be alone in its IOMMU group: its internal buffer is read and written through
//!   a domain of the driver's own.
//! - One value of `dma_mask_bits` holds for all devices; what a device has cannot be read from it.
//! - The host's edu must take a transfer that ends at the end of the internal buffer. QEMU 7.2 as
//!   the host's hardware does not.

use core::ops::Range;

use kernel::{
    prelude::*,
    ThisModule, //
};
use vfio::pci::{
    CoreDevice,
    DeviceId,
    IdTable,
    Protocols,
    Registration,
    Variant, //
};

#[forbid(unsafe_code)]
mod buffer;
#[forbid(unsafe_code)]
mod config;
#[forbid(unsafe_code)]
mod device;
#[forbid(unsafe_code)]
mod hardware;
#[forbid(unsafe_code)]
mod image;
#[forbid(unsafe_code)]
mod progress;
#[forbid(unsafe_code)]
#[expect(dead_code, reason = "the mediated flavour emulates more of them")]
mod registers;
#[forbid(unsafe_code)]
mod transfer;

use self::{
    config::Parameters,
    device::EduDevice, //
};

vfio::pci_device_table!(ID_TABLE, [DeviceId::new(0x1234, 0x11e8)]);

/// The driver.
struct EduVfioPci;

impl EduVfioPci {
    /// Returns the module's parameters.
    fn parameters() -> Parameters {
        Parameters {
            data_section_kib: module_parameters::data_section_kib.value(),
            dma_mask_bits: module_parameters::dma_mask_bits.value(),
            quiesce_timeout_ms: module_parameters::quiesce_timeout_ms.value(),
        }
    }
}

#[vtable]
impl Variant for EduVfioPci {
    type Device = EduDevice;

    const ID_TABLE: IdTable = &ID_TABLE;
    const TRAPPED_BARS: &'static [u8] = &[registers::BAR];

    fn protocols() -> Protocols {
        Protocols {
            region_2018: module_parameters::region_2018.value(),
            region_v1: module_parameters::region_v1.value(),
            v2: module_parameters::v2.value(),
        }
    }

    fn data_section_size() -> usize {
        Self::parameters().data_section_size()
    }

    fn new(core: &CoreDevice) -> Result<EduDevice> {
        EduDevice::new(core, Self::parameters().config())
    }

    fn reads_through(_bar: u8, bytes: Range<u64>) -> bool {
        // The driver changes the registers below only while the guest does not run.
        bytes.end <= registers::DMA_SOURCE
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
            _: { EduVfioPci::parameters().check()? },
            _driver <- Registration::new(module),
        })
    }
}

module! {
    type: EduModule,
    name: "edu_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver of QEMU's edu device with live migration",
    license: "GPL",
    params: {
        data_section_kib: u32 {
            default: 256,
            description: "Size of the migration region's data section in KiB, 4 to 65536, a multiple of 4 (default 256)",
        },
        dma_mask_bits: u32 {
            default: 28,
            description: "Address bits that the devices have for DMA, 13 to 64; edu's dma_mask property (default 28)",
        },
        region_2018: bool {
            default: true,
            description: "Offer the migration region of November 2018 (default yes)",
        },
        region_v1: bool {
            default: true,
            description: "Offer the migration region of Linux 5.8 to 5.17, for QEMU 5.2 to 7.2 (default yes)",
        },
        v2: bool {
            default: true,
            description: "Offer the migration features of Linux 5.18 and later, for QEMU 8 and later (default yes)",
        },
        quiesce_timeout_ms: u32 {
            default: 10000,
            description: "Longest wait for a computation or transfer before a stop or reset fails, in ms, 200 to 60000 (default 10000)",
        },
    },
}
