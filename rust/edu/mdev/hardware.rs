// SPDX-License-Identifier: GPL-2.0-only

//! The physical device: its two units, each of which does one command at a time.

use kernel::{
    io::Io,
    pci::{
        Bar,
        DevresBar, //
    },
    prelude::*,
    time::Delta, //
};
use vfio::wait::{
    self,
    Signals, //
};

use crate::registers::*;

/// How often a computation is looked at.
const COMPUTATION_INTERVAL: Delta = Delta::from_micros(50);

/// How often a transfer is looked at.
const TRANSFER_INTERVAL: Delta = Delta::from_millis(1);

/// The longest that a command may take; a transfer is specified to take 100 ms.
const TIMEOUT: Delta = Delta::from_secs(2);

/// Bytes of the BAR that hold registers.
pub(super) const REGISTERS_SIZE: usize = 0x100;

/// The registers of the physical device, as long as its driver is bound.
pub(super) struct Hardware(DevresBar<REGISTERS_SIZE>);

impl Hardware {
    /// Makes the device ready: `ENODEV` where it is none or does not answer, `ETIMEDOUT` where it
    /// does not come to rest.
    pub(super) fn new(bar: Bar<'_, REGISTERS_SIZE>) -> Result<Self> {
        let this = Self(bar.into_devres()?);
        this.check_presence()?;
        // The driver looks at the device itself, so nothing may raise an interrupt.
        this.write32(STATUS, 0)?;
        this.wait_computed()?;
        this.wait_transferred()?;
        let pending = this.read32(INTERRUPT_STATUS)?;
        this.write32(INTERRUPT_ACKNOWLEDGE, pending)?;
        Ok(this)
    }

    /// Reads a 32-bit register; `ENODEV` when the driver is not bound any more.
    fn read32(&self, offset: u64) -> Result<u32> {
        let offset = usize::try_from(offset)?;
        self.0
            .try_access_with(|bar| bar.try_read32(offset))
            .ok_or(ENODEV)?
    }

    /// Writes a 32-bit register.
    fn write32(&self, offset: u64, value: u32) -> Result {
        let offset = usize::try_from(offset)?;
        self.0
            .try_access_with(|bar| bar.try_write32(value, offset))
            .ok_or(ENODEV)?
    }

    /// Reads a 64-bit register.
    fn read64(&self, offset: u64) -> Result<u64> {
        let offset = usize::try_from(offset)?;
        self.0
            .try_access_with(|bar| bar.try_read64(offset))
            .ok_or(ENODEV)?
    }

    /// Writes a 64-bit register.
    fn write64(&self, offset: u64, value: u64) -> Result {
        let offset = usize::try_from(offset)?;
        self.0
            .try_access_with(|bar| bar.try_write64(value, offset))
            .ok_or(ENODEV)?
    }

    /// Checks that the device answers; `ENODEV` when it is gone.
    fn check_presence(&self) -> Result {
        if self.read32(IDENTIFICATION)? == IDENTIFICATION_VALUE {
            Ok(())
        } else {
            Err(ENODEV)
        }
    }

    /// Waits until no factorial is being computed.
    fn wait_computed(&self) -> Result {
        wait::until(Signals::Ignore, COMPUTATION_INTERVAL, TIMEOUT, || {
            Ok(self.read32(STATUS)? & STATUS_COMPUTING == 0)
        })
    }

    /// Waits until no transfer runs.
    fn wait_transferred(&self) -> Result {
        wait::until(Signals::Ignore, TRANSFER_INTERVAL, TIMEOUT, || {
            Ok(self.read64(DMA_COMMAND)? & COMMAND_RUN == 0)
        })
    }

    /// Returns n! modulo 2^32, computed by the device.
    ///
    /// `ETIMEDOUT` or `ENODEV` when the device fails, also where it is still at work on what it failed
    /// at before. Not to be called by two at once.
    pub(super) fn factorial(&self, n: u32) -> Result<u32> {
        self.check_presence()?;
        // A busy device would ignore the operand.
        self.wait_computed()?;
        // Greater operands have the same result, and would hold the others up for seconds.
        self.write32(FACTORIAL, n.min(FACTORIAL_ZERO))?;
        self.wait_computed()?;
        let result = self.read32(FACTORIAL)?;
        self.check_presence()?;
        Ok(result)
    }

    /// Has the device do a transfer between driver memory and its internal buffer.
    ///
    /// `ETIMEDOUT` or `ENODEV` when the device fails, also where it is still at work on what it failed
    /// at before: it may still be at work then. Not to be called by two at once.
    pub(super) fn transfer(
        &self,
        source: u64,
        destination: u64,
        count: usize,
        command: u64,
    ) -> Result {
        self.check_presence()?;
        // A busy device would ignore the command.
        self.wait_transferred()?;
        self.write64(DMA_SOURCE, source)?;
        self.write64(DMA_DESTINATION, destination)?;
        // CAST: At most the size of the buffer.
        self.write64(DMA_COUNT, count as u64)?;
        self.write64(DMA_COMMAND, command | COMMAND_RUN)?;
        self.wait_transferred()?;
        self.check_presence()
    }
}
