// SPDX-License-Identifier: GPL-2.0-only

//! A client of v2 that does as little as possible on its own.

use std::fmt;

use rustix::io::Errno;
use vfio_bindings::bindings::vfio as uapi;

pub use super::file::Stream;
use crate::check::subject::{Open, Subject};
use crate::check::{ensure, fail, held, not_applicable, succeeds, Verdict};
use crate::error::explain;
use crate::sys::{FeatureData, Moved};

/// `VFIO_DEVICE_FEATURE_MIGRATION`
pub const MIGRATION: u32 = uapi::VFIO_DEVICE_FEATURE_MIGRATION;
/// `VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE`
pub const MIG_DEVICE_STATE: u32 = uapi::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
/// `VFIO_DEVICE_FEATURE_MIG_DATA_SIZE`
pub const MIG_DATA_SIZE: u32 = 9;
/// `VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2`
pub const MIG_PRECOPY_INFO_V2: u32 = 12;
/// `VFIO_DEVICE_FEATURE_GET`
pub const GET: u32 = uapi::VFIO_DEVICE_FEATURE_GET;
/// `VFIO_DEVICE_FEATURE_SET`
pub const SET: u32 = uapi::VFIO_DEVICE_FEATURE_SET;
/// `VFIO_DEVICE_FEATURE_PROBE`
pub const PROBE: u32 = uapi::VFIO_DEVICE_FEATURE_PROBE;
/// Length of a feature with eight bytes of data.
pub const ARGSZ: u32 = 16;

/// `enum vfio_device_mig_state`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum State {
    /// Must be reset.
    Error = 0,
    /// Stopped.
    Stop = 1,
    /// Runs.
    Running = 2,
    /// Stopped, its state can be read.
    StopCopy = 3,
    /// Stopped, takes a state.
    Resuming = 4,
    /// Runs, without DMA to other devices.
    RunningP2p = 5,
    /// Runs, its state can be read.
    PreCopy = 6,
    /// Both of the last two.
    PreCopyP2p = 7,
}

/// All states, in the order of their numbers.
pub const STATES: [State; 8] = [
    State::Error,
    State::Stop,
    State::Running,
    State::StopCopy,
    State::Resuming,
    State::RunningP2p,
    State::PreCopy,
    State::PreCopyP2p,
];

/// Whether a file can have that many bytes. A larger number is a negative errno in disguise.
pub fn is_length(bytes: u64) -> bool {
    i64::try_from(bytes).is_ok()
}

impl State {
    /// Whether the device's state can be read in this state.
    pub fn is_saving(self) -> bool {
        self == Self::StopCopy || self.is_precopy()
    }

    /// Whether it is one of the two pre-copy states.
    pub fn is_precopy(self) -> bool {
        matches!(self, Self::PreCopy | Self::PreCopyP2p)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "ERROR",
            Self::Stop => "STOP",
            Self::Running => "RUNNING",
            Self::StopCopy => "STOP_COPY",
            Self::Resuming => "RESUMING",
            Self::RunningP2p => "RUNNING_P2P",
            Self::PreCopy => "PRE_COPY",
            Self::PreCopyP2p => "PRE_COPY_P2P",
        })
    }
}

/// An open device that migrates by v2.
#[derive(Debug)]
pub struct V2 {
    /// The device.
    pub open: Open,
    flags: u64,
}

impl V2 {
    /// A whole stream of the running device, which is taken once for all checks.
    pub fn stream_of(subject: &Subject) -> Verdict<&[u8]> {
        subject.stream(|| {
            let v2 = Self::open_fresh(subject)?;
            v2.recover()?;
            v2.save(1 << 20)
        })
    }

    /// Opens the device and makes it run, once the subject has its stream.
    pub fn open(subject: &Subject) -> Verdict<Self> {
        // A check may need the stream while it has the device open; if there is none, that check
        // says so.
        let _ = Self::stream_of(subject);
        let v2 = Self::open_fresh(subject)?;
        // Only the checks of the lifetime judge what a close leaves.
        v2.recover()?;
        Ok(v2)
    }

    /// Opens the device as the last close has left it.
    pub fn open_fresh(subject: &Subject) -> Verdict<Self> {
        let open = subject.open()?;
        match open.device.feature(MIGRATION) {
            Some(flags) => Ok(Self { open, flags }),
            None => not_applicable("the device does not offer v2"),
        }
    }

    /// The flags of `VFIO_DEVICE_FEATURE_MIGRATION`.
    pub fn flags(&self) -> u64 {
        self.flags
    }

    /// Whether the device has a state.
    pub fn supports(&self, state: State) -> bool {
        let (p2p, precopy) = (self.flags & 2 != 0, self.flags & 4 != 0);
        match state {
            State::RunningP2p => p2p,
            State::PreCopy => precopy,
            State::PreCopyP2p => p2p && precopy,
            _ => true,
        }
    }

