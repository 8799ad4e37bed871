// SPDX-License-Identifier: GPL-2.0-only

//! Keeps the driver's own use of a function, a pass, and resets by others apart.
//!
//! A reset through sysfs holds the device lock alone. It clears the function's configuration and
//! restores it a while later. A transfer in between would be lost or never end, and the bits that
//! the driver sets in PCI_COMMAND would not be those that it clears.
//!
//! The recovery from an error of the bus may reset the function too. It calls the driver's error
//! handlers, and not `reset_prepare` and `reset_done`.
//!
//! A `struct rw_semaphore` cannot stand in for this. Its waits have no time limit. A recovery that
//! the unbinding of the driver cuts short ends in another thread than it began in, and resets may
//! overlap a recovery. And a reset whose wait has timed out would hold no semaphore, so new passes
//! could begin during it.

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

/// Time between two looks whether the other has ended.
const INTERVAL: Delta = Delta::from_millis(1);

/// The longest wait for either; both take less.
pub(super) const TIMEOUT: Delta = Delta::from_secs(10);

/// What is under way. All zeroes: nothing.
pub(super) struct Passes {
    passing: Atomic<bool>,
    resetting: Atomic<bool>,
    /// A recovery from an error is under way. Whoever changes this or the next field holds the
    /// device lock.
    recovering: Atomic<bool>,
    /// That recovery resets the function.
    recovery_resets: Atomic<bool>,
}

impl Passes {
    /// Begins a pass once no reset is under way; `EBUSY` if the reset does not end within 10
    /// seconds.
    ///
    /// The caller holds the function's memory lock, so there is one pass at a time, and no reset by
    /// the function's own user, which takes that lock first.
    pub(super) fn begin(&self) -> Result<Pass<'_>> {
        let begun = wait::until(Signals::Ignore, INTERVAL, TIMEOUT, || {
            // Full ordering: at least one of the two sees the other.
            let _ = self.passing.xchg(true, Full);
            if !self.resetting.load(Acquire) && !self.recovering.load(Acquire) {
                return Ok(true);
            }
            self.passing.store(false, Release);
            Ok(false)
        });
        begun.map_err(|_| EBUSY).map(|()| Pass(self))
    }

    /// Returns whether a pass is under way.
    pub(super) fn is_passing(&self) -> bool {
        self.passing.load(Relaxed)
    }

    /// A reset is about to begin: keeps new passes from beginning, and waits for one that has
    /// begun.
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
    /// [`Self::recovered`] follows, even if the recovery fails.
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
        // If a pass exceeds its time limit, the reset proceeds anyway.
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
        // The reset is announced at once or during the recovery; each recovery starts anew.
        for (at_once, later) in [(true, false), (false, false), (false, true), (false, false)] {
            passes.error_detected(at_once);
            if later {
                passes.slot_reset();
            }
            assert_eq!(passes.recovery_resets(), at_once || later);
            passes.recovered();
        }
        // An error may become worse during the recovery.
        passes.error_detected(false);
        passes.error_detected(true);
        passes.error_detected(false);
        assert!(passes.recovery_resets());
        passes.recovered();
        assert!(!passes.recovery_resets());
    }
}
