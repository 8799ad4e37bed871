// SPDX-License-Identifier: GPL-2.0-only

//! Pins that last for a moment, and mappings that are undone in that moment.
//!
//! A type1 container that undoes a mapping looks for a pinned page of it. If it finds one, it drops
//! its lock, calls the `dma_unmap` operation of its devices with the list of devices locked, takes
//! its lock and looks again. The twelfth look in a row that finds a page stops the kernel
//! (`BUG_ON(++retries > 10)` in `vfio_iommu_type1.c`). A user has both the thread that unmaps and
//! the one whose access makes the driver pin, so only this file keeps the user from that.
//!
//! Why there is no twelfth look:
//!
//! 1. The operation runs in the thread that unmaps. The first call enters that thread for the
//!    device, and the entry stays until the thread returns to user mode: until its unmapping is
//!    over. No pin of the device begins while there is an entry. So a later look can only find a
//!    pin that had begun before the first call: one of each device, since a pin is made under the
//!    state lock.
//! 2. The operation waits for that pin to end. Its thread needs nothing but the container's lock to
//!    end it, and the operation sleeps, so a real-time thread that unmaps does not keep it from the
//!    processor.
//! 3. The early rounds must give up. A second thread that unmaps may hold the container's lock and
//!    wait for the list of devices, which is locked around the operation. Once the first thread
//!    returns, the second gets the list and releases the lock.
//! 4. The container's lock goes to its waiters in the order in which they came. Another thread may
//!    overtake the first waiter once; then the mutex is handed over to that waiter and to nobody
//!    else. So each time that a thread gives up, the pin's thread comes nearer to its turn. The
//!    thread that gave up queues behind it, or has overtaken somebody. To get to a late round it
//!    must overtake in each round, and as many threads must wait before the pin's. Patience doubles
//!    from round to round, so that a pin whose thread merely lacks a processor is over by then.
//! 5. From round [`LAST_ROUNDS`] on the operation does not give up. When it returns, the pin is
//!    over, and by 1 none follows. A user who has arranged for all of 4 makes its own threads wait
//!    for each other for ever. The host goes on.
//!
//! Rounds are counted for the thread and not for the device. The user may open a device in the
//! meantime, with a pin that the first call did not know of. That pin is waited for as long as the
//! others are. Each such device can add one round.
//!
//! A pin that may not begin waits, up to [`PIN_TIMEOUT`], and then fails: the device is not told to
//! write what the container does not know of.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        global_lock, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use crate::{
    bindings,
    wait::{
        self,
        Signals, //
    }, //
};

/// How long a pin waits for mappings to end. Unmapping much memory takes seconds. After twice this
/// time the kernel reports the tasks that wait for the pin's thread as hung.
const PIN_TIMEOUT: Delta = Delta::from_secs(60);

/// How long the first round waits for a pin to end; each other waits twice as long as the one
/// before.
const FIRST_PATIENCE: Delta = Delta::from_millis(100);

/// The round from which on a pin is waited for until it ends. There must be no twelfth.
const LAST_ROUNDS: u32 = 9;

/// Time between two looks.
const INTERVAL: Delta = Delta::from_micros(200);

/// Time between two looks, or two attempts to get memory, in cases that should not occur.
const LONG_INTERVAL: Delta = Delta::from_millis(5);

/// A thread that unmaps memory of a device, some of which was found pinned.
struct Unmapper {
    /// Address of the thread.
    thread: usize,
    /// The address of the device's [`Pins`], which tells it from others. Nobody follows it, since
    /// the device may be gone.
    device: usize,
    /// How many times the operation was called in the thread's system call.
    round: u32,
}

global_lock! {
    /// The threads that unmap, with one entry for each device of their containers.
    // SAFETY: `rvfio_pins_init()` initialises it when the module is loaded.
    unsafe(uninit) static UNMAPPERS: Mutex<KVVec<Unmapper>> = KVVec::new();
}

/// Makes the module's locks; called by C code.
///
/// # Safety
///
/// To be called once, before anything else in this file is.
#[no_mangle]
pub(crate) unsafe extern "C" fn rvfio_pins_init() {
    // SAFETY: The caller vouches for that.
    unsafe { UNMAPPERS.init() };
}

/// The pins of one device. All zeroes: none.
pub(crate) struct Pins {
    /// Callers of [`Self::with`] that may have pages pinned. It goes up only while [`UNMAPPERS`] is
    /// locked.
    outstanding: Atomic<i32>,
}

