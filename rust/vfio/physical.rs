// SPDX-License-Identifier: GPL-2.0-only

//! What a driver that owns its PCI function needs and `kernel::pci` does not have.

use kernel::{
    bindings::pci_device_id,
    device::Core,
    dma::{
        Coherent,
        Device,
        DmaMask, //
    },
    pci,
    prelude::*, //
};

/// Returns an entry for the table of a driver, of any vendor.
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

/// Allocates `len` bytes that a function with so many address bits can reach, full of zeroes.
///
/// To be called when the driver probes the function, before anything else that is for DMA. `EIO`
/// where the platform cannot serve the mask, `EINVAL` for more than 64 bits, `ENOMEM`.
pub fn coherent(pdev: &pci::Device<Core<'_>>, bits: u32, len: usize) -> Result<Coherent<[u8]>> {
    let mask = DmaMask::try_new(bits)?;
    // SAFETY: A `Core` device is one in a callback of the bus, which holds the device's lock; the
    // driver has nothing yet that could allocate or map at the same time.
    unsafe { pdev.dma_set_mask_and_coherent(mask) }?;
    Coherent::zeroed_slice(pdev.as_ref(), len, GFP_KERNEL)
}
