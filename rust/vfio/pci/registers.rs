// SPDX-License-Identifier: GPL-2.0-only

//! The driver's own way to a device's registers, whatever the guest has switched off.

use core::cell::Cell;

use kernel::{
    bindings::IORESOURCE_MEM,
    io::{
        IoBase,
        Mmio,
        MmioBackend,
        MmioRaw,
        Region, //
    },
    prelude::*, //
};
use migration::device::{
    Access,
    Width, //
};

use super::{
    passes::Pass,
    power::Awake,
    CoreDevice, //
};
use crate::{
    bindings,
    device::Host, //
};

/// PCI_COMMAND: the function answers to memory accesses.
pub(super) const COMMAND_MEMORY: u16 = 0x2;

/// PCI_COMMAND: the function may start DMA.
pub(super) const COMMAND_MASTER: u16 = 0x4;

/// Access to one BAR for the driver itself.
///
/// While it exists, the function is awake, memory decoding is on, and the guest can neither reach
/// trapped registers nor change PCI_COMMAND. Its drop clears the command bits that it has set. Keep
/// it for a short time: the guest's register accesses wait for it. Pages that the driver does not
/// trap may be mapped, and are the guest's meanwhile too
/// ([`Operations::TRAPPED`](super::Operations::TRAPPED)).
///
/// A reference is an [`Io`](kernel::io::Io) region: registers that [`kernel::io::register!`]
/// defines are read by `try_read(NAME)` and written by `try_write_reg(value)`, which return
/// `EINVAL` for an offset outside the BAR.
///
/// # Invariants
///
/// The device's `memory_lock` is held for write. `io` is the mapping of a memory BAR.
pub struct Registers<'a> {
    core: &'a CoreDevice,
    io: MmioRaw<Region>,
    /// Bits of PCI_COMMAND that the drop clears.
    set: Cell<u16>,
    /// Keeps away resets by others, which clear PCI_COMMAND and restore it.
    pass: Option<Pass<'a>>,
    _awake: Awake<'a>,
}

impl CoreDevice {
    /// Takes the registers of a BAR for the driver.
    ///
    /// `ENODEV` if no user has the device open, `EINVAL` if the BAR is not a memory BAR, `EIO`
    /// while the guest has the device in a low-power state, `EBUSY` if a reset by others does not
    /// end. Must not be called with `memory_lock` held, so not while another [`Registers`] exists.
    pub fn registers(&self, bar: u8) -> Result<Registers<'_>> {
        let io = self.mapping(bar)?;
        let awake = self.wake()?;
        // SAFETY: By the type invariant of `CoreDevice`.
        unsafe { bindings::rvfio_memory_lock(self.as_raw()) };

        // INVARIANT: The lock was just taken. The BAR stays mapped while the device is open, which
        // ends under the state lock; the driver's code has the device under that lock only.
        let mut registers = Registers {
            core: self,
            io,
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

    /// Returns the mapping of a memory BAR; errors as for [`CoreDevice::io`].
    fn mapping(&self, bar: u8) -> Result<MmioRaw<Region>> {
        let base = self.io(Access {
            bar,
            offset: 0,
            width: Width::B1,
        })?;
        // SAFETY: `pdev` is valid for the life of the device, and its resources do not change
        // while it has a driver.
        let flags = unsafe { (*self.pdev()).resource[usize::from(bar)].flags };
        // CAST: Widening.
        if flags & IORESOURCE_MEM as usize == 0 {
            return Err(EINVAL);
        }
        MmioRaw::new_region(base.addr(), usize::try_from(self.bar_len(bar))?)
    }
}

impl<'a> Registers<'a> {
    /// Returns the device.
    pub fn core(&self) -> &'a CoreDevice {
        self.core
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
}

impl<'a> IoBase<'a> for &'a Registers<'_> {
    type Backend = MmioBackend;
    type Target = Region;

    #[inline]
    fn as_view(self) -> Mmio<'a, Region> {
        // SAFETY: By the type invariant. Memory decoding is on while the object lives.
        unsafe { Mmio::from_raw(self.io) }
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
