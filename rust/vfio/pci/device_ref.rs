// SPDX-License-Identifier: GPL-2.0-only

//! References to a variant device, for what may outlive its binding.

use super::{
    variant::Variant,
    variant_device::VariantDevice, //
};
use crate::bindings;

/// A reference to a device that keeps its memory.
///
/// # Invariants
///
/// The pointer owns a reference to the device.
pub(super) struct DeviceRef<T: Variant>(*const VariantDevice<T>);

// SAFETY: The device may be used from any thread.
unsafe impl<T: Variant> Send for DeviceRef<T> {}

// SAFETY: As above.
unsafe impl<T: Variant> Sync for DeviceRef<T> {}

impl<T: Variant> DeviceRef<T> {
    /// Gets a reference.
    pub(super) fn new(device: &VariantDevice<T>) -> Self {
        // SAFETY: The device is valid. INVARIANT: The reference is owned from here on.
        unsafe { bindings::rvfio_get_device(device.core().as_raw().cast()) };
        Self(device)
    }

    /// Returns the device.
    pub(super) fn get(&self) -> &VariantDevice<T> {
        // SAFETY: The reference keeps the device's memory by the type invariant.
        unsafe { &*self.0 }
    }
}

impl<T: Variant> Drop for DeviceRef<T> {
    fn drop(&mut self) {
        // SAFETY: The reference is owned by the type invariant.
        unsafe { bindings::rvfio_put_device(self.get().core().as_raw().cast()) };
    }
}
