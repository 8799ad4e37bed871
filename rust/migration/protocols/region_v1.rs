// SPDX-License-Identifier: GPL-2.0-only

//! Front end of the migration region of Linux 5.8 to 5.17, "v1".
//!
//! Contract: `struct vfio_device_migration_info` in the
//! [`include/uapi/linux/vfio.h`](srctree/include/uapi/linux/vfio.h) of those versions, and what
//! QEMU 5.2 to 7.2 does with it. The header has 32 bytes, little-endian:
//!
//! | offset | type | field | access |
//! |---|---|---|---|
//! | 0 | u32 | device_state | read, write |
//! | 4 | u32 | reserved, 0 | read, writes are ignored |
//! | 8 | u64 | pending_bytes | read |
//! | 16 | u64 | data_offset | read |
//! | 24 | u64 | data_size | read when saving, write when resuming |
//!
//! A client accesses one whole field at a time. As in the region of November 2018, a staged buffer
//! stays the same until the client reads pending_bytes or writes the state. If a transition fails,
//! the write fails and the client reads the last valid state. It never reads the error state (6),
//! at which QEMU would abort, as it would if the state could not be read.
//!
//! A client that saves begins with pre-copy. A device without pre-copy is claimed then, goes on
//! running, and has nothing pending until it is stopped.

use kernel::prelude::*;

use crate::{
    device::Device,
    engine::{
        Engine,
        Protocol, //
    },
    protocols::window::{
        Progress,
        Side, //
    },
    state::{
        next,
        State, //
    }, //
};

/// Bytes of the header.
pub const HEADER_LEN: usize = 32;

/// Bit of device_state: the device runs.
const RUNNING: u32 = 1 << 0;

/// Bit of device_state: the state is being saved.
const SAVING: u32 = 1 << 1;

/// Bit of device_state: a state is being loaded.
const RESUMING: u32 = 1 << 2;

/// The protocol of this front end.
const PROTOCOL: Protocol = Protocol::RegionV1;

/// A field of the header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    /// `device_state`.
    DeviceState,
    /// The reserved field.
    Reserved,
    /// `pending_bytes`.
    PendingBytes,
    /// `data_offset`, in bytes from the start of the region.
    DataOffset,
    /// `data_size`, in bytes.
    DataSize,
}

impl Field {
    /// Returns the field that `len` bytes at `offset` are; `EINVAL` for anything but one whole
    /// field.
    fn at(offset: usize, len: usize) -> Result<Self> {
        match (offset, len) {
            (0, 4) => Ok(Self::DeviceState),
            (4, 4) => Ok(Self::Reserved),
            (8, 8) => Ok(Self::PendingBytes),
            (16, 8) => Ok(Self::DataOffset),
            (24, 8) => Ok(Self::DataSize),
            _ => Err(EINVAL),
        }
    }
}

/// Returns the engine's state for a value of device_state; `EINVAL` for a value that has no
/// meaning.
fn decode(value: u32) -> Result<State> {
    const PRE_COPY: u32 = RUNNING | SAVING;
    match value {
        0 => Ok(State::Stop),
        RUNNING => Ok(State::Running),
        SAVING => Ok(State::StopCopy),
        PRE_COPY => Ok(State::PreCopy),
        RESUMING => Ok(State::Resuming),
        _ => Err(EINVAL),
    }
}

/// Returns the value of device_state for the engine's state; `None` if the device is lost.
fn encode<D: Device>(engine: &Engine<D>) -> Option<u32> {
    match engine.state() {
        State::Stop | State::RunningP2p => Some(0),
        // A claim of this protocol stands for pre-copy.
        State::Running if engine.owner() == Some(PROTOCOL) => Some(RUNNING | SAVING),
        State::Running => Some(RUNNING),
        State::StopCopy | State::PreCopyP2p => Some(SAVING),
        State::PreCopy => Some(RUNNING | SAVING),
        State::Resuming => Some(RESUMING),
        State::Error => None,
    }
}

/// What the region's header remembers between two accesses.
#[derive(Debug)]
pub struct RegionV1 {
    /// device_state at the client's last access to a device that was not lost.
    device_state: u32,
    /// The engine's session that `buffer` belongs to.
    session: Option<u64>,
    /// Bytes of the staged buffer, until the client has consumed it.
    buffer: Option<u64>,
}

impl Default for RegionV1 {
    fn default() -> Self {
        Self::new()
    }
}

impl RegionV1 {
    /// Returns the front end of an engine that no one migrates.
    pub const fn new() -> Self {
        Self {
            device_state: RUNNING,
            session: None,
            buffer: None,
        }
    }

