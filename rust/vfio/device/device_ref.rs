// SPDX-License-Identifier: GPL-2.0-only

//! References to a device, for what ends with its binding but not before the unbinding waits for it.

use super::{
    Flavour,
    Host,
    VfioDevice, //
};
use crate::bindings;

/// A reference to a device that keeps its memory.
///
/// # Invariants
///
/// The pointer owns a reference to the device.
pub(super) struct DeviceRef<F: Flavour>(*const VfioDevice<F>);

// SAFETY: The device may be used from any thread.
unsafe impl<F: Flavour> Send for DeviceRef<F> {}

// SAFETY: As above.
unsafe impl<F: Flavour> Sync for DeviceRef<F> {}

impl<F: Flavour> DeviceRef<F> {
    /// Gets a reference.
    pub(super) fn new(device: &VfioDevice<F>) -> Self {
        // SAFETY: The device is valid. INVARIANT: The reference is owned from here on.
        unsafe { bindings::rvfio_get_device(device.host().vdev()) };
        Self(device)
    }

    /// Returns the device.
    pub(super) fn get(&self) -> &VfioDevice<F> {
        // SAFETY: The reference keeps the device's memory by the type invariant.
        unsafe { &*self.0 }
    }
}

impl<F: Flavour> Drop for DeviceRef<F> {
    fn drop(&mut self) {
        // SAFETY: The reference is owned by the type invariant.
        unsafe { bindings::rvfio_put_device(self.get().host().vdev()) };
    }
}
