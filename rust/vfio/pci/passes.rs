// SPDX-License-Identifier: GPL-2.0-only

//! The driver's own use of a function, and resets of it by others, which exclude each other.
//!
//! A reset through sysfs holds the device lock alone. It clears the function's configuration and
//! brings it back a while later: a transfer in between would come to nothing, or end nowhere, and
//! what the driver sets in PCI_COMMAND would not be what it clears.
//!
//! The recovery from an error of the bus may reset the function too. It does not call what a reset
//! calls before and after, but the driver's error handlers.

use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    time::Delta, //
};

use crate::wait::{
    self,
    Signals, //
};

/// How often one looks whether the other has ended.
const INTERVAL: Delta = Delta::from_millis(1);

/// The longest that either is waited for; both take less.
pub(super) const TIMEOUT: Delta = Delta::from_secs(10);

/// Which of both is under way. Zeroes are a valid one.
pub(super) struct Passes {
    passing: Atomic<bool>,
    resetting: Atomic<bool>,
    /// A recovery from an error is under way. All that changes this and the next holds the device
    /// lock.
    recovering: Atomic<bool>,
    /// That recovery resets the function.
    recovery_resets: Atomic<bool>,
}

impl Passes {
    /// Begins a pass once no reset is under way; `EBUSY` where that does not end.
    ///
    /// The caller holds the function's memory lock, which a reset by the function's own user takes
    /// first, and is the only one with a pass.
    pub(super) fn begin(&self) -> Result<Pass<'_>> {
        let begun = wait::until(Signals::Ignore, INTERVAL, TIMEOUT, || {
            // Full ordering: of both at least one sees the other.
            let _ = self.passing.xchg(true, Full);
            if !self.resetting.load(Acquire) && !self.recovering.load(Acquire) {
                return Ok(true);
            }
            self.passing.store(false, Release);
            Ok(false)
        });
        begun.map_err(|_| EBUSY).map(|()| Pass(self))
    }

    /// A reset is about to begin: lets no pass begin, and waits for one that has.
    pub(super) fn reset_prepare(&self) {
        let _ = self.resetting.xchg(true, Full);
        self.wait();
    }

    /// The reset has ended.
    pub(super) fn reset_done(&self) {
        self.resetting.store(false, Release);
    }

    /// A recovery from an error has begun, with a reset or not: as [`Self::reset_prepare`].
    ///
    /// [`Self::recovered`] follows, also where the recovery fails.
    pub(super) fn error_detected(&self, resets: bool) {
        if resets {
            self.recovery_resets.store(true, Relaxed);
        }
        let _ = self.recovering.xchg(true, Full);
        self.wait();
    }

    /// The recovery under way has reset the function.
    pub(super) fn slot_reset(&self) {
        self.recovery_resets.store(true, Relaxed);
    }

    /// Returns whether the recovery under way has reset the function.
    pub(super) fn recovery_resets(&self) -> bool {
        self.recovery_resets.load(Relaxed)
    }

    /// Returns whether a recovery is under way.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovering.load(Relaxed)
    }

    /// The recovery has ended.
    pub(super) fn recovered(&self) {
        self.recovery_resets.store(false, Relaxed);
        self.recovering.store(false, Release);
    }

    /// Waits for a pass that has begun.
    fn wait(&self) {
        // What takes longer than it may, the reset ends.
        let _ = wait::until(Signals::Ignore, INTERVAL, TIMEOUT, || {
            Ok(!self.passing.load(Acquire))
        });
    }
}

/// A pass, until this is dropped.
pub(super) struct Pass<'a>(&'a Passes);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.passing.store(false, Release);
    }
}

#[kernel::macros::kunit_tests(rvfio_passes)]
mod tests {
    use super::*;

    fn passes() -> Passes {
        Passes {
            passing: Atomic::new(false),
            resetting: Atomic::new(false),
            recovering: Atomic::new(false),
            recovery_resets: Atomic::new(false),
        }
    }

    /// Returns whether a pass may begin, without the wait.
    fn is_open(passes: &Passes) -> bool {
        !passes.resetting.load(Relaxed) && !passes.recovering.load(Relaxed)
    }

    #[test]
    fn a_recovery_keeps_passes_out_until_it_has_ended() {
        let passes = passes();
        assert!(passes.begin().is_ok());
        passes.error_detected(true);
        assert!(passes.is_recovering());
        assert!(!is_open(&passes));
        // A reset through sysfs meanwhile does not end the recovery.
        passes.reset_prepare();
        passes.reset_done();
        assert!(!is_open(&passes));
        passes.recovered();
        assert!(!passes.is_recovering());
        assert!(passes.begin().is_ok());
    }

    #[test]
    fn a_recovery_tells_whether_it_has_reset_the_function() {
        let passes = passes();
        // Told at once, or found out on the way; each recovery anew.
        for (at_once, later) in [(true, false), (false, false), (false, true), (false, false)] {
            passes.error_detected(at_once);
            if later {
                passes.slot_reset();
            }
            assert_eq!(passes.recovery_resets(), at_once || later);
            passes.recovered();
        }
        // An error may become worse while one recovers from it.
        passes.error_detected(false);
        passes.error_detected(true);
        passes.error_detected(false);
        assert!(passes.recovery_resets());
        passes.recovered();
        assert!(!passes.recovery_resets());
    }
}
