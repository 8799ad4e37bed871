// SPDX-License-Identifier: GPL-2.0-only

//! Messages that a guest or a client can provoke at will.

use kernel::{
    device::Device,
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::NSEC_PER_SEC, //
};

use crate::wait;

/// How many of them a device may cause in [`INTERVAL`].
const BURST: u32 = 10;

/// How long that counts, in nanoseconds.
const INTERVAL: i64 = 5 * NSEC_PER_SEC;

/// What a device may still say.
///
/// Each device has its own, so that no guest can crowd out what there is to say of another's. All
/// zeroes is one of which nothing was used.
pub(crate) struct Budget {
    /// When the present interval began, on the kernel's monotonic clock; 0 before the first.
    begun: Atomic<i64>,
    /// Messages in it, those that were left out too.
    used: Atomic<u32>,
}

impl Budget {
    /// Returns one of which nothing was used.
    pub(crate) const fn new() -> Self {
        Self {
            begun: Atomic::new(0),
            used: Atomic::new(0),
        }
    }

    /// Returns whether a message may be printed, and how many were left out before it.
    ///
    /// Two threads that begin an interval at once may print a few more.
    fn take(&self) -> Option<u32> {
        let (now, begun) = (wait::now(), self.begun.load(Relaxed));
        let mut left_out = 0;
        if begun == 0 || now.wrapping_sub(begun) >= INTERVAL {
            self.begun.store(now, Relaxed);
            left_out = self.used.xchg(0, Relaxed).saturating_sub(BURST);
        }
        (self.used.fetch_add(1, Relaxed) < BURST).then_some(left_out)
    }

    /// Prints a message about `device`, unless the budget is used up; tells first how many were
    /// left out.
    pub(crate) fn print(&self, device: &Device, level: Level, message: fmt::Arguments<'_>) {
        let Some(left_out) = self.take() else {
            return;
        };
        if left_out > 0 {
            dev_warn!(device, "{} messages were left out\n", left_out);
        }
        match level {
            Level::Warning => dev_warn!(device, "{}", message),
            Level::Error => dev_err!(device, "{}", message),
        }
    }
}

/// How bad it is what a message tells of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Something was refused, or failed and can be tried again.
    Warning,
    /// The device cannot be used.
    Error,
}

/// A device that has a budget of messages.
///
/// It prints them itself. A driver that got a mediated device as the driver core has it could keep
/// a reference to that, which the mdev core does not survive: see [`crate::mdev::Registration`].
pub trait Logs {
    /// Prints a message about the device, or counts it as left out: see [`dev_warn_ratelimited!`].
    ///
    /// [`dev_warn_ratelimited!`]: crate::dev_warn_ratelimited
    fn print(&self, level: Level, message: fmt::Arguments<'_>);
}

/// Prints a warning about a device that [`Logs`], rate-limited.
#[macro_export]
macro_rules! dev_warn_ratelimited {
    ($host:expr, $($f:tt)*) => {
        $crate::log::Logs::print(
            $host,
            $crate::log::Level::Warning,
            ::kernel::prelude::fmt!($($f)*),
        )
    };
}

/// Prints an error of a device that [`Logs`], rate-limited.
#[macro_export]
macro_rules! dev_err_ratelimited {
    ($host:expr, $($f:tt)*) => {
        $crate::log::Logs::print(
            $host,
            $crate::log::Level::Error,
            ::kernel::prelude::fmt!($($f)*),
        )
    };
}

#[kernel::macros::kunit_tests(rvfio_log)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_how_many_were_left_out() {
        let budget = Budget::new();
        for _ in 0..BURST {
            assert_eq!(budget.take(), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(budget.take(), None);
        }
        budget.begun.store(wait::now() - INTERVAL, Relaxed);
        assert_eq!(budget.take(), Some(3));
        budget.begun.store(wait::now() - INTERVAL, Relaxed);
        assert_eq!(budget.take(), Some(0));
    }
}