    /// The states that the device can be brought to.
    pub fn states(&self) -> impl Iterator<Item = State> + '_ {
        STATES
            .into_iter()
            .filter(|state| *state != State::Error && self.supports(*state))
    }

    /// Ends the check as not applicable if the device lacks a state.
    pub fn needs(&self, state: State) -> Verdict {
        if self.supports(state) {
            Ok(())
        } else {
            not_applicable(format!("the device has no {state}, which is optional"))
        }
    }

    /// Ends the check as not applicable if the kernel is older than a feature.
    pub fn knows(&self, feature: u32, name: &str) -> Verdict {
        let device = &self.open.device;
        match device.raw_feature(8, PROBE | feature, &mut [0; 64]) {
            Err(Errno::NOTTY) => {
                not_applicable(format!("the kernel has no VFIO_DEVICE_FEATURE_{name}"))
            }
            _ => Ok(()),
        }
    }

    /// Makes `VFIO_MIG_GET_PRECOPY_INFO` return flags.
    pub fn opt_in_to_precopy_info_v2(&self) -> Verdict {
        self.knows(MIG_PRECOPY_INFO_V2, "MIG_PRECOPY_INFOv2")?;
        let flags = SET | MIG_PRECOPY_INFO_V2;
        let result = self.open.device.raw_feature(8, flags, &mut [0; 64]);
        succeeds(result, "SET of VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2")
    }

    /// Tries to set any number as the state.
    pub fn try_set(&self, state: u32) -> Result<Moved, Errno> {
        self.open.device.set_mig_state(state)
    }

    /// Changes the state.
    pub fn set(&self, state: State) -> Verdict<Option<Stream>> {
        // CAST: the enum is `repr(u32)`.
        let moved = succeeds(self.try_set(state as u32), &format!("going to {state}"))?;
        Ok(moved.file.map(Stream::new))
    }

    /// Changes the state, which must return a data file.
    pub fn begin(&self, state: State) -> Verdict<Stream> {
        match self.set(state)? {
            Some(stream) => Ok(stream),
            None => fail(format!("going to {state} returns no data_fd")),
        }
    }

    /// Reads the state.
    pub fn state(&self) -> Verdict<State> {
        let mut data: FeatureData = [0xff; 64];
        let result = self
            .open
            .device
            .raw_feature(ARGSZ, GET | MIG_DEVICE_STATE, &mut data);
        succeeds(result, "reading the state")?;
        let number = u32::from_ne_bytes(data[..4].try_into().expect("four bytes"));
        match STATES.get(number as usize) {
            Some(state) => Ok(*state),
            None => fail(format!("the state reads {number}")),
        }
    }

    /// Demands a state.
    pub fn is_in(&self, expected: State, when: &str) -> Verdict {
        let found = self.state()?;
        ensure(found == expected, || {
            format!("{when} the state is {found} instead of {expected}")
        })
    }

    /// Resets the device.
    pub fn reset(&self) -> Verdict {
        match self.open.device.raw_reset() {
            Ok(()) => self.is_in(State::Running, "after VFIO_DEVICE_RESET"),
            Err(errno) => fail(format!("VFIO_DEVICE_RESET fails: {}", explain(errno))),
        }
    }

    /// `MIG_DATA_SIZE`: how many bytes the device estimates its state to have.
    pub fn data_size(&self) -> Result<u64, Errno> {
        let mut data: FeatureData = [0; 64];
        let flags = GET | MIG_DATA_SIZE;
        self.open.device.raw_feature(ARGSZ, flags, &mut data)?;
        Ok(u64::from_ne_bytes(
            data[..8].try_into().expect("eight bytes"),
        ))
    }

    /// Ends the check as not applicable if the running device reports more state than is held; for
    /// checks that hold a whole stream.
    pub fn fits(&self) -> Verdict {
        match self.data_size() {
            Ok(size) if is_length(size) => held(size),
            // Only the check of the size judges an impossible size.
            _ => Ok(()),
        }
    }

    /// Resets a device that does not run.
    pub fn recover(&self) -> Verdict {
        if self.state()? == State::Running {
            return Ok(());
        }
        self.reset()
    }

    /// Takes a running device to a state; a resuming device then has a whole stream.
    pub fn go(&self, subject: &Subject, state: State) -> Verdict<Option<Stream>> {
        if state == State::Running {
            return Ok(None);
        }
        let stream = self.set(state)?;
        if let (State::Resuming, Some(stream)) = (state, &stream) {
            let result = stream.fill(Self::stream_of(subject)?, 1 << 20);
            succeeds(result, "writing the device's own stream")?;
        }
        Ok(stream)
    }

    /// Saves a whole stream of the running device, which runs again afterwards.
    pub fn save(&self, segment: usize) -> Verdict<Vec<u8>> {
        self.fits()?;
        let stream = self.begin(State::StopCopy)?.drain(segment)?;
        ensure(!stream.is_empty(), || "the stream is empty".into())?;
        self.set(State::Running)?;
        Ok(stream)
    }

    /// Loads a stream into the running device, which runs again afterwards.
    pub fn load(&self, stream: &[u8], segment: usize) -> Verdict {
        let file = self.begin(State::Resuming)?;
        succeeds(
            file.fill(stream, segment),
            "writing the device's own stream",
        )?;
        self.set(State::Running)?;
        self.is_in(State::Running, "after a load")
    }
}
