// SPDX-License-Identifier: GPL-2.0-only

//! Where a migration goes: a device of this machine, a file, or another machine.

use crate::error::{Error, Result};
use crate::migrate::dirty::PAGE;
use crate::migrate::memory::GuestMemory;
use crate::migrate::protocol::{Migration, Phase};

/// The receiving side of a migration.
pub trait Target {
    /// Takes a piece of the device's state; pieces come in order and may be cut anywhere.
    fn device(&mut self, bytes: &[u8]) -> Result<()>;

    /// Takes a page of memory; a later page of the same number replaces it.
    fn page(&mut self, number: usize, bytes: &[u8; PAGE]) -> Result<()>;

    /// Called when all was sent; returns once the target has accepted it as complete.
    fn ready(&mut self) -> Result<()>;

    /// Starts the target; the source has given the device up.
    fn start(&mut self) -> Result<()>;

    /// Throws away what was taken; the migration has failed.
    fn abort(&mut self, reason: &str);
}

/// What the owner of a resuming device does besides the migration protocol.
pub trait Owner {
    /// Restores what belongs to the virtual machine and not to the device: memory decoding, bus
    /// mastering, interrupts. Called when the state is loaded, before the device runs.
    fn before_running(&mut self) -> Result<()>;

    /// Resets the device.
    fn reset(&mut self) -> Result<()>;
}

/// A device that resumes.
pub struct Resuming<'a> {
    migration: &'a mut dyn Migration,
    owner: &'a mut dyn Owner,
    memory: Option<GuestMemory>,
    chunk: usize,
    bytes: u64,
}

impl<'a> Resuming<'a> {
    /// Puts a device into RESUME, to take state in buffers of at most `chunk` bytes.
    pub fn new(
        migration: &'a mut dyn Migration,
        owner: &'a mut dyn Owner,
        memory: Option<GuestMemory>,
        chunk: Option<usize>,
    ) -> Result<Self> {
        migration.enter(Phase::Resume)?;
        let capacity = migration.buffer_capacity();
        let chunk = chunk.unwrap_or(capacity).min(capacity);
        if chunk == 0 {
            return Err(Error::Protocol("the region has no data section".into()));
        }
        Ok(Self {
            migration,
            owner,
            memory,
            chunk,
            bytes: 0,
        })
    }

    /// Returns the most bytes that go to the driver at once.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Bytes of device state taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Target for Resuming<'_> {
    fn device(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(self.chunk) {
            self.migration.put_buffer(chunk)?;
            self.bytes += chunk.len() as u64;
        }
        Ok(())
    }

    fn page(&mut self, number: usize, bytes: &[u8; PAGE]) -> Result<()> {
        match &self.memory {
            Some(memory) if number < memory.pages() => {
                memory.write_page(number, bytes);
                Ok(())
            }
            _ => Err(Error::Protocol(format!(
                "a page outside of the memory: {number}"
            ))),
        }
    }

    fn ready(&mut self) -> Result<()> {
        self.migration.enter(Phase::ResumeCompleted)
    }

    fn start(&mut self) -> Result<()> {
        self.owner.before_running()?;
        self.migration.enter(Phase::Running)
    }

    fn abort(&mut self, _: &str) {
        // Either call leaves the device like a fresh one. The caller reports the error that led
        // here.
        let _ = self.migration.cancel();
        let _ = self.owner.reset();
    }
}
