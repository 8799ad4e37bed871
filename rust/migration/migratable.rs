// SPDX-License-Identifier: GPL-2.0-only

//! A migratable device: the engine and a front end for each protocol.

use kernel::prelude::*;

use crate::{
    device::{
        Access,
        Device, //
    },
    engine::Engine,
    protocols::{
        region_2018::Region2018,
        region_v1::RegionV1,
        window::{DataWindow, Progress, Side},
        MigrationRegion,
    },
};

/// The one object that a driver keeps for each device, under the device's state lock.
#[derive(Debug)]
pub struct Migratable<D: Device> {
    /// What all protocols share.
    engine: Engine<D>,
    /// The migration region of November 2018.
    region_2018: Region2018,
    /// The migration region of Linux 5.8.
    region_v1: RegionV1,
}

impl<D: Device> Migratable<D> {
    /// Returns a device that runs and that no one migrates.
    pub fn new(device: D) -> Self {
        let engine = Engine::new(device);
        Self {
            region_2018: Region2018::new(engine.epoch()),
            region_v1: RegionV1::new(),
            engine,
        }
    }

    /// Returns the engine.
    pub fn engine(&self) -> &Engine<D> {
        &self.engine
    }

    /// Returns the engine, for a protocol that has no front end here.
    pub fn engine_mut(&mut self) -> &mut Engine<D> {
        &mut self.engine
    }

    /// A client opens the device: it is made a fresh one.
    ///
    /// Errors of the device's open and reset.
    pub fn open(&mut self, host: &D::Host) -> Result {
        self.engine.open(host)
    }

    /// The client closes the device: nothing that it left may be there for the next.
    ///
    /// Errors of the device's reset; the next open tries again.
    pub fn close(&mut self, host: &D::Host) -> Result {
        self.engine.close(host)
    }

    /// The client resets the device, in any state.
    ///
    /// Errors of the device's reset.
    pub fn reset(&mut self, host: &D::Host) -> Result {
        self.engine.reset(host)
    }

    /// Others have reset the device; see [`Engine::reset_by_others`].
    pub fn reset_by_others(&mut self, host: &D::Host) -> Result {
        self.engine.reset_by_others(host)
    }

    /// The guest reads a trapped register; see [`Engine::read_register`].
    pub fn read_register(&mut self, host: &D::Host, access: Access) -> Result<u64> {
        self.engine.read_register(host, access)
    }

    /// The guest writes a trapped register; see [`Engine::write_register`].
    pub fn write_register(&mut self, host: &D::Host, access: Access, value: u64) -> Result {
        self.engine.write_register(host, access, value)
    }

    /// The client reads the header of a migration region; see [`Region2018::read`] and
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

    /// The client writes the header of a migration region; see [`Region2018::write`] and
    /// [`RegionV1::write`].
    ///
    /// After [`Progress::More`] the write is to be repeated, as often as it takes.
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