    /// Reads `out.len()` bytes of the header for the client, from `offset` on.
    ///
    /// `EINVAL` for anything but one whole field. Staging a buffer returns the device's errors.
    pub fn read<D: Device>(
        &mut self,
        mut side: Side<'_, D>,
        offset: usize,
        out: &mut [u8],
    ) -> Result {
        self.follow(side.engine);
        let value = match Field::at(offset, out.len())? {
            Field::DeviceState => self.device_state.into(),
            Field::Reserved => 0,
            Field::PendingBytes => {
                self.buffer = None;
                Self::pending(side.engine, side.host)
            }
            Field::DataOffset => {
                self.stage(&mut side)?;
                side.window.offset()
            }
            Field::DataSize => self.stage(&mut side)?,
        };
        let bytes = value.to_le_bytes();
        out.copy_from_slice(bytes.get(..out.len()).ok_or(EINVAL)?);
        Ok(())
    }

    /// Writes `bytes` to the header at `offset` for the client.
    ///
    /// `EINVAL` for anything but one whole field that may be written, and for a value that is out
    /// of range or does not fit the state; then nothing has changed. `EBUSY` if another protocol
    /// owns the device. An action returns the device's errors. After [`Progress::More`], and if a
    /// signal interrupted it, the client's write goes on when it is repeated.
    pub fn write<D: Device>(
        &mut self,
        mut side: Side<'_, D>,
        offset: usize,
        bytes: &[u8],
    ) -> Result<Progress> {
        self.follow(side.engine);
        match Field::at(offset, bytes.len())? {
            Field::DeviceState => {
                let value = u32::from_le_bytes(bytes.try_into().map_err(|_| EINVAL)?);
                let target = decode(value)?;
                match target {
                    State::PreCopy if !D::STATES.pre_copy => Self::claim(&mut side)?,
                    _ => side.engine.set_state(side.host, PROTOCOL, target)?,
                }
                self.buffer = None;
                Ok(Progress::Done)
            }
            Field::DataSize => {
                let size = u64::from_le_bytes(bytes.try_into().map_err(|_| EINVAL)?);
                side.engine.admit(PROTOCOL)?;
                let room = u64::try_from(side.window.len())?;
                if side.engine.state() != State::Resuming || size > room {
                    return Err(EINVAL);
                }
                side.load(size)
            }
            Field::Reserved => Ok(Progress::Done),
            Field::PendingBytes | Field::DataOffset => Err(EINVAL),
        }
    }

    /// Begins pre-copy of a device that has none: it runs, and other protocols keep off.
    ///
    /// `EINVAL` if no arcs would lead to [`State::PreCopy`]; otherwise as [`Engine::set_state`].
    fn claim<D: Device>(side: &mut Side<'_, D>) -> Result {
        let engine = &mut *side.engine;
        engine.admit(PROTOCOL)?;
        next(engine.state(), State::PreCopy)?;
        engine.set_state(side.host, PROTOCOL, State::Running)?;
        engine.claim(PROTOCOL)
    }

    /// Notes the state, and forgets the staged buffer if the engine is in another session.
    fn follow<D: Device>(&mut self, engine: &Engine<D>) {
        if let Some(device_state) = encode(engine) {
            self.device_state = device_state;
        }
        if self.session != engine.session() {
            self.session = engine.session();
            self.buffer = None;
        }
    }

    /// Returns whether this protocol saves the device.
    fn is_saving<D: Device>(engine: &Engine<D>) -> bool {
        engine.owner() == Some(PROTOCOL)
            && matches!(engine.state(), State::PreCopy | State::StopCopy)
    }

    /// Returns `pending_bytes`: what can go now, so that a client that finds bytes pending gets
    /// some.
    fn pending<D: Device>(engine: &Engine<D>, host: &D::Host) -> u64 {
        if !Self::is_saving(engine) {
            return 0;
        }
        let pending = engine.pending(host);
        match engine.state() {
            State::PreCopy => pending.available,
            _ => pending.total(),
        }
    }

    /// Returns `data_size`; when saving, stages the next buffer unless one is staged.
    fn stage<D: Device>(&mut self, side: &mut Side<'_, D>) -> Result<u64> {
        if !Self::is_saving(side.engine) {
            return Ok(0);
        }
        if let Some(size) = self.buffer {
            return Ok(size);
        }
        let size = side.fill(0)?;
        self.buffer = Some(size);
        Ok(size)
    }
}
