// SPDX-License-Identifier: GPL-2.0-only

//! The physical device: its two units, each of which carries out one command at a time.

use kernel::{
    io::{
        register::{
            FixedRegister,
            FixedRegisterLoc, //
        },
        Io,
        IoCapable,
        MmioBackend, //
    },
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

use crate::{
    registers::*,
    transfer::DmaRegisters, //
};

/// The interval at which a computation is polled.
const COMPUTATION_INTERVAL: Delta = Delta::from_micros(50);

/// The interval at which a transfer is polled.
const TRANSFER_INTERVAL: Delta = Delta::from_millis(1);

/// The longest that a command may take; a transfer is specified to take 100 ms.
const TIMEOUT: Delta = Delta::from_secs(2);

/// Bytes of the BAR that hold registers.
pub(super) const REGISTERS_SIZE: usize = 0x100;

/// The registers of the physical device, as long as its driver is bound.
pub(super) struct Hardware(DevresBar<REGISTERS_SIZE>);

impl Hardware {
    /// Makes the device ready.
    ///
    /// `ENODEV` if it is not an edu or does not answer, `ETIMEDOUT` if its work does not end.
    pub(super) fn new(bar: Bar<'_, REGISTERS_SIZE>) -> Result<Self> {
        let this = Self(bar.into_devres()?);
        this.check_presence()?;
        // The driver polls the device, so nothing may raise an interrupt.
        this.write(STATUS::zeroed())?;
        this.wait_computed()?;
        this.wait_transferred()?;
        let pending = this.read(INTERRUPT_STATUS)?;
        this.write(INTERRUPT_ACKNOWLEDGE::from(pending.into_raw()))?;
        Ok(this)
    }

    /// Reads a register; `ENODEV` if the driver is not bound any more.
    fn read<T: FixedRegister>(&self, location: FixedRegisterLoc<T>) -> Result<T>
    where
        MmioBackend: IoCapable<T::Storage>,
    {
        self.0
            .try_access_with(|bar| bar.try_read(location))
            .ok_or(ENODEV)?
    }

    /// Writes a register; `ENODEV` if the driver is not bound any more.
    fn write<T: FixedRegister>(&self, register: T) -> Result
    where
        MmioBackend: IoCapable<T::Storage>,
    {
        self.0
            .try_access_with(|bar| bar.try_write_reg(register))
            .ok_or(ENODEV)?
    }

    /// Checks that the device answers; `ENODEV` if it is gone.
    fn check_presence(&self) -> Result {
        if self.read(IDENTIFICATION)? == IDENTIFICATION::EDU {
            Ok(())
        } else {
            Err(ENODEV)
        }
    }

    /// Waits until no factorial is being computed.
    fn wait_computed(&self) -> Result {
        wait::until(Signals::Ignore, COMPUTATION_INTERVAL, TIMEOUT, || {
            Ok(!self.read(STATUS)?.computing())
        })
    }

    /// Waits until no transfer runs.
    fn wait_transferred(&self) -> Result {
        wait::until(Signals::Ignore, TRANSFER_INTERVAL, TIMEOUT, || {
            Ok(!self.read(DMA_COMMAND)?.run())
        })
    }

    /// Returns n! modulo 2^32, computed by the device.
    ///
    /// `ETIMEDOUT` or `ENODEV` if the device fails, or is still at work on a command that has
    /// failed before. One caller at a time.
    pub(super) fn factorial(&self, n: u32) -> Result<u32> {
        self.check_presence()?;
        // A busy device would ignore the operand.
        self.wait_computed()?;
        self.write(FACTORIAL::of(n))?;
        self.wait_computed()?;
        let result = self.read(FACTORIAL)?;
        self.check_presence()?;
        Ok(result.into_raw())
    }

    /// Has the device do a transfer between driver memory and its internal buffer.
    ///
    /// `ETIMEDOUT` or `ENODEV` if the device fails, or is still at work on a command that has
    /// failed before. The device may still be at work then. One caller at a time.
    pub(super) fn transfer(&self, dma: &DmaRegisters) -> Result {
        self.check_presence()?;
        // A busy device would ignore the command.
        self.wait_transferred()?;
        self.write(DMA_SOURCE::from(dma.source))?;
        self.write(DMA_DESTINATION::from(dma.destination))?;
        self.write(DMA_COUNT::from(dma.count))?;
        self.write(dma.command.with_run(true))?;
        self.wait_transferred()?;
        self.check_presence()
    }
}
