// SPDX-License-Identifier: GPL-2.0-only

//! The migration of one device, whatever protocol the client speaks.
//!
//! The engine owns the device, the image that is being produced or taken, and the dirty log. A
//! front end translates a protocol's vocabulary into calls of the engine and keeps no state of the
//! device itself. The engine's states and arcs are those of [`crate::state`].
//!
//! A method sleeps only if the device does or if it allocates memory. The caller holds one lock for
//! each device, so calls never run at the same time.

mod arcs;
mod resets;
mod status;
mod tracking;
mod transfer;

use kernel::prelude::*;

use crate::{
    device::{
        Access,
        Device, //
    },
    dirty::DirtyLog,
    image::{
        Buffer,
        Reader,
        Refusal,
        Writer, //
    },
    state::State, //
};

pub use resets::{
    Cause,
    HardwareReset,
    ResetHardware, //
};
pub use status::{
    Counters,
    Status, //
};
pub use transfer::{
    Pending,
    Taken, //
};

/// A way in which a client asks for a migration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// The migration region of November 2018.
    Region2018,
    /// The migration region of Linux 5.8 to 5.17.
    RegionV1,
    /// The migration features and the data file descriptor of Linux 5.18 and later.
    V2,
}

/// An image that is being produced.
#[derive(Debug)]
struct Saving {
    /// Produces the image.
    writer: Writer,
    /// The device had to stop before it gave the bytes that are staged.
    staged_stopped: bool,
}

/// An image that is being taken.
#[derive(Debug)]
struct Loading {
    /// Verifies the image.
    reader: Reader,
    /// The partly taken buffer of a migration region, if there is one.
    partial: Option<Partial>,
}

/// A partly taken buffer of a migration region.
#[derive(Clone, Copy, Debug)]
struct Partial {
    /// Bytes in the buffer.
    size: usize,
    /// How many of them were taken.
    taken: usize,
}

/// The device's state, and what exists only in that state.
#[derive(Debug)]
enum Mode {
    /// [`State::Error`].
    Error,
    /// [`State::Stop`].
    Stop,
    /// [`State::Running`].
    Running,
    /// [`State::StopCopy`].
    StopCopy(Saving),
    /// [`State::Resuming`].
    Resuming(Loading),
    /// [`State::RunningP2p`].
    RunningP2p,
    /// [`State::PreCopy`].
    PreCopy(Saving),
    /// [`State::PreCopyP2p`].
    PreCopyP2p(Saving),
}

impl Mode {
    /// Returns the state.
    fn state(&self) -> State {
        match self {
            Mode::Error => State::Error,
            Mode::Stop => State::Stop,
            Mode::Running => State::Running,
            Mode::StopCopy(_) => State::StopCopy,
            Mode::Resuming(_) => State::Resuming,
            Mode::RunningP2p => State::RunningP2p,
            Mode::PreCopy(_) => State::PreCopy,
            Mode::PreCopyP2p(_) => State::PreCopyP2p,
        }
    }

    /// Returns the image that is being produced.
    fn saving(&self) -> Option<&Saving> {
        match self {
            Mode::PreCopy(saving) | Mode::PreCopyP2p(saving) | Mode::StopCopy(saving) => {
                Some(saving)
            }
            _ => None,
        }
    }

    /// As [`Self::saving`].
    fn saving_mut(&mut self) -> Option<&mut Saving> {
        match self {
            Mode::PreCopy(saving) | Mode::PreCopyP2p(saving) | Mode::StopCopy(saving) => {
                Some(saving)
            }
            _ => None,
        }
    }

    /// Returns the memory of the image under way.
    fn into_buffer(self) -> Option<Buffer> {
        match self {
            Mode::PreCopy(saving) | Mode::PreCopyP2p(saving) | Mode::StopCopy(saving) => {
                Some(saving.writer.into_buffer())
            }
            Mode::Resuming(loading) => Some(loading.reader.into_buffer()),
            Mode::Error | Mode::Stop | Mode::Running | Mode::RunningP2p => None,
        }
    }
}

/// The migration engine of a device.
#[derive(Debug)]
pub struct Engine<D: Device> {
    /// The device.
    device: D,
    /// What resets its hardware before the device is reset.
    reset_hardware: ResetHardware<D>,
    /// The state of the device, and what exists only in that state.
    mode: Mode,
    /// Memory for the next image, while none is under way.
    ///
    /// The engine keeps it as long as a user has the device open, so no migration fails for want of
    /// memory.
    buffer: Option<Buffer>,
    /// The device was quiesced and has not been resumed since.
    quiesced: bool,
    /// Since the device was quiesced, all that it has written was found and told.
    settled: bool,
    /// The protocol that moved the device away from [`State::Running`].
    owner: Option<Protocol>,
    /// Pages that the device wrote.
    log: DirtyLog,
    /// The protocol for which the log is kept.
    tracker: Option<Protocol>,
    /// The device was told to track.
    tracks: bool,
    /// Counts resets: a front end drops what it remembers when the number changes.
    epoch: u64,
    /// Counts the images begun, produced or taken.
    sessions: u64,
    /// Why the last image was refused.
    refusal: Option<Refusal>,
    /// What was moved, and what failed last.
    counters: Counters,
}