impl Pins {
    /// Runs `pin`, which pins pages at most once and unpins them.
    ///
    /// Waits while mappings of the device end in which pins were found. If the wait fails, `pin`
    /// was not run: `EINTR` if the caller is killed, `ETIMEDOUT` after 60 seconds.
    pub(crate) fn with<T>(&self, pin: impl FnOnce() -> T) -> Result<T> {
        self.with_patience(PIN_TIMEOUT, pin)
    }

    /// Does what [`Self::with`] does, but does not wait: `EBUSY` if it would have to.
    pub(crate) fn try_with<T>(&self, pin: impl FnOnce() -> T) -> Result<T> {
        if !self.begin() {
            return Err(EBUSY);
        }
        let result = pin();
        self.end();
        Ok(result)
    }

    /// Does what [`Self::with`] does, with another time limit.
    fn with_patience<T>(&self, timeout: Delta, pin: impl FnOnce() -> T) -> Result<T> {
        wait::until(Signals::Ignore, INTERVAL, timeout, || {
            if self.begin() {
                return Ok(true);
            }
            // SAFETY: May be called in any context.
            match unsafe { bindings::rvfio_fatal_signal_pending() } {
                true => Err(EINTR),
                false => Ok(false),
            }
        })?;
        let result = pin();
        self.end();
        Ok(result)
    }

    /// Begins a pin, unless mappings of the device end.
    fn begin(&self) -> bool {
        let unmappers = UNMAPPERS.lock();
        let begins = unmappers.iter().all(|entry| entry.device != self.id());
        if begins {
            self.outstanding.fetch_add(1, Relaxed);
        }
        begins
    }

    /// Ends a pin.
    fn end(&self) {
        self.outstanding.fetch_sub(1, Release);
    }

    /// Waits for pins in mappings that end: the `dma_unmap` operation. Returns the number of the
    /// round, from 1.
    ///
    /// No pin begins until the calling thread returns to user mode. The caller must not hold a lock
    /// that pinning takes.
    pub(crate) fn drain(&self) -> u32 {
        let thread = current_thread();
        let (round, is_new) = self.enter(thread);
        // SAFETY: The function belongs to this module.
        let lasts = !is_new || unsafe { bindings::rvfio_at_return(Some(leave_current)) } == 0;
        self.wait(round);
        if !lasts {
            // The thread is not in a system call, so nothing tells when it has unmapped. Type1 has
            // no such thread.
            leave(thread);
        }
        round
    }

    /// Enters a thread that unmaps: no pin begins until it leaves. Returns the number of its round,
    /// and whether the thread is new.
    fn enter(&self, thread: usize) -> (u32, bool) {
        loop {
            let mut unmappers = UNMAPPERS.lock();
            let own = |entry: &&mut Unmapper| entry.thread == thread;
            let others = unmappers.iter_mut().filter(own).map(|entry| entry.round);
            let before = others.max();
            let at_least = before.unwrap_or(1);
            let here = |entry: &&mut Unmapper| entry.device == self.id();
            if let Some(entry) = unmappers.iter_mut().filter(own).find(here) {
                entry.round = entry.round.saturating_add(1).max(at_least);
                return (entry.round, false);
            }
            let entry = Unmapper {
                thread,
                device: self.id(),
                round: at_least,
            };
            if unmappers.push(entry, GFP_KERNEL).is_ok() {
                return (at_least, before.is_none());
            }
            drop(unmappers);
            // Tries again, as `__GFP_NOFAIL` does for a few bytes: nothing else can be done.
            fsleep(LONG_INTERVAL);
        }
    }

    /// Waits for pins to end, for as long as the round's patience lasts.
    fn wait(&self, round: u32) {
        let is_over = || Ok(self.outstanding.load(Acquire) == 0);
        match patience(round) {
            Some(timeout) => {
                let _ = wait::until(Signals::Ignore, INTERVAL, timeout, is_over);
            }
            None => {
                while wait::until(Signals::Ignore, LONG_INTERVAL, PIN_TIMEOUT, is_over).is_err() {}
            }
        }
    }

    /// Returns the number that tells the device from others.
    fn id(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }
}

/// Returns how long a round waits for pins to end; `None` if it waits until they have.
fn patience(round: u32) -> Option<Delta> {
    let doublings = round.checked_sub(1).filter(|_| round < LAST_ROUNDS)?;
    Some(FIRST_PATIENCE * (1i64 << doublings))
}

