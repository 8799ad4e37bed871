// SPDX-License-Identifier: GPL-2.0-only

//! Keeps a function awake that its user may have sent to sleep.

use kernel::prelude::*;

use super::CoreDevice;
use crate::bindings;

/// The function stays awake as long as this lives.
///
/// # Invariants
///
/// `core` has a runtime power management reference that belongs to this object.
pub(super) struct Awake<'a> {
    core: &'a CoreDevice,
}

impl CoreDevice {
    /// Wakes the function, as vfio-pci does around its own accesses; `EIO` if it does not wake.
    ///
    /// Must not be called with `memory_lock` held: waking takes it.
    pub(super) fn wake(&self) -> Result<Awake<'_>> {
        // SAFETY: By the type invariant of `CoreDevice`.
        match unsafe { bindings::rvfio_pm_get(self.as_raw()) } {
            // INVARIANT: The reference was just taken.
            0 => Ok(Awake { core: self }),
            _ => Err(EIO),
        }
    }
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::rvfio_pm_put(self.core.as_raw()) };
    }
}
