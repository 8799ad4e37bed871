// SPDX-License-Identifier: GPL-2.0-only

//! Front end of the migration region of November 2018.
//!
//! C header: `include/uapi/linux/vfio_migration_region.h`, which is the contract.
//!
//! [`layout`] decodes an access, [`state`] tells which state may follow which, and `section` tells
//! what the data section holds. The other modules are the actions. The front end translates; the
//! device's state is the engine's.

pub mod layout;
pub mod state;

mod dirty;
mod read;
mod section;
mod write;

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
    state::State, //
};
use layout::{
    Field,
    HEADER_LEN, //
};
use section::Section;
use state::DeviceState;

/// The first half of a 64-bit field, whose second half has not been accessed yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Half {
    /// No half.
    #[default]
    None,
    /// The low half was read; this is the high half.
    Read(Field, u32),
    /// This low half was written.
    Written(Field, u32),
}

/// A dirty query that the client has asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Query {
    /// The client has asked for none since tracking began.
    Idle,
    /// The query runs at the next read of `dirty_pfns.copied`.
    Armed(crate::iova::PageRange),
    /// The query has run and covered that many pages.
    Done(u64),
}

/// What the region's header remembers between two accesses.
#[derive(Debug)]
pub struct Region2018 {
    /// The engine's epoch that the other fields belong to.
    epoch: u64,
    /// The state that the client reached last, in case the engine's state does not tell it.
    state: DeviceState,
    /// The first half of an access to a 64-bit field.
    half: Half,
    /// `pending.threshold_size` in bytes.
    threshold: u64,
    /// The content of the data section.
    section: Section,
    /// `dirty_pfns.start_addr`.
    start: u64,
    /// `dirty_pfns.total` in pages.
    total: u64,
    /// The dirty query.
    query: Query,
}

impl Region2018 {
    /// The protocol of this front end.
    const PROTOCOL: Protocol = Protocol::Region2018;

    /// Returns the front end of an engine that was reset `epoch` times.
    pub const fn new(epoch: u64) -> Self {
        Self {
            epoch,
            state: DeviceState::Running,
            half: Half::None,
            threshold: 0,
            section: Section::Nothing,
            start: 0,
            total: 0,
            query: Query::Idle,
        }
    }

    /// Reads `out.len()` bytes of the header for the client, from `offset` on.
    ///
    /// `EINVAL` for anything that is not one whole field, several whole neighbouring fields, or the
    /// next half of a 64-bit field; `out` is then unchanged. `EIO` for `device_state` if the
    /// device is lost. Staging a buffer and running a query return the device's errors.
    pub fn read<D: Device>(&mut self, side: Side<'_, D>, offset: usize, out: &mut [u8]) -> Result {
        self.follow(side.engine);
        let access = layout::decode(offset, out.len())?;
        self.read_access(side, access, out)
    }

    /// Writes `bytes` to the header at `offset` for the client.
    ///
    /// `EINVAL` as for [`Region2018::read`], for a field that is read-only, and for a value that is
    /// out of range or does not fit the state; then nothing has changed. `EBUSY` if another
    /// protocol owns the device. An action returns the device's errors. After [`Progress::More`],
    /// and if a signal interrupted it, the client's write goes on when it is repeated.
    pub fn write<D: Device>(
        &mut self,
        side: Side<'_, D>,
        offset: usize,
        bytes: &[u8],
    ) -> Result<Progress> {
        self.follow(side.engine);
        let access = layout::decode(offset, bytes.len())?;
        self.write_access(side, access, bytes)
    }

    /// Starts afresh if the engine was reset since the last access.
    fn follow<D: Device>(&mut self, engine: &Engine<D>) {
        if self.epoch != engine.epoch() {
            *self = Self::new(engine.epoch());
        }
    }

    /// Returns whether this protocol owns the device.
    fn is_owner<D: Device>(&self, engine: &Engine<D>) -> bool {
        engine.owner() == Some(Self::PROTOCOL)
    }

    /// Returns the state as the client sees it; `EIO` if the device is lost.
    fn view<D: Device>(&self, engine: &Engine<D>) -> Result<DeviceState> {
        let owner = self.is_owner(engine);
        Ok(match (engine.state(), self.state) {
            (State::Error, _) => return Err(EIO),
            // A device without pre-copy goes on running in PRECOPY.
            (State::Running, claimed @ (DeviceState::Setup | DeviceState::Precopy)) if owner => {
                claimed
            }
            (State::Running, _) => DeviceState::Running,
            (State::PreCopy, _) if !owner => DeviceState::Running,
            (_, _) if !owner => DeviceState::None,
            (State::PreCopy | State::PreCopyP2p, _) => DeviceState::Precopy,
            (State::StopCopy, _) => DeviceState::Stopncopy,
            (State::Resuming, _) => DeviceState::Resume,
            (
                State::Stop | State::RunningP2p,
                done @ (DeviceState::SaveCompleted | DeviceState::ResumeCompleted),
            ) => done,
            (State::Stop | State::RunningP2p, _) => DeviceState::None,
        })
    }
}

/// Bytes of the header that an access may touch.
type Bytes = [u8; HEADER_LEN];
