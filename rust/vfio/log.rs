// SPDX-License-Identifier: GPL-2.0-only

//! Messages that a guest or a client can provoke at will.

use kernel::{
    device::Device,
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
pub struct Budget {
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
}

/// A device that has a budget of messages.
pub trait Logs: AsRef<Device> {
    /// Returns the budget.
    fn budget(&self) -> &Budget;

    /// Returns whether another message may be printed now; tells first how many were left out.
    fn may_log(&self) -> bool {
        let Some(left_out) = self.budget().take() else {
            return false;
        };
        if left_out > 0 {
            dev_warn!(self.as_ref(), "{} messages were left out\n", left_out);
        }
        true
    }
}

/// Prints a warning about a device that [`Logs`], rate-limited.
#[macro_export]
macro_rules! dev_warn_ratelimited {
    ($host:expr, $($f:tt)*) => {{
        let host = $host;
        if $crate::log::Logs::may_log(host) {
            ::kernel::dev_warn!(
                ::core::convert::AsRef::<::kernel::device::Device>::as_ref(host),
                $($f)*
            );
        }
    }};
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
