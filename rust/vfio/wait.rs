// SPDX-License-Identifier: GPL-2.0-only

//! Waiting for hardware, for a bounded time.

use kernel::{
    bindings::ktime_get,
    io::poll::read_poll_timeout,
    prelude::*,
    time::Delta, //
};

/// Whether a signal ends the wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signals {
    /// A pending signal ends the wait with `ERESTARTSYS`: for what the user asked for.
    Interrupt,
    /// Signals wait as well: for reset and close, which must leave the device clean.
    Ignore,
}

/// Returns the time of the kernel's monotonic clock, in nanoseconds.
pub(crate) fn now() -> i64 {
    // SAFETY: May be called in any context.
    unsafe { ktime_get() }
}

/// Calls `op` every `interval` until it returns true.
///
/// Returns `ETIMEDOUT` when that takes longer than `timeout`, `ERESTARTSYS` on a signal, or the
/// first error of `op`.
pub fn until(
    signals: Signals,
    interval: Delta,
    timeout: Delta,
    mut op: impl FnMut() -> Result<bool>,
) -> Result {
    read_poll_timeout(
        || {
            let done = op()?;
            if !done && signals == Signals::Interrupt && kernel::current!().signal_pending() {
                // The call goes on after a break (a debugger, a frozen control group), and fails
                // with `EINTR` where the signal has a handler that wants that.
                return Err(ERESTARTSYS);
            }
            Ok(done)
        },
        |done| *done,
        interval,
        timeout,
    )?;
    Ok(())
}
