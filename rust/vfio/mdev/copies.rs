// SPDX-License-Identifier: GPL-2.0-only

//! The copy of user memory that is under way, and how it is called off.
//!
//! A page fault of user memory may wait for ever, for a userfaultfd that nobody serves. A thread of
//! the user can be killed then. Kernel threads make the copies for a device, and they take no
//! signals. So a thread that copies takes `SIGKILL` meanwhile, and whoever cannot wait for it sends
//! one. The signal ends only the fault.

use kernel::{
    bindings::{
        send_sig,
        SIGKILL, //
    },
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    },
    task::Task, //
};

use crate::bindings;

/// Who copies, and whether a copy may begin.
#[derive(Default)]
struct State {
    /// The thread that copies, and takes the signal.
    copier: Option<ARef<Task>>,
    /// The copy under way is to end, and none begins.
    called_off: bool,
}

/// The copies of one device, one at a time.
#[pin_data]
pub(super) struct Copies {
    #[pin]
    state: Mutex<State>,
}

impl Copies {
    /// Returns an initialiser; no copy is under way.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(State::default(), "rvfio_copies"),
        })
    }

    /// Runs `copy` in a kernel thread, so that it can be called off; `EINTR` if that was done
    /// before it began.
    ///
    /// `EOPNOTSUPP` if the caller is no kernel thread, since `SIGKILL` would kill its process.
    /// `EBUSY` if another thread copies, since only one can be called off.
    pub(super) fn run(&self, copy: impl FnOnce() -> Result) -> Result {
        let _signal = Signal::allow()?;
        let mut state = self.state.lock();
        if state.called_off {
            return Err(EINTR);
        }
        if state.copier.is_some() {
            return Err(EBUSY);
        }
        state.copier = Some(ARef::from(&**kernel::current!()));
        drop(state);
        let result = copy();
        // From here on nobody sends a signal.
        let copier = self.state.lock().copier.take();
        drop(copier);
        result
    }

    /// Ends the copy under way if it waits for memory; none begins until [`Self::allow`].
    pub(super) fn call_off(&self) {
        let mut state = self.state.lock();
        state.called_off = true;
        if let Some(copier) = &state.copier {
            // CAST: A small constant.
            // SAFETY: The task is referenced. It is a kernel thread that takes the signal, by
            // `Signal`, and only looks whether one is pending.
            unsafe { send_sig(SIGKILL as c_int, copier.as_ptr(), 1) };
        }
    }

    /// Lets copies begin again.
    pub(super) fn allow(&self) {
        self.state.lock().called_off = false;
    }
}

/// The calling kernel thread takes `SIGKILL` as long as this exists. The drop discards one that
/// came.
struct Signal;

impl Signal {
    /// Has the caller take the signal; `EOPNOTSUPP` if it is no kernel thread.
    fn allow() -> Result<Self> {
        // SAFETY: The function changes only the calling task.
        to_result(unsafe { bindings::rvfio_allow_kill() })?;
        Ok(Self)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // SAFETY: As above, and `allow` has succeeded.
        unsafe { bindings::rvfio_disallow_kill() };
    }
}

#[kernel::macros::kunit_tests(rvfio_copies)]
mod tests {
    // KUnit runs the tests in a kernel thread.
    use super::*;

    fn copies() -> Result<Pin<KBox<Copies>>> {
        KBox::pin_init(Copies::new(), GFP_KERNEL)
    }

    #[test]
    fn one_copies_at_a_time() -> Result {
        let copies = copies()?;
        copies.run(|| {
            assert_eq!(copies.run(|| Ok(())), Err(EBUSY));
            Ok(())
        })?;
        assert_eq!(copies.run(|| Err(EFAULT)), Err(EFAULT));
        copies.run(|| Ok(()))
    }

    #[test]
    fn none_begins_once_they_are_called_off() -> Result {
        let copies = copies()?;
        copies.call_off();
        let mut ran = false;
        let result = copies.run(|| {
            ran = true;
            Ok(())
        });
        assert_eq!(result, Err(EINTR));
        assert!(!ran);
        copies.allow();
        copies.run(|| Ok(()))
    }

    #[test]
    fn one_that_runs_hears_of_it() -> Result {
        let copies = copies()?;
        copies.run(|| {
            assert!(!kernel::current!().signal_pending());
            copies.call_off();
            assert!(kernel::current!().signal_pending());
            Ok(())
        })?;
        // The signal was discarded.
        assert!(!kernel::current!().signal_pending());
        Ok(())
    }
}
