// SPDX-License-Identifier: GPL-2.0-only

//! Memory for a function's DMA, and the function as a bus master.

use core::ops::Deref;

use kernel::{
    bindings::{
        pci_clear_master,
        pci_dev,
        pci_disable_device, //
    },
    device::Core,
    dma::{
        Coherent,
        Device,
        DmaMask, //
    },
    pci,
    prelude::*,
    sync::aref::ARef, //
};

/// Memory that a function reaches as a bus master: neither enabled nor a master any more when this is
/// dropped, before the memory is given up.
pub struct DmaMemory {
    /// Dropped first, as the first field.
    _function: Enabled,
    memory: Coherent<[u8]>,
}

impl DmaMemory {
    /// Enables a function with so many address bits, and allocates `len` bytes for it, full of
    /// zeroes.
    ///
    /// To be called when the driver probes the function, before anything else that is for DMA. `EIO`
    /// where the platform cannot serve the mask, `EINVAL` for more than 64 bits, `ENOMEM`, and the
    /// errors of enabling.
    pub fn new(pdev: &pci::Device<Core<'_>>, bits: u32, len: usize) -> Result<Self> {
        let function = Enabled::new(pdev)?;
        let mask = DmaMask::try_new(bits)?;
        // SAFETY: A `Core` device is one in a callback of the bus, which holds the device's lock;
        // the driver has nothing yet that could allocate or map at the same time.
        unsafe { pdev.dma_set_mask_and_coherent(mask) }?;
        Ok(Self {
            _function: function,
            memory: Coherent::zeroed_slice(pdev.as_ref(), len, GFP_KERNEL)?,
        })
    }
}

impl Deref for DmaMemory {
    type Target = Coherent<[u8]>;

    fn deref(&self) -> &Self::Target {
        &self.memory
    }
}

/// A function that decodes memory and is a bus master, until this is dropped.
struct Enabled(ARef<pci::Device>);

impl Enabled {
    fn new(pdev: &pci::Device<Core<'_>>) -> Result<Self> {
        pdev.enable_device_mem()?;
        pdev.set_master();
        Ok(Self(pdev.into()))
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        let pdev: &pci::Device = &self.0;
        // CAST: `Device` is a transparent wrapper of the structure.
        let pdev: *mut pci_dev = core::ptr::from_ref(pdev).cast_mut().cast();
        // SAFETY: The function is referenced, and was enabled once by `new`.
        unsafe {
            pci_clear_master(pdev);
            pci_disable_device(pdev);
        }
    }
}
