// SPDX-License-Identifier: GPL-2.0-only

//! What the driver knows of what the user's container takes for dirty.

use kernel::{
    bindings::jiffies,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    }, //
};

use crate::device::{
    DirtyScope,
    Moment, //
};

/// Milliseconds between two looks for a page at accesses of the guest, which come at any rate, and
/// between two times at which the container is told of pages that were found.
const INTERVAL: Msecs = 100;

/// What is known of the container since the device was opened. All zeroes: nothing.
///
/// A group keeps its scope until it leaves the container, which it cannot while the device is open.
/// So a settled scope stays so until the device is closed.
///
/// Changes under the state lock, except between two users.
pub(super) struct Scope {
    /// The number of a [`DirtyScope`].
    scope: Atomic<u32>,
    /// The kernel log has a message about the user's container.
    is_told: Atomic<bool>,
    /// When a page was last looked for at an access, in jiffies.
    looked: Atomic<usize>,
    /// When the container was last told of pages that were found, in jiffies.
    told: Atomic<usize>,
}

impl Scope {
    /// Forgets the last user's container.
    pub(super) fn clear(&self) {
        self.set(DirtyScope::Unknown);
        self.is_told.store(false, Relaxed);
        // The first access looks.
        self.looked.store(now().wrapping_sub(interval()), Relaxed);
    }

    /// Returns what the container takes for dirty.
    pub(super) fn get(&self) -> DirtyScope {
        let known = self.scope.load(Relaxed);
        [
            DirtyScope::Everything,
            DirtyScope::Written,
            DirtyScope::NotAsked,
            DirtyScope::Unrecorded,
        ]
        .into_iter()
        // CAST: The enum is `repr(u32)`.
        .find(|scope| *scope as u32 == known)
        .unwrap_or(DirtyScope::Unknown)
    }

    /// Notes what the container takes for dirty.
    pub(super) fn set(&self, scope: DirtyScope) {
        // CAST: As above.
        self.scope.store(scope as u32, Relaxed);
    }

    /// Returns whether nothing is left to do until the device is closed.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        // CAST: The enum is `repr(u32)`; the settled scopes have the larger numbers.
        self.scope.load(Relaxed) >= DirtyScope::Written as u32
    }

    /// Returns whether a page is to be looked for now.
    pub(super) fn may_look(&self, moment: Moment) -> bool {
        if moment == Moment::Call {
            return true;
        }
        is_due(&self.looked)
    }

    /// Returns whether the container is to be told of pages now.
    pub(super) fn may_tell(&self) -> bool {
        is_due(&self.told)
    }

    /// Returns whether to log a message about a container that takes all memory for dirty: once for
    /// each user.
    pub(super) fn is_to_tell(&self) -> bool {
        let takes_all = matches!(self.get(), DirtyScope::Everything | DirtyScope::Unrecorded);
        takes_all && !self.is_told.xchg(true, Relaxed)
    }
}

/// Returns whether [`INTERVAL`] has passed since `last`; if so, it begins anew.
fn is_due(last: &Atomic<usize>) -> bool {
    let now = now();
    let is_due = now.wrapping_sub(last.load(Relaxed)) >= interval();
    if is_due {
        last.store(now, Relaxed);
    }
    is_due
}

/// Returns the time in jiffies, which costs no more than a load.
fn now() -> usize {
    // SAFETY: The kernel's counter is there at any time; it changes, hence volatile.
    unsafe { (&raw const jiffies).read_volatile() }
}

/// Returns [`INTERVAL`] in jiffies.
fn interval() -> usize {
    msecs_to_jiffies(INTERVAL)
}

#[kernel::macros::kunit_tests(rvfio_scope)]
mod tests {
    use super::*;

    fn new() -> Scope {
        let scope = Scope {
            scope: Atomic::new(0),
            is_told: Atomic::new(false),
            looked: Atomic::new(0),
            told: Atomic::new(0),
        };
        scope.clear();
        scope
    }

    #[test]
    fn accesses_look_at_times_and_calls_always() {
        let scope = new();
        assert!(scope.may_look(Moment::Access));
        let looked = scope.looked.load(Relaxed);
        assert!(scope.may_look(Moment::Call));
        assert_eq!(scope.looked.load(Relaxed), looked);
        if !scope.may_look(Moment::Access) {
            scope.looked.store(now().wrapping_sub(interval()), Relaxed);
            assert!(scope.may_look(Moment::Access));
        }
    }

    #[test]
    fn what_is_settled_and_what_is_told() {
        let scope = new();
        assert_eq!(scope.get(), DirtyScope::Unknown);
        assert!(!scope.is_settled() && !scope.is_to_tell());
        for (known, settled, told) in [
            (DirtyScope::Everything, false, true),
            (DirtyScope::Everything, false, false),
            (DirtyScope::Written, true, false),
            (DirtyScope::NotAsked, true, false),
        ] {
            scope.set(known);
            assert_eq!(scope.get(), known);
            assert_eq!(scope.is_settled(), settled);
            assert_eq!(scope.is_to_tell(), told);
        }
        scope.clear();
        assert_eq!(scope.get(), DirtyScope::Unknown);
        scope.set(DirtyScope::Everything);
        assert!(scope.is_to_tell());

        // A driver that does not know what its device writes.
        scope.clear();
        scope.set(DirtyScope::Unrecorded);
        assert_eq!(scope.get(), DirtyScope::Unrecorded);
        assert!(scope.is_settled());
        assert!(scope.is_to_tell() && !scope.is_to_tell());
    }
}
