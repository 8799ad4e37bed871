// SPDX-License-Identifier: GPL-2.0-only

//! What the operator sees of a device's migration, in debugfs.
//!
//! The files are described in `Documentation/ABI/debugfs-rvfio`.

use kernel::{
    debugfs::Writer,
    fmt,
    new_mutex,
    prelude::*,
    sync::Mutex, //
};
use migration::{
    engine::Protocol,
    migratable::Migratable, //
};

use super::{
    variant::Variant,
    CoreDevice, //
};

/// The state of a device and of its migration, and its lock.
///
/// As the data of a debugfs file it shows itself.
///
/// # Invariants
///
/// `core` is the device that this is a part of.
#[pin_data]
pub(super) struct StateCell<T: Variant> {
    /// Taken before any lock of VFIO or the IOMMU but the device set's, which the VFIO core holds
    /// around open and close. Never held while user memory is copied.
    #[pin]
    pub(super) state: Mutex<Migratable<T::Device>>,
    core: *const CoreDevice,
}

// SAFETY: `CoreDevice` may be used from any thread, and so may the mutex.
unsafe impl<T: Variant> Send for StateCell<T> {}

// SAFETY: As above.
unsafe impl<T: Variant> Sync for StateCell<T> {}

impl<T: Variant> StateCell<T> {
    /// Creates the state of a device.
    ///
    /// # Safety
    ///
    /// The result must become a part of the device that `core` is.
    pub(super) unsafe fn new(
        core: &CoreDevice,
        device: T::Device,
    ) -> impl PinInit<Self> + use<'_, T> {
        let core: *const CoreDevice = core;
        // INVARIANT: The caller vouches for `core`.
        pin_init!(Self {
            state <- new_mutex!(Migratable::new(device), "rvfio_state"),
            core,
        })
    }
}

impl<T: Variant> Writer for StateCell<T> {
    fn write(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: By the type invariant the device lives as long as this part of it.
        let core = unsafe { &*self.core };
        let state = self.state.lock();
        let engine = state.engine();
        let status = engine.status();

        let protocol = match status.owner {
            None => "none",
            Some(Protocol::Kabi2018) => "region-2018",
            Some(Protocol::RegionV1) => "region-v1",
            Some(Protocol::V2) => "v2",
        };
        writeln!(to, "state: {}", format_args!("{}", status.state))?;
        writeln!(to, "protocol: {}", protocol)?;
        writeln!(to, "pending_bytes: {}", engine.pending(core).total())?;
        match status.dirty_pages {
            Some(pages) => writeln!(to, "dirty_pages: {}", pages)?,
            None => writeln!(to, "dirty_pages: not tracked")?,
        }
        let counters = status.counters;
        writeln!(to, "images_saved: {}", counters.images_saved)?;
        writeln!(to, "bytes_saved: {}", counters.bytes_saved)?;
        writeln!(to, "images_loaded: {}", counters.images_loaded)?;
        writeln!(to, "bytes_loaded: {}", counters.bytes_loaded)?;
        match (status.last_refusal, counters.last_error) {
            (Some(refusal), _) => writeln!(
                to,
                "last_error: image refused: {}",
                format_args!("{}", refusal)
            ),
            (None, Some(error)) => writeln!(to, "last_error: {:?}", error),
            (None, None) => writeln!(to, "last_error: none"),
        }
    }
}
