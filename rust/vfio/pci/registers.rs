// SPDX-License-Identifier: GPL-2.0-only

//! The driver's own way to a device's registers, whatever the guest has switched off.

use core::cell::Cell;

use kernel::prelude::*;
use migration::device::{
    Access,
    Width, //
};

use super::{
    passes::Pass,
    power::Awake,
    CoreDevice, //
};
use crate::bindings;

/// PCI_COMMAND: the function answers to memory accesses.
pub(super) const COMMAND_MEMORY: u16 = 0x2;

/// PCI_COMMAND: the function may start DMA.
pub(super) const COMMAND_MASTER: u16 = 0x4;

/// Access to one BAR for the driver itself.
///
/// While it exists, the function is awake, memory decoding is on, and the guest can neither reach
/// the registers nor change PCI_COMMAND. Its drop clears the command bits that it has set. Keep it
/// for a short time: the guest's register accesses wait for it.
///
/// # Invariants
///
/// The device's `memory_lock` is held for write.
pub struct Registers<'a> {
    core: &'a CoreDevice,
    bar: u8,
    /// Bits of PCI_COMMAND that the drop clears.
    set: Cell<u16>,
    /// Keeps away resets by others, which clear PCI_COMMAND and restore it.
    pass: Option<Pass<'a>>,
    _awake: Awake<'a>,
}

impl CoreDevice {
    /// Takes the registers of a BAR for the driver.
    ///
    /// `ENODEV` if no user has the device open, `EIO` while the guest has the device in a low-power
    /// state, `EBUSY` if a reset by others does not end. Must not be called with `memory_lock`
    /// held, so not while another [`Registers`] exists.
    pub fn registers(&self, bar: u8) -> Result<Registers<'_>> {
        self.check_open()?;
        let awake = self.wake()?;
        // SAFETY: By the type invariant of `CoreDevice`.
        unsafe { bindings::rvfio_memory_lock(self.as_raw()) };

        // INVARIANT: The lock was just taken.
        let mut registers = Registers {
            core: self,
            bar,
            set: Cell::new(0),
            pass: None,
            _awake: awake,
        };
        registers.pass = Some(self.passes().begin()?);

        // SAFETY: `pdev` is valid; the power state changes under `memory_lock` only.
        let power = unsafe { (*self.pdev()).current_state };
        if power != 0 {
            return Err(EIO);
        }
        registers.set_command(COMMAND_MEMORY);
        Ok(registers)
    }
}

impl<'a> Registers<'a> {
    /// Returns the device.
    pub fn core(&self) -> &'a CoreDevice {
        self.core
    }

    /// Reads a 32-bit register; `EINVAL` for an offset outside the BAR.
    pub fn read32(&self, offset: u64) -> Result<u32> {
        // CAST: A four-byte read has no higher bits.
        self.core
            .read(self.access(offset, Width::B4), false)
            .map(|value| value as u32)
    }

    /// Reads a 64-bit register; `EINVAL` for an offset outside the BAR.
    pub fn read64(&self, offset: u64) -> Result<u64> {
        self.core.read(self.access(offset, Width::B8), false)
    }

    /// Writes a 32-bit register; `EINVAL` for an offset outside the BAR.
    pub fn write32(&self, offset: u64, value: u32) -> Result {
        self.core
            .write(self.access(offset, Width::B4), value.into(), false)
    }

    /// Writes a 64-bit register; `EINVAL` for an offset outside the BAR.
    pub fn write64(&self, offset: u64, value: u64) -> Result {
        self.core
            .write(self.access(offset, Width::B8), value, false)
    }

    /// Lets the function start DMA as long as the object lives.
    pub(super) fn enable_master(&self) {
        self.set_command(COMMAND_MASTER);
    }

    /// Sets bits in PCI_COMMAND and notes those that were clear.
    fn set_command(&self, bits: u16) {
        // SAFETY: By the type invariant of `CoreDevice`.
        let set = unsafe { bindings::rvfio_command_set(self.core.as_raw(), bits) };
        self.set.set(self.set.get() | set);
    }

    /// Returns an access to this BAR.
    fn access(&self, offset: u64, width: Width) -> Access {
        Access {
            bar: self.bar,
            offset,
            width,
        }
    }
}

impl Drop for Registers<'_> {
    fn drop(&mut self) {
        let set = self.set.get();
        // SAFETY: By the type invariants of `CoreDevice` and `Self`: the lock is held.
        unsafe {
            bindings::rvfio_command_clear(self.core.as_raw(), set);
        }
        drop(self.pass.take());
        // SAFETY: As above. The pass has ended, so the next one can begin.
        unsafe {
            bindings::rvfio_memory_unlock(self.core.as_raw());
        }
    }
}
