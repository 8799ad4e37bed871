// SPDX-License-Identifier: GPL-2.0-only

//! The driver's own use of a function, and resets of it by others, which exclude each other.
//!
//! A reset through sysfs holds the device lock alone. It clears the function's configuration and
//! brings it back a while later: a transfer in between would come to nothing, or end nowhere, and
//! what the driver sets in PCI_COMMAND would not be what it clears.

use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
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
const TIMEOUT: Delta = Delta::from_secs(10);

/// Which of both is under way. Zeroes are a valid one.
pub(super) struct Passes {
    passing: Atomic<bool>,
    resetting: Atomic<bool>,
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
            if !self.resetting.load(Acquire) {
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
        // What takes longer than it may, the reset ends.
        let _ = wait::until(Signals::Ignore, INTERVAL, TIMEOUT, || {
            Ok(!self.passing.load(Acquire))
        });
    }

    /// The reset has ended.
    pub(super) fn reset_done(&self) {
        self.resetting.store(false, Release);
    }
}

/// A pass, until this is dropped.
pub(super) struct Pass<'a>(&'a Passes);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.passing.store(false, Release);
    }
}
