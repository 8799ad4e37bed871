// SPDX-License-Identifier: GPL-2.0-only

//! A migratable device: the engine behind a front end for each migration protocol.
//!
//! A front end keeps what is its protocol's alone. The engine does not know the front ends: they
//! find out that a migration has ended or that the device was reset by the engine's session and
//! epoch.

pub mod region_2018;
pub mod region_v1;
pub mod v2;
pub mod window;

use kernel::prelude::*;

use crate::{
    device::Device,
    engine::{
        Engine,
        ResetHardware, //
    }, //
};
use region_2018::Region2018;
use region_v1::RegionV1;
use v2::V2;
use window::{
    DataWindow,
    Progress,
    Side, //
};

/// A migration region: a header, which is the protocol's, and the data section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MigrationRegion {
    /// The region of November 2018.
    Region2018,
    /// The region of Linux 5.8 to 5.17.
    RegionV1,
}

impl MigrationRegion {
    /// Returns the length of the header in bytes.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Region2018 => region_2018::layout::HEADER_LEN,
            Self::RegionV1 => region_v1::HEADER_LEN,
        }
    }
}

/// The object that a driver keeps for each device, under the device's state lock.
///
/// It decides which front end a client's call goes to. Whatever is no protocol's, such as a reset
/// or an access to a register, goes to the engine.
#[derive(Debug)]
pub struct Migratable<D: Device> {
    /// What all protocols share.
    engine: Engine<D>,
    /// The migration region of November 2018.
    region_2018: Region2018,
    /// The migration region of Linux 5.8.
    region_v1: RegionV1,
    /// The migration features and the data file.
    v2: V2,
}

impl<D: Device> Migratable<D> {
    /// Returns a device that runs and that no one migrates.
    pub fn new(device: D) -> Self {
        Self::of(Engine::new(device))
    }

    /// As [`Self::new`], for a device whose hardware `reset_hardware` resets.
    pub fn with_reset(device: D, reset_hardware: ResetHardware<D>) -> Self {
        Self::of(Engine::with_reset(device, reset_hardware))
    }

    /// Returns the front ends of a new engine.
    fn of(engine: Engine<D>) -> Self {
        Self {
            region_2018: Region2018::new(engine.epoch()),
            region_v1: RegionV1::new(),
            v2: V2::new(),
            engine,
        }
    }

    /// Returns the engine.
    pub fn engine(&self) -> &Engine<D> {
        &self.engine
    }

    /// Returns the engine, for a call that is no protocol's.
    pub fn engine_mut(&mut self) -> &mut Engine<D> {
        &mut self.engine
    }

    /// Returns the front end of the v2 protocol, and the engine to pass to it.
    pub fn v2(&mut self) -> (&mut V2, &mut Engine<D>) {
        (&mut self.v2, &mut self.engine)
    }

    /// Reads the header of a migration region for the client; see [`Region2018::read`] and
    /// [`RegionV1::read`].
    pub fn region_read(
        &mut self,
        region: MigrationRegion,
        host: &D::Host,
        window: &dyn DataWindow,
        offset: usize,
        out: &mut [u8],
    ) -> Result {
        let side = Side {
            engine: &mut self.engine,
            host,
            window,
        };
        match region {
            MigrationRegion::Region2018 => self.region_2018.read(side, offset, out),
            MigrationRegion::RegionV1 => self.region_v1.read(side, offset, out),
        }
    }

    /// Writes the header of a migration region for the client; see [`Region2018::write`] and
    /// [`RegionV1::write`].
    ///
    /// The caller repeats the write for as long as it returns [`Progress::More`].
    pub fn region_write(
        &mut self,
        region: MigrationRegion,
        host: &D::Host,
        window: &dyn DataWindow,
        offset: usize,
        bytes: &[u8],
    ) -> Result<Progress> {
        let side = Side {
            engine: &mut self.engine,
            host,
            window,
        };
        match region {
            MigrationRegion::Region2018 => self.region_2018.write(side, offset, bytes),
            MigrationRegion::RegionV1 => self.region_v1.write(side, offset, bytes),
        }
    }
}
