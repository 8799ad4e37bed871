// SPDX-License-Identifier: GPL-2.0-only

//! The gate before the physical device, which is shut while others reset it.

use kernel::{
    prelude::*,
    sync::{
        new_condvar,
        new_mutex,
        CondVar,
        Mutex, //
    }, //
};

/// How many commands are inside, and whether more may enter.
#[derive(Default)]
struct State {
    inside: u32,
    shut: bool,
}

/// The gate that each command to the physical device goes through.
#[pin_data]
pub(super) struct Gate {
    #[pin]
    state: Mutex<State>,
    #[pin]
    changed: CondVar,
}

impl Gate {
    /// Returns a gate that is open.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(State::default(), "edu_gate"),
            changed <- new_condvar!("edu_gate_changed"),
        })
    }

    /// Enters, as soon as the gate is open.
    pub(super) fn enter(&self) -> Inside<'_> {
        let mut state = self.state.lock();
        while state.shut {
            self.changed.wait(&mut state);
        }
        state.inside += 1;
        Inside(self)
    }

    /// Lets no command in, and waits until all are out, which takes a bounded time.
    pub(super) fn shut(&self) {
        let mut state = self.state.lock();
        state.shut = true;
        while state.inside > 0 {
            self.changed.wait(&mut state);
        }
    }

    /// Lets commands in again.
    pub(super) fn open(&self) {
        self.state.lock().shut = false;
        self.changed.notify_all();
    }
}

/// A command inside, which leaves when this is dropped.
pub(super) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state.lock().inside -= 1;
        self.0.changed.notify_all();
    }
}