impl<D: Device> Engine<D> {
    /// Returns the engine of a device that runs and that no one migrates.
    pub fn new(device: D) -> Self {
        Self::with_reset(device, |_, _| HardwareReset::NONE)
    }

    /// As [`Self::new`], for a device whose hardware `reset_hardware` resets.
    ///
    /// Each call of [`Device::reset`] comes right after one of `reset_hardware`.
    pub fn with_reset(device: D, reset_hardware: ResetHardware<D>) -> Self {
        Self {
            device,
            reset_hardware,
            mode: Mode::Running,
            buffer: None,
            quiesced: false,
            settled: false,
            owner: None,
            log: DirtyLog::new(),
            tracker: None,
            tracks: false,
            epoch: 0,
            sessions: 0,
            refusal: None,
            counters: Counters::default(),
        }
    }

    /// Returns the device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Returns the device, for work that has nothing to do with a migration.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Returns the state of the device.
    pub fn state(&self) -> State {
        self.mode.state()
    }

    /// Returns the protocol that owns the device, if one does.
    ///
    /// The first protocol that moves the device away from [`State::Running`], or claims it, owns it
    /// until the device is in [`State::Running`] again or is reset. Meanwhile the others get
    /// `EBUSY`.
    pub fn owner(&self) -> Option<Protocol> {
        self.owner
    }

    /// Returns the number of resets so far.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the session: the number of the image that is being produced or taken, if one is.
    pub fn session(&self) -> Option<u64> {
        match self.mode {
            Mode::PreCopy(_) | Mode::PreCopyP2p(_) | Mode::StopCopy(_) | Mode::Resuming(_) => {
                Some(self.sessions)
            }
            _ => None,
        }
    }

    /// Returns the session that moving to `target` would begin, if it would begin one.
    pub fn session_of(&self, target: State) -> Option<u64> {
        let begins = match target {
            _ if !D::STATES.has(target) => false,
            State::PreCopy | State::PreCopyP2p | State::StopCopy => self.mode.saving().is_none(),
            State::Resuming => self.state() != State::Resuming,
            _ => false,
        };
        begins.then(|| self.sessions.wrapping_add(1))
    }

    /// Returns why the last image was refused; `None` again as soon as another load begins.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Makes `protocol` the owner of the device, in any state.
    ///
    /// `EBUSY` if another protocol owns it.
    pub fn claim(&mut self, protocol: Protocol) -> Result {
        self.admit(protocol)?;
        self.owner = Some(protocol);
        Ok(())
    }

    /// Gives up the ownership of a running device; does nothing in other states.
    pub fn release(&mut self, protocol: Protocol) {
        if self.owner == Some(protocol) && self.state() == State::Running {
            self.owner = None;
        }
    }

    /// Returns `EBUSY` if a protocol other than `protocol` owns the device.
    pub fn admit(&self, protocol: Protocol) -> Result {
        match self.owner {
            Some(owner) if owner != protocol => Err(EBUSY),
            _ => Ok(()),
        }
    }

    /// Enters another mode, and keeps the memory of the image that this drops.
    fn enter(&mut self, mode: Mode) {
        let left = core::mem::replace(&mut self.mode, mode);
        if let Some(buffer) = left.into_buffer() {
            self.buffer = Some(buffer);
        }
    }

    /// Reads a trapped register for the guest, in any state: the device decides what the guest
    /// sees.
    pub fn read_register(&mut self, host: &D::Host, access: Access) -> Result<u64> {
        self.device.read(host, access)
    }

    /// Writes a trapped register for the guest.
    ///
    /// `EBUSY` unless the device is in [`State::Running`] or [`State::PreCopy`].
    pub fn write_register(&mut self, host: &D::Host, access: Access, value: u64) -> Result {
        match self.mode {
            Mode::Running | Mode::PreCopy(_) => {}
            _ => return Err(EBUSY),
        }
        let written = self.device.write(host, &mut self.log, access, value);
        self.tell_batch(host);
        written
    }

    /// Notes the error of an operation of the device, if it failed, and whether the device is lost.
    fn check<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.counters.last_error = Some(*error);
            if self.device.lost() {
                self.enter(Mode::Error);
            }
        }
        result
    }
}
