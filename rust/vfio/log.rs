// SPDX-License-Identifier: GPL-2.0-only

//! Messages that a guest or a client can provoke at will.

use crate::bindings;

/// Returns whether another message may be printed now.
///
/// All such messages of the project share one budget (10 in 5 seconds); what is left out is
/// counted in the kernel log.
pub fn allowed() -> bool {
    // SAFETY: The function takes no arguments and has no requirements.
    unsafe { bindings::rvfio_log_allowed() }
}

/// Prints a warning about a device, rate-limited.
#[macro_export]
macro_rules! dev_warn_ratelimited {
    ($dev:expr, $($f:tt)*) => {
        if $crate::log::allowed() {
            ::kernel::dev_warn!($dev, $($f)*);
        }
    };
}
