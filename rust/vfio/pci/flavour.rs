// SPDX-License-Identifier: GPL-2.0-only

//! A variant device: a device that the vfio-pci core manages.

use core::marker::PhantomData;

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::{
    CoreDevice,
    Variant, //
};
use crate::{
    bindings,
    device::{
        Flavour,
        Protocols,
        VfioDevice, //
    },
    user::Call, //
};

/// The flavour of vfio-pci variant drivers.
pub(super) struct Pci<T>(PhantomData<T>);

/// A device of a variant driver.
///
/// Its host was initialised by `vfio_pci_core_init_dev()`.
pub(super) type VariantDevice<T> = VfioDevice<Pci<T>>;

impl<T: Variant> Flavour for Pci<T> {
    type Host = CoreDevice;
    type Device = T::Device;
    type OwnerModule = T::OwnerModule;

    const IS_RESET_BY_OTHERS: bool = true;

    fn protocols() -> Protocols {
        if T::HAS_PROTOCOLS {
            T::protocols()
        } else {
            Protocols::ALL
        }
    }
}

impl<T: Variant> VariantDevice<T> {
    /// Initialises the device: the `init` operation.
    ///
    /// # Safety
    ///
    /// `vdev` must be embedded in an allocation of the size of `Self` that is being initialised.
    pub(super) unsafe fn init_pci(vdev: *mut bindings::vfio_device) -> Result {
        // SAFETY: The VFIO core calls `init` once with a zeroed structure.
        to_result(unsafe { bindings::vfio_pci_core_init_dev(vdev) })?;
        // SAFETY: The structure was just initialised, and `VfioDevice`, which the VFIO core has
        // allocated full of zeroes, begins with the host.
        let core = unsafe { CoreDevice::from_raw(vdev.cast()) };
        let result = T::new(core).and_then(|device| {
            // SAFETY: The caller vouches for the allocation, and the host is initialised.
            unsafe { Self::init(vdev, device, T::data_section_size()) }
        });
        if result.is_err() {
            // SAFETY: Undoes `vfio_pci_core_init_dev()`.
            unsafe { bindings::vfio_pci_core_release_dev(vdev) };
        }
        result
    }

    /// Ends the device: the `release` operation.
    ///
    /// # Safety
    ///
    /// As for [`Self::from_vdev`]; nobody else may use the device any more.
    pub(super) unsafe fn release_pci(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe {
            Self::release(vdev);
            bindings::vfio_pci_core_release_dev(vdev);
        }
    }

    /// Opens the device for a user: enables it, adds the regions and scrubs it.
    pub(super) fn open(&self) -> Result {
        let raw = self.host().as_raw();
        // SAFETY: By the type invariant; the VFIO core holds the device set's lock.
        to_result(unsafe { bindings::vfio_pci_core_enable(raw) })?;
        let result = self.set_up();
        if result.is_err() {
            // SAFETY: Undoes `vfio_pci_core_enable()`.
            unsafe { bindings::vfio_pci_core_disable(raw) };
            self.section().free();
        }
        result
    }

    /// Does what [`Self::open`] must undo as a whole.
    fn set_up(&self) -> Result {
        let raw = self.host().as_raw();
        self.register_migration_regions()?;
        self.begin_use()?;

        // SAFETY: By the type invariant. Nobody else uses the device before it is open, so the
        // fields may be changed: the driver resets the device itself, and decodes the BARs, which
        // must therefore not be mapped.
        unsafe {
            (*raw).set_reset_works(true);
            bindings::vfio_pci_core_finish_enable(raw);
            for bar in T::TRAPPED_BARS {
                if let Some(supported) = (*raw).bar_mmap_supported.get_mut(usize::from(*bar)) {
                    *supported = false;
                }
            }
        }
        Ok(())
    }

    /// Closes the device: scrubs it so that nothing is left for the next user.
    pub(super) fn close(&self) {
        // The user may have left the device in a low-power state.
        let awake = self.host().wake();
        self.end_use();
        drop(awake);
        // SAFETY: By the type invariant; the VFIO core calls this once for each `open`.
        unsafe { bindings::vfio_pci_core_close_device(self.host().as_raw().cast()) };
        self.section().free();
    }

    /// Returns the BAR that a region is, where it is trapped.
    pub(super) fn trapped_bar(region: u64) -> Option<u8> {
        T::TRAPPED_BARS
            .iter()
            .copied()
            .find(|bar| u64::from(*bar) == region)
    }

    /// Returns whether a read of a trapped BAR is none of the driver's business.
    pub(super) fn reads_through(bar: u8, call: &Call) -> bool {
        let start = call.offset();
        // CAST: Widening. No overflow: an offset has 40 bits, a length less than 32.
        T::HAS_READS_THROUGH && T::reads_through(bar, start..start + call.len() as u64)
    }
}
