// SPDX-License-Identifier: GPL-2.0-only

//! The copy of user memory that is under way, and how it is called off.
//!
//! A fault of user memory may wait for ever, for a userfaultfd that nobody serves. A user's own
//! thread is killed out of it. Copies for a device are made by kernel threads, which take no signals:
//! so who copies takes `SIGKILL` meanwhile, and who cannot wait sends it. Only the fault ends by that.

use kernel::{
    bindings::{
        send_sig,
        SIGKILL, //
    },
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    },
    task::Task, //
};

use crate::bindings;

/// What is copied, and whether anything may be.
#[derive(Default)]
struct State {
    /// Who copies, and takes the signal.
    copier: Option<ARef<Task>>,
    /// Copies end, and none begins.
    called_off: bool,
}

/// The copies of one device: one at a time.
#[pin_data]
pub(super) struct Copies {
    #[pin]
    state: Mutex<State>,
}

impl Copies {
    /// Returns a device's copies, of which none is under way.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(State::default(), "rvfio_copies"),
        })
    }

    /// Runs `copy` in a kernel thread, so that it can be called off; `EINTR` where that has been done
    /// before it began.
    pub(super) fn run(&self, copy: impl FnOnce() -> Result) -> Result {
        let _signal = Signal::allow();
        let mut state = self.state.lock();
        if state.called_off {
            return Err(EINTR);
        }
        state.copier = Some(ARef::from(&**kernel::current!()));
        drop(state);
        let result = copy();
        // No signal is sent from here on.
        let copier = self.state.lock().copier.take();
        drop(copier);
        result
    }

    /// Ends the copy under way where it waits for memory; none begins until [`Self::allow`].
    pub(super) fn call_off(&self) {
        let mut state = self.state.lock();
        state.called_off = true;
        if let Some(copier) = &state.copier {
            // CAST: A small constant.
            // SAFETY: The task is referenced; it takes the signal, and looks at nothing but that it
            // is there.
            unsafe { send_sig(SIGKILL as c_int, copier.as_ptr(), 1) };
        }
    }

    /// Copies may begin again.
    pub(super) fn allow(&self) {
        self.state.lock().called_off = false;
    }
}

/// The calling kernel thread takes `SIGKILL`; when this goes, it takes none, and forgets one that
/// came.
struct Signal;

impl Signal {
    fn allow() -> Self {
        // SAFETY: Changes the calling task alone.
        unsafe { bindings::rvfio_allow_kill(true) };
        Self
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // SAFETY: As above.
        unsafe { bindings::rvfio_allow_kill(false) };
    }
}
