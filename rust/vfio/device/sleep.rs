// SPDX-License-Identifier: GPL-2.0-only

//! While a device is in use, the host stays awake.
//!
//! Suspend to memory and hibernation take the power from a device, and nobody knows which state it
//! keeps. Its guest would go on with another state than it had. So the host's sleep fails with
//! `EBUSY` as long as a device is open, and no device is opened while the host goes to sleep.

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::bindings;

/// Keeps the host awake until [`allow`] is called; `EBUSY` if the host is about to sleep.
pub(crate) fn exclude() -> Result {
    // SAFETY: May be called in any context.
    to_result(unsafe { bindings::rvfio_sleep_exclude() })
}

/// Undoes one successful call of [`exclude`].
pub(crate) fn allow() {
    // SAFETY: May be called in any context.
    unsafe { bindings::rvfio_sleep_allow() };
}
