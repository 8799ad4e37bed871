// SPDX-License-Identifier: GPL-2.0-only

//! Moving the device from state to state.

use core::mem;

use kernel::prelude::*;

use super::{
    Cause,
    Engine,
    Loading,
    Mode,
    Protocol,
    Saving, //
};
use crate::{
    device::Device,
    image::{
        Reader,
        Writer, //
    },
    state::State, //
};

impl<D: Device> Engine<D> {
    /// Moves the device to state `target`, for `protocol`.
    ///
    /// Takes one arc after the other, as [`States::next`] says. If an arc fails, its error is
    /// returned and the device stays in the state before that arc: the one before the call, or one
    /// on the way. Only a lost device gets into [`State::Error`], and one whose hardware was reset
    /// in vain. `EBUSY` if another protocol owns the device. `EINVAL` if no arcs lead to `target`,
    /// or if they lead out of [`State::Resuming`] and the image is not complete or was refused.
    ///
    /// [`States::next`]: crate::state::States::next
    pub fn set_state(&mut self, host: &D::Host, protocol: Protocol, target: State) -> Result {
        self.admit(protocol)?;
        let before = (self.state(), self.owner);
        D::STATES.next(before.0, target)?;

        let result = self.walk(host, target);
        self.owner = match (self.state(), &result) {
            (State::Running, Ok(())) => None,
            // Nothing happened: a claim stays.
            (State::Running, Err(_)) if before.0 == State::Running => before.1,
            (State::Running, Err(_)) => None,
            _ => Some(protocol),
        };
        if let Err(error) = result {
            self.counters.last_error = Some(error);
        }
        result
    }

    /// Takes arcs until the device is in state `target`.
    fn walk(&mut self, host: &D::Host, target: State) -> Result {
        while self.state() != target {
            let to = D::STATES.next(self.state(), target)?;
            let result = self.arc(host, to);
            self.check(result)?;
        }
        Ok(())
    }

    /// Takes the arc to the neighbouring state `to`.
    fn arc(&mut self, host: &D::Host, to: State) -> Result {
        match (self.state(), to) {
            (State::Running, State::RunningP2p) => {
                self.stop(host, |engine| engine.enter(Mode::RunningP2p))?;
            }
            (State::Running, State::Stop) => {
                self.quiesce(host)?;
                self.enter(Mode::Stop);
            }
            (State::RunningP2p | State::Stop, State::Running) => {
                self.resume(host)?;
                self.enter(Mode::Running);
            }
            (State::Running, State::PreCopy) => {
                self.tell_begin(host)?;
                let saving = self.begin_save(host)?;
                self.enter(Mode::PreCopy(saving));
            }
            (State::RunningP2p, State::PreCopyP2p) => {
                self.tell_begin(host)?;
                let saving = self.begin_save(host)?;
                self.enter(Mode::PreCopyP2p(saving));
            }
            (State::PreCopy, State::PreCopyP2p) => {
                self.stop(host, |engine| engine.keep_saving(Mode::PreCopyP2p))?;
            }
            (State::PreCopyP2p, State::PreCopy) => {
                self.resume(host)?;
                self.keep_saving(Mode::PreCopy);
            }
            (State::PreCopy | State::PreCopyP2p, State::StopCopy) => {
                self.quiesce(host)?;
                self.check_told()?;
                self.keep_saving(Mode::StopCopy);
            }
            (State::PreCopy, State::Running) => self.enter(Mode::Running),
            (State::PreCopyP2p, State::RunningP2p) => self.enter(Mode::RunningP2p),
            (State::RunningP2p, State::Stop) => {
                self.settle(host)?;
                self.enter(Mode::Stop);
            }
            (State::Stop, State::RunningP2p) => self.enter(Mode::RunningP2p),
            (State::Stop, State::StopCopy) => {
                self.quiesce(host)?;
                self.check_told()?;
                let saving = self.begin_save(host)?;
                self.enter(Mode::StopCopy(saving));
            }
            (State::StopCopy, State::Stop) => self.enter(Mode::Stop),
            (State::Stop, State::Resuming) => {
                let loading = self.begin_load(host)?;
                self.enter(Mode::Resuming(loading));
            }
            (State::Resuming, State::Stop) => self.end_load()?,
            _ => return Err(EINVAL),
        }
        Ok(())
    }

    /// Quiesces the device unless it is quiesced already, and settles what it has written.
    pub(super) fn quiesce(&mut self, host: &D::Host) -> Result {
        if !self.quiesced {
            self.device.quiesce(host)?;
            self.quiesced = true;
            self.settled = false;
        }
        self.settle(host)
    }

    /// Stops a running device, and calls `enter` to enter the state in which it is stopped.
    ///
    /// If what the device has written cannot be found, it runs again, and this fails. A device that
    /// then does not run is in the new state all the same, and no arc leads on from there until the
    /// rest is found.
    fn stop(&mut self, host: &D::Host, enter: impl FnOnce(&mut Self)) -> Result {
        let stopped = self.quiesce(host);
        if stopped.is_err() {
            let _ = self.resume(host);
        }
        if self.quiesced {
            enter(self);
        }
        stopped
    }

    /// Lets the device run again unless it runs already.
    fn resume(&mut self, host: &D::Host) -> Result {
        if self.quiesced {
            self.device.resume(host)?;
            self.quiesced = false;
        }
        Ok(())
    }

    /// Makes the device a fresh one that is quiesced.
    ///
    /// A reset leaves the device running. If it then cannot be quiesced, it stays reset: it has
    /// nothing to do and gets no command, and whatever needs it quiesced tries again.
    pub(super) fn reset_quiesced(&mut self, host: &D::Host) -> Result {
        let reset = self.reset_device(host, Cause::Load);
        self.track_again(host);
        reset?;
        self.quiesced = false;
        self.quiesce(host)
    }

    /// Begins an image.
    fn begin_save(&mut self, host: &D::Host) -> Result<Saving> {
        self.reserve()?;
        self.device.save_begin(host)?;
        let buffer = self.buffer.take().ok_or(ENOMEM)?;
        let writer = Writer::with(buffer, self.device.identity(), None)?;
        self.sessions = self.sessions.wrapping_add(1);
        Ok(Saving {
            writer,
            staged_stopped: false,
        })
    }

    /// Moves the image under way to another saving state.
    fn keep_saving(&mut self, state: fn(Saving) -> Mode) {
        self.mode = match mem::replace(&mut self.mode, Mode::Stop) {
            Mode::PreCopy(saving) | Mode::PreCopyP2p(saving) | Mode::StopCopy(saving) => {
                state(saving)
            }
            mode => mode,
        };
    }

    /// Makes the device ready to take an image.
    fn begin_load(&mut self, host: &D::Host) -> Result<Loading> {
        self.reserve()?;
        self.reset_quiesced(host)?;
        self.device.load_begin(host)?;
        let buffer = self.buffer.take().ok_or(ENOMEM)?;
        let reader = Reader::with(buffer, Some(self.device.identity()));
        self.sessions = self.sessions.wrapping_add(1);
        self.refusal = None;
        Ok(Loading {
            reader,
            partial: None,
        })
    }

    /// Ends a load whose image is complete.
    fn end_load(&mut self) -> Result {
        let Mode::Resuming(loading) = &self.mode else {
            return Err(EINVAL);
        };
        if let Err(refusal) = loading.reader.finish() {
            self.refusal = Some(refusal);
            return Err(EINVAL);
        }
        self.refusal = None;
        self.enter(Mode::Stop);
        Ok(())
    }
}
