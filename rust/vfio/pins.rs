// SPDX-License-Identifier: GPL-2.0-only

//! Pins that last for a moment, and mappings that are undone in that moment.
//!
//! A type1 container that finds a page of a mapping pinned, when that is undone, drops its lock,
//! calls the `dma_unmap` operation of its drivers, and looks again. At the eleventh time it ends the
//! kernel (`BUG_ON(++retries > 10)` in `vfio_iommu_type1.c`). Two threads of a user, one that unmaps
//! and one whose accesses make the driver pin, must never come that far. So the operation waits
//! until no pin is left, and after it nobody pins for a while: the container gets to look first.
//!
//! The wait is bounded. Two threads that unmap may be in the way of a pin's end: one in the
//! operation, with the container's list of devices locked, and one that waits for the list and has
//! the lock that unpinning takes. The first must let go for the others to go on.

use kernel::{
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    time::Delta, //
};

use crate::wait::{
    self,
    now,
    Signals, //
};

/// How long nobody pins after a mapping was found pinned, in nanoseconds.
const PAUSE: i64 = 10_000_000;

/// How long at most one who is about to pin waits for that.
const PAUSE_TIMEOUT: Delta = Delta::from_millis(200);

/// How long at most a mapping's end waits for pins to end.
const DRAIN_TIMEOUT: Delta = Delta::from_millis(100);

/// Time between two looks.
const INTERVAL: Delta = Delta::from_micros(200);

/// Pins of all devices that have begun and not ended.
static PINS: Atomic<i32> = Atomic::new(0);

/// When a mapping was last found pinned, on the kernel's monotonic clock.
static UNMAPPED: Atomic<i64> = Atomic::new(i64::MIN / 2);

/// Runs `pin`, which pins pages and unpins them.
pub(crate) fn with<T>(pin: impl FnOnce() -> T) -> T {
    let is_quiet = || now().wrapping_sub(UNMAPPED.load(Relaxed)) >= PAUSE;
    if !is_quiet() {
        // Where mappings end all the time, this one goes on after the time-out.
        let _ = wait::until(Signals::Ignore, INTERVAL, PAUSE_TIMEOUT, || Ok(is_quiet()));
    }
    PINS.fetch_add(1, Full);
    let result = pin();
    PINS.fetch_sub(1, Full);
    result
}

/// Waits for the pins of a mapping that ends: the `dma_unmap` operation.
///
/// To be called without locks that pinning takes; may take a tenth of a second.
pub(crate) fn drain() {
    UNMAPPED.store(now(), Relaxed);
    let _ = wait::until(Signals::Ignore, INTERVAL, DRAIN_TIMEOUT, || {
        Ok(PINS.load(Relaxed) == 0)
    });
    // From now on, for the container to come back.
    UNMAPPED.store(now(), Relaxed);
}

#[kernel::macros::kunit_tests(rvfio_pins)]
mod tests {
    use super::*;

    #[test]
    fn nobody_pins_right_after_a_mapping_was_found_pinned() {
        drain();
        let drained = now();
        assert!(with(now) - drained >= PAUSE);
        let quiet = now();
        with(|| ());
        assert!(now() - quiet < PAUSE_TIMEOUT.as_nanos());
    }

    #[test]
    fn a_pin_that_does_not_end_is_not_waited_for_forever() {
        let (begun, ended) = with(|| {
            let begun = now();
            drain();
            (begun, now())
        });
        assert!(ended - begun >= DRAIN_TIMEOUT.as_nanos());
        // And with none there is nothing to wait for.
        let begun = now();
        drain();
        assert!(now() - begun < DRAIN_TIMEOUT.as_nanos());
    }
}
