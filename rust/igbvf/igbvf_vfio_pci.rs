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
//! - If the guest changes a descriptor that it has handed over, pages may be missing that the
//!   device writes. It harms nobody but itself.

#![forbid(unsafe_code)]

use core::ops::Range;

use kernel::prelude::*;
use vfio::pci::{
    CoreDevice,
    DeviceId,
    Operations,
    Reset,
    Trapped, //
};

mod device;
mod hardware;
mod history;
mod image;
mod interrupts;
mod mailbox;
mod physical_function;
mod registers;
mod replay;
mod ring;
mod state;
mod statistics;

use self::device::VirtualFunction;

/// The driver.
struct IgbvfVfioPci;

#[vtable]
impl Operations for IgbvfVfioPci {
    type Device = VirtualFunction;

    const TRAPPED: &'static [Trapped] = &[Trapped::bar(registers::BAR)];
    const RESET: Reset = Reset::Both;

    fn new(core: &CoreDevice) -> Result<VirtualFunction> {
        VirtualFunction::new(core)
    }

    fn reads_through(_bar: u8, bytes: Range<u64>) -> bool {
        // Mailbox and statistics lie before.
        bytes.start >= 0x1000
    }
}

vfio::module_pci_driver! {
    type: IgbvfVfioPci,
    name: "igbvf_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver of the Intel 82576's virtual function with live migration",
    devices: [DeviceId::new(0x8086, 0x10ca)],
}
