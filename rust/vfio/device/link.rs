// SPDX-License-Identifier: GPL-2.0-only

//! The way from a data file to its device, which ends when the driver gives the device up.
//!
//! A data file may outlive the binding; a VFIO device must not. Until the device's release the VFIO
//! core counts it as a member of its device set and looks at its function, whose memory may have
//! been freed. So a file holds no reference to the device, only this link.

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::{
        poll::PollCondVar,
        static_lock_class,
        Arc,
        Mutex, //
    }, //
};

use super::{
    Flavour,
    VfioDevice, //
};
use crate::lock::lock_name;

/// What a device and its data files share.
#[pin_data]
pub(super) struct Link<F: Flavour> {
    /// The device, until the driver gives it up. The lock comes before the state lock, and is never
    /// held while user memory is copied: whoever unbinds the device waits for it.
    #[pin]
    device: Mutex<Option<Pointer<F>>>,
    /// Notified when a data file may have become readable. It is here because those who poll a file
    /// wait for it even after the device is gone.
    progress: Arc<PollCondVar>,
}

/// A device.
///
/// # Invariants
///
/// The device is valid as long as this is in a [`Link`].
struct Pointer<F: Flavour>(NonNull<VfioDevice<F>>);

// SAFETY: The device may be used from any thread.
unsafe impl<F: Flavour> Send for Pointer<F> {}

impl<F: Flavour> Link<F> {
    /// Returns an initialiser of a link that leads nowhere; `ENOMEM` without memory.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            device <- Mutex::new(None, lock_name!("rvfio_link"), static_lock_class!()),
            progress: Arc::pin_init(
                PollCondVar::new(lock_name!("rvfio_progress"), static_lock_class!()),
                GFP_KERNEL
            )?,
        })
    }

    /// Makes the link lead to a device.
    ///
    /// # Safety
    ///
    /// The device must be valid until [`Self::cut`] returns.
    pub(super) unsafe fn connect(&self, device: NonNull<VfioDevice<F>>) {
        // INVARIANT: The caller vouches for the device.
        *self.device.lock() = Some(Pointer(device));
    }

    /// Ends the link; waits for those who use it.
    pub(super) fn cut(&self) {
        self.device.lock().take();
    }

    /// Calls `work` with the device; `None` if the driver has given the device up.
    ///
    /// `work` must not touch user memory.
    pub(super) fn with<R>(&self, work: impl FnOnce(&VfioDevice<F>) -> R) -> Option<R> {
        let device = self.device.lock();
        device.as_ref().map(|device| {
            // SAFETY: The device is valid by the type invariant: the lock keeps the pointer in the
            // link.
            work(unsafe { device.0.as_ref() })
        })
    }

    /// Returns what is notified when a data file may have become readable.
    pub(super) fn progress(&self) -> &Arc<PollCondVar> {
        &self.progress
    }
}
