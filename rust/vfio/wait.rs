// SPDX-License-Identifier: GPL-2.0-only

//! Waits for hardware, with a time limit.

use kernel::{
    io::poll::read_poll_timeout,
    prelude::*,
    time::Delta, //
};

/// Whether a signal ends the wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signals {
    /// A pending signal ends the wait with `ERESTARTSYS`: for what a user asks for.
    Interrupt,
    /// A signal does not end the wait: for reset and close, which must leave the device clean.
    Ignore,
}

/// Calls `op` every `interval` until it returns true.
///
/// Returns `ETIMEDOUT` if that takes longer than `timeout`, `ERESTARTSYS` on a signal, or the first
/// error of `op`.
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
                // The kernel restarts the call after an interruption such as a debugger or a frozen
                // control group. The call fails with `EINTR` if the handler of the signal asks for
                // that.
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

#[kernel::macros::kunit_tests(rvfio_wait)]
mod tests {
    use kernel::time::{
        Instant,
        Monotonic, //
    };

    use super::*;

    const INTERVAL: Delta = Delta::from_micros(100);
    const TIMEOUT: Delta = Delta::from_millis(20);

    #[test]
    fn a_condition_that_holds_is_not_waited_for() {
        for signals in [Signals::Interrupt, Signals::Ignore] {
            let mut calls = 0;
            let result = until(signals, INTERVAL, TIMEOUT, || {
                calls += 1;
                Ok(true)
            });
            assert_eq!(result, Ok(()));
            assert_eq!(calls, 1);
        }
    }

    #[test]
    fn a_condition_that_never_holds_times_out() {
        let begun = Instant::<Monotonic>::now();
        let result = until(Signals::Interrupt, INTERVAL, TIMEOUT, || Ok(false));
        assert_eq!(result, Err(ETIMEDOUT));
        assert!(begun.elapsed().as_nanos() >= TIMEOUT.as_nanos());
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut calls = 0;
        let result = until(Signals::Ignore, INTERVAL, TIMEOUT, || {
            calls += 1;
            if calls < 3 {
                Ok(false)
            } else {
                Err(EIO)
            }
        });
        assert_eq!(result, Err(EIO));
        assert_eq!(calls, 3);
    }
}
