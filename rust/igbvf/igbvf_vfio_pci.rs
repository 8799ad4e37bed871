// SPDX-License-Identifier: GPL-2.0-only

//! vfio-pci variant driver of the Intel 82576's virtual function, with live migration.
//!
//! Limitations:
//!
//! - It was tried with QEMU's igb only. A function that does not take what is written to its
//!   registers fails a load with `EIO`.
//! - The PF must be driven by igb, or answer requests as igb does.
//! - What the PF's administrator has set and its answers do not show is not compared: the rate, the
//!   spoof check, the VLAN's priority.
//! - If the guest changes a descriptor that it has handed over, pages may be missing that the device
//!   writes. It harms nobody but itself.

#![forbid(unsafe_code)]

use core::ops::Range;

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
mod hardware;
mod history;
mod image;
mod interrupts;
mod mailbox;
mod physical_function;
mod progress;
mod registers;
mod replay;
mod ring;
mod state;
mod statistics;

use self::device::VirtualFunction;

vfio::pci_device_table!(ID_TABLE, [DeviceId::new(0x8086, 0x10ca)]);

/// The driver.
struct IgbvfVfioPci;

#[vtable]
impl Operations for IgbvfVfioPci {
    type Device = VirtualFunction;

    const ID_TABLE: IdTable = IdTable::new(&ID_TABLE);
    const TRAPPED_BARS: &'static [u8] = &[registers::BAR];

    fn data_section_size() -> usize {
        64 * 1024
    }

    fn new(core: &CoreDevice) -> Result<VirtualFunction> {
        VirtualFunction::new(core)
    }

    fn reads_through(_bar: u8, bytes: Range<u64>) -> bool {
        // Mailbox and statistics lie before.
        bytes.start >= 0x1000
    }
}

/// The module.
#[pin_data]
struct IgbvfModule {
    #[pin]
    _driver: Registration<IgbvfVfioPci>,
}

impl kernel::InPlaceModule for IgbvfModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _driver <- Registration::new(module),
        })
    }
}

module! {
    type: IgbvfModule,
    name: "igbvf_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver of the Intel 82576's virtual function with live migration",
    license: "GPL",
}
