// SPDX-License-Identifier: GPL-2.0-only

//! Memory for a function's DMA, and the function as a bus master.

use kernel::{
    bindings::{
        pci_clear_master,
        pci_dev,
        pci_disable_device, //
    },
    device::Core,
    devres::Devres,
    dma::{
        Coherent,
        Device,
        DmaMask, //
    },
    io::Io,
    pci,
    prelude::*,
    sync::aref::ARef, //
};

/// Memory that a function reaches as a bus master. When this is dropped, the function is disabled
/// and no longer a master before the memory is freed.
///
/// All of that happens at the latest when the function is unbound, even if the driver leaks this
/// object or keeps it for longer. The memory cannot be used any more then.
pub struct DmaMemory(Devres<Memory>);

/// What exists until the function is unbound.
struct Memory {
    /// Dropped first, as the first field.
    _function: Enabled,
    bytes: Coherent<[u8]>,
}

impl DmaMemory {
    /// Enables a function that has `bits` address bits, and allocates `len` zeroed bytes for it.
    ///
    /// To be called when the driver probes the function, before anything else that is for DMA.
    /// `EIO` if the platform cannot serve the mask, `EINVAL` for more than 64 bits, `ENOMEM`, and
    /// the errors of enabling.
    pub fn new(pdev: &pci::Device<Core<'_>>, bits: u32, len: usize) -> Result<Self> {
        let function = Enabled::new(pdev)?;
        let mask = DmaMask::try_new(bits)?;
        // SAFETY: A `Core` device is in a callback of the bus, which holds the device's lock. So
        // only a child's driver could allocate or map for the device at the same time. It would
        // find the old mask or the new one, and the device was given both.
        unsafe { pdev.dma_set_mask_and_coherent(mask) }?;
        let memory = Memory {
            _function: function,
            bytes: Coherent::zeroed_slice(pdev.as_ref(), len, GFP_KERNEL)?,
        };
        Ok(Self(Devres::new(pdev.as_ref(), memory)?))
    }

    /// Returns the address at which the function reaches the memory; `ENODEV` once it is unbound.
    pub fn dma_address(&self) -> Result<u64> {
        self.with(|bytes| Ok(bytes.dma_address()))
    }

    /// Copies all of the memory to `to`.
    ///
    /// `EINVAL` if that has another length, `ENODEV` once the function is unbound.
    pub fn read(&self, to: &mut [u8]) -> Result {
        self.with(|bytes| {
            if to.len() != bytes.len() {
                return Err(EINVAL);
            }
            bytes.copy_to_slice(to);
            Ok(())
        })
    }

    /// Copies `from` to the memory, all of it; errors are those of [`Self::read`].
    pub fn write(&self, from: &[u8]) -> Result {
        self.with(|bytes| {
            if from.len() != bytes.len() {
                return Err(EINVAL);
            }
            bytes.copy_from_slice(from);
            Ok(())
        })
    }

    /// Calls `work`, which must not sleep, with the memory; `ENODEV` once the function is unbound.
    fn with<R>(&self, work: impl FnOnce(&Coherent<[u8]>) -> Result<R>) -> Result<R> {
        self.0
            .try_access_with(|memory| work(&memory.bytes))
            .ok_or(ENODEV)?
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
