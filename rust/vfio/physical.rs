// SPDX-License-Identifier: GPL-2.0-only

//! What `kernel::pci` lacks for a driver that owns its PCI function.

mod memory;
mod resets;

use kernel::{
    bindings::pci_device_id,
    pci, //
};

pub use self::{
    memory::DmaMemory,
    resets::{
        Adapter,
        Resettable, //
    }, //
};

/// Returns an entry for a driver's table; the vendor need not be one that the kernel crate knows.
pub const fn device_id(vendor: u16, device: u16) -> pci::DeviceId {
    const ANY: u32 = !0;
    // CAST: Widening; `From` is not const.
    let id = pci_device_id {
        vendor: vendor as u32,
        device: device as u32,
        subvendor: ANY,
        subdevice: ANY,
        class: 0,
        class_mask: 0,
        driver_data: 0,
        override_only: 0,
    };
    // SAFETY: `DeviceId` is a transparent wrapper of the structure, of which each value is valid.
    unsafe { core::mem::transmute::<pci_device_id, pci::DeviceId>(id) }
}
