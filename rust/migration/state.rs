// SPDX-License-Identifier: GPL-2.0-only

//! The states of a migratable device and the arcs between them.
//!
//! States and arcs are those of `enum vfio_device_mig_state` in `include/uapi/linux/vfio.h`. Which
//! of the optional states a device has, [`States`] tells.

use core::fmt;

use kernel::prelude::*;

/// State of a migratable device.
///
/// The numbers are those of `enum vfio_device_mig_state`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum State {
    /// The device is unusable until it is reset.
    Error = 0,
    /// The device neither acts nor changes.
    Stop = 1,
    /// The device works for the guest.
    Running = 2,
    /// Stopped, and the rest of the state can be read.
    StopCopy = 3,
    /// Stopped, and a state can be written.
    Resuming = 4,
    /// Running, but the device starts nothing by itself.
    RunningP2p = 5,
    /// Running, and a part of the state can be read.
    PreCopy = 6,
    /// [`State::PreCopy`], but the device starts nothing by itself.
    PreCopyP2p = 7,
}

impl State {
    /// Every state, in the order of the numbers.
    pub const ALL: [State; 8] = [
        State::Error,
        State::Stop,
        State::Running,
        State::StopCopy,
        State::Resuming,
        State::RunningP2p,
        State::PreCopy,
        State::PreCopyP2p,
    ];

    /// Returns the number that stands for the state in the uAPI.
    pub const fn number(self) -> u32 {
        // CAST: the enum is `repr(u32)` and has no fields.
        self as u32
    }

    /// Returns whether an image is being produced in this state.
    pub const fn is_saving(self) -> bool {
        matches!(self, State::PreCopy | State::PreCopyP2p | State::StopCopy)
    }
}

impl TryFrom<u32> for State {
    type Error = Error;

    /// Returns the state that `number` stands for in the uAPI; `EINVAL` if it stands for none.
    fn try_from(number: u32) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|state| state.number() == number)
            .ok_or(EINVAL)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Error => "ERROR",
            State::Stop => "STOP",
            State::Running => "RUNNING",
            State::StopCopy => "STOP_COPY",
            State::Resuming => "RESUMING",
            State::RunningP2p => "RUNNING_P2P",
            State::PreCopy => "PRE_COPY",
            State::PreCopyP2p => "PRE_COPY_P2P",
        })
    }
}

/// The optional states that a device has.
///
/// Every device has the others: `VFIO_MIGRATION_STOP_COPY`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct States {
    /// [`State::RunningP2p`], and with `pre_copy` [`State::PreCopyP2p`]: `VFIO_MIGRATION_P2P`.
    pub p2p: bool,
    /// [`State::PreCopy`]: `VFIO_MIGRATION_PRE_COPY`.
    pub pre_copy: bool,
}

impl States {
    /// All states.
    pub const ALL: Self = Self {
        p2p: true,
        pre_copy: true,
    };

    /// No optional state.
    pub const LEAST: Self = Self {
        p2p: false,
        pre_copy: false,
    };

    /// Returns whether a device has `state`.
    pub const fn has(self, state: State) -> bool {
        match state {
            State::RunningP2p => self.p2p,
            State::PreCopy => self.pre_copy,
            State::PreCopyP2p => self.p2p && self.pre_copy,
            State::Error | State::Stop | State::Running | State::StopCopy | State::Resuming => true,
        }
    }

    /// Returns the state after the first arc on the way from `from` to `to`.
    ///
    /// Returns what `vfio_mig_get_next_state()` returns for a device with these states: the arc
    /// skips those that the device lacks. `EINVAL` if the device lacks `from` or `to`, and as
    /// [`next`].
    pub fn next(self, from: State, to: State) -> Result<State> {
        if !self.has(from) || !self.has(to) {
            return Err(EINVAL);
        }
        let mut at = next(from, to)?;
        while !self.has(at) {
            at = next(at, to)?;
        }
        Ok(at)
    }
}

/// Returns the state after the first arc on the way from `from` to `to`, for a device with all
/// states.
///
/// Returns what `vfio_mig_get_next_state()` returns. If `from` and `to` are the same, there is no
/// arc and the function returns that state. `EINVAL` if either is [`State::Error`], and for the
/// ways from [`State::StopCopy`] to [`State::PreCopy`] and [`State::PreCopyP2p`], which are
/// blocked.
pub fn next(from: State, to: State) -> Result<State> {
    use State::*;

    let next = match (from, to) {
        (Error, _) | (_, Error) => return Err(EINVAL),
        (StopCopy, PreCopy | PreCopyP2p) => return Err(EINVAL),

        (Stop, Stop | StopCopy | Resuming) => to,
        (Stop, Running | RunningP2p | PreCopy | PreCopyP2p) => RunningP2p,

        (Running, Running | PreCopy) => to,
        (Running, Stop | StopCopy | Resuming | RunningP2p | PreCopyP2p) => RunningP2p,

        (RunningP2p, RunningP2p | PreCopyP2p) => to,
        (RunningP2p, Running | PreCopy) => Running,
        (RunningP2p, Stop | StopCopy | Resuming) => Stop,

        (PreCopy, PreCopy) => to,
        (PreCopy, PreCopyP2p | StopCopy) => PreCopyP2p,
        (PreCopy, Running | RunningP2p | Stop | Resuming) => Running,

        (PreCopyP2p, PreCopyP2p | PreCopy | StopCopy) => to,
        (PreCopyP2p, Running | RunningP2p | Stop | Resuming) => RunningP2p,

        (StopCopy, StopCopy) => to,
        (StopCopy, Stop | Running | RunningP2p | Resuming) => Stop,

        (Resuming, Resuming) => to,
        (Resuming, Stop | StopCopy | Running | RunningP2p | PreCopy | PreCopyP2p) => Stop,
    };
    Ok(next)
}
