// SPDX-License-Identifier: GPL-2.0-only

//! The host's sleep: while a device is in use, the host stays awake.
//!
//! What a device keeps when the host sleeps is not known: suspending to memory and hibernation take
//! the power from it. Its guest would go on with another state than it had. So a host that is to
//! sleep is told `EBUSY` as long as a device is open, and while it goes to sleep none is opened.

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::bindings;

/// Keeps the host awake until [`allow`] is called; `EBUSY` where it is about to sleep.
pub(crate) fn exclude() -> Result {
    // SAFETY: May be called in any context.
    to_result(unsafe { bindings::rvfio_sleep_exclude() })
}

/// Ends one call of [`exclude`] that succeeded.
pub(crate) fn allow() {
    // SAFETY: May be called in any context.
    unsafe { bindings::rvfio_sleep_allow() };
}