/// Returns the address of the calling thread.
pub(super) fn current_thread() -> usize {
    kernel::current!().as_ptr().addr()
}

/// Removes the entries of a thread that has unmapped.
fn leave(thread: usize) {
    let mut unmappers = UNMAPPERS.lock();
    unmappers.retain(|entry| entry.thread != thread);
    if unmappers.is_empty() {
        // Frees the memory: there may have been many at a time.
        *unmappers = KVVec::new();
    }
}

/// Removes the entries of the calling thread, which is on its way to user mode or to its end.
extern "C" fn leave_current() {
    leave(current_thread());
}

#[kernel::macros::kunit_tests(rvfio_pins)]
mod tests {
    use kernel::time::{
        Instant,
        Monotonic, //
    };

    use super::*;

    /// Threads; no thread has such an address.
    const ONE: usize = 1;
    const OTHER: usize = 2;

    const MOMENT: Delta = Delta::from_millis(5);

    fn pins() -> Pins {
        Pins {
            outstanding: Atomic::new(0),
        }
    }

    fn time_of(work: impl FnOnce()) -> i64 {
        let begun = Instant::<Monotonic>::now();
        work();
        begun.elapsed().as_nanos()
    }

    #[test]
    fn no_pin_begins_until_all_have_unmapped() {
        let (here, elsewhere) = (pins(), pins());
        assert_eq!(here.enter(ONE), (1, true));
        assert_eq!(here.enter(OTHER), (1, true));
        for thread in [ONE, OTHER] {
            assert_eq!(
                here.with_patience(MOMENT, || panic!("pinned")),
                Err::<(), _>(ETIMEDOUT)
            );
            assert_eq!(here.try_with(|| panic!("pinned")), Err::<(), _>(EBUSY));
            // Devices of another container are not affected.
            assert_eq!(elsewhere.with_patience(MOMENT, || 5), Ok(5));
            leave(thread);
        }
        assert_eq!(here.with_patience(MOMENT, || 6), Ok(6));
        assert_eq!(here.try_with(|| 7), Ok(7));
        assert_eq!(here.outstanding.load(Relaxed), 0);
    }

    #[test]
    fn rounds_are_those_of_the_thread() {
        let (first, second) = (pins(), pins());
        for round in 1..=3 {
            assert_eq!(first.enter(ONE), (round, round == 1));
            assert_eq!(second.enter(ONE), (round, false));
        }
        // A device that was opened meanwhile.
        let third = pins();
        assert_eq!(third.enter(ONE), (3, false));
        assert_eq!(first.enter(ONE), (4, false));
        assert_eq!(third.enter(ONE), (4, false));
        assert_eq!(first.enter(OTHER), (1, true));
        leave(ONE);
        assert_eq!(first.enter(OTHER), (2, false));
        assert_eq!(first.enter(ONE), (1, true));
        leave(ONE);
        leave(OTHER);
    }

    #[test]
    fn patience_doubles_and_has_no_end_at_last() {
        assert_eq!(patience(1), Some(FIRST_PATIENCE));
        for round in 2..LAST_ROUNDS {
            let before = patience(round - 1).map(|time| time.as_nanos() * 2);
            assert_eq!(patience(round).map(Delta::as_nanos), before);
        }
        for round in [LAST_ROUNDS, LAST_ROUNDS + 1, u32::MAX] {
            assert_eq!(patience(round), None);
        }
        // One more round for a device that was opened meanwhile.
        assert!(LAST_ROUNDS < 11);
    }

    #[test]
    fn a_pin_that_had_begun_is_waited_for() {
        let pins = pins();
        assert!(time_of(|| pins.wait(1)) < FIRST_PATIENCE.as_nanos());
        assert!(pins.begin());
        assert!(time_of(|| pins.wait(1)) >= FIRST_PATIENCE.as_nanos());
        assert!(time_of(|| pins.wait(2)) >= 2 * FIRST_PATIENCE.as_nanos());
        pins.end();
        assert!(time_of(|| pins.wait(LAST_ROUNDS)) < FIRST_PATIENCE.as_nanos());
    }

    #[test]
    fn a_kernel_thread_that_unmaps_does_not_stay() {
        let pins = pins();
        assert_eq!(pins.drain(), 1);
        assert_eq!(pins.drain(), 1);
        assert_eq!(pins.with_patience(MOMENT, || 5), Ok(5));
    }
}
