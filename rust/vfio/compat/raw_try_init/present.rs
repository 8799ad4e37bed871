// SPDX-License-Identifier: GPL-2.0-only

//! Initialisation in place, by `pin_init::raw_try_init` (7.3).

use pin_init::PinInit;

/// Initialises a slot; errors are those of the initialiser.
///
/// # Safety
///
/// `slot` must be valid for writes and uninitialised, and must not move from now on. If this fails,
/// it is uninitialised again.
pub(crate) unsafe fn init_at<T, E>(slot: *mut T, init: impl PinInit<T, E>) -> Result<(), E> {
    // SAFETY: The caller vouches for `slot`.
    unsafe { pin_init::raw_try_init(slot, init) }
}
