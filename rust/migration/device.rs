// SPDX-License-Identifier: GPL-2.0-only

//! What a device must offer to be migrated.

use kernel::prelude::*;

use crate::{
    dirty::DirtyLog,
    image::{
        Identity,
        Payload,
        Section,
        SectionHead, //
    },
    iova::IovaRange, //
};

/// How much of the device's state is left to save, without the image's own framing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Amount {
    /// Payload bytes.
    pub bytes: u64,
    /// Sections that carry them.
    pub sections: u64,
}

/// What is left to save, by when it can go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Remaining {
    /// What can go now, while the device runs.
    pub running: Amount,
    /// The part that can go while the device runs, but not now: the device is at work on it.
    ///
    /// [`Device::save`] returns `None` when nothing but this is left. It becomes `running` without
    /// anyone being told.
    pub later: Amount,
    /// What can go only once the device is stopped.
    pub stopped: Amount,
}

/// Whether the device runs while a section is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Pre-copy: the guest uses the device meanwhile.
    Running,
    /// Stop-and-copy: the device is quiesced.
    Stopped,
}

/// Width of a register access in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    B1 = 1,
    /// Two bytes.
    B2 = 2,
    /// Four bytes.
    B4 = 4,
    /// Eight bytes.
    B8 = 8,
}

/// Where a naturally aligned register access goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Access {
    /// Number of the base address register.
    pub bar: u8,
    /// Byte offset within the BAR, a multiple of the width.
    pub offset: u64,
    /// Width of the access.
    pub width: Width,
}

/// A device whose state can be saved and loaded.
///
/// The implementation keeps what must survive between calls (shadows of registers that cannot be
/// read back, what was sent already) and never learns which migration protocol runs. Each method is
/// called with the device's state lock held, so one at a time.
///
/// An operation that fails leaves the device as it was, or, where that cannot be, makes
/// [`Device::lost`] return true; the engine then enters the error state.
pub trait Device {
    /// What the surroundings give the device to work with: in the kernel the PCI function.
    type Host: ?Sized;

    /// Returns what an image of this device carries in its header.
    ///
    /// A load is refused where the image's identity is not compatible with it.
    fn identity(&self) -> Identity;

    /// A user opens the device: what made it lost to the last user may be over. A reset follows.
    ///
    /// An error fails the open.
    fn open(&mut self, host: &Self::Host) -> Result {
        let _ = host;
        Ok(())
    }

    /// Stops the device: when this returns it starts no DMA and raises no interrupt.
    ///
    /// Waits for work under way, for a bounded time: `ETIMEDOUT` when it does not end, `ERESTARTSYS` on a
    /// signal. On an error the device still runs.
    fn quiesce(&mut self, host: &Self::Host) -> Result;

    /// Lets a stopped device run again, pending interrupts raised.
    fn resume(&mut self, host: &Self::Host) -> Result;

    /// Makes the device like a fresh one, whatever it did before, and leaves it running.
    ///
    /// Forgets everything that the implementation knows of a save or a load under way.
    fn reset(&mut self, host: &Self::Host) -> Result;

    /// Returns whether the device can no longer be used except, perhaps, after a reset.
    fn lost(&self) -> bool {
        false
    }

    /// Returns about how much state there is in all. Has no side effects.
    fn size(&self, host: &Self::Host) -> Amount;

    /// Begins a save: all of the state is to be sent.
    fn save_begin(&mut self, host: &Self::Host) -> Result;

    /// Returns what is left to save. Has no side effects, and does not wait.
    ///
    /// An error that [`Device::save`] would meet does not make it less.
    fn remaining(&self, host: &Self::Host) -> Remaining;

    /// Writes the next section's payload into the empty `payload` and returns its head.
    ///
    /// `None` means nothing now ([`Phase::Running`]) or nothing more ([`Phase::Stopped`]).
    fn save(
        &mut self,
        host: &Self::Host,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>>;

    /// Begins a load on the stopped device, which was reset just before.
    fn load_begin(&mut self, host: &Self::Host) -> Result;

    /// Takes one section whose checksum was verified.
    ///
    /// Memory may be applied to the device at once, registers are to be kept until
    /// [`Device::load_end`]. `EINVAL` for content that the device cannot have, `EOPNOTSUPP` for a
    /// section type that it does not know (the engine then skips an optional one). `EINTR` or
    /// `ERESTARTSYS` for a signal: the section will come again, and is to be taken then as if it
    /// had never come. A device that cannot promise that returns another error.
    fn load(&mut self, host: &Self::Host, section: &Section<'_>) -> Result;

    /// The image is complete and verified: applies it, the device stays stopped.
    ///
    /// What needs the guest's interrupts or bus mastering waits for [`Device::resume`]. `EINTR` or
    /// `ERESTARTSYS` for a signal, as with [`Device::load`].
    fn load_end(&mut self, host: &Self::Host) -> Result;

    /// Reports each range of guest memory that the device may still write without a new command.
    ///
    /// Called before a dirty query clears what it reports, so that a transfer under way is
    /// reported again after it has landed.
    fn in_flight(&mut self, host: &Self::Host, report: &mut dyn FnMut(IovaRange)) -> Result {
        let _ = (host, report);
        Ok(())
    }

    /// The guest reads a trapped register.
    fn read(&mut self, host: &Self::Host, access: Access) -> Result<u64>;

    /// The guest writes a trapped register of the running device.
    ///
    /// What the write makes the device write into guest memory goes into `log` before the device
    /// is told. `EINVAL` for a command that must not reach the device.
    fn write(
        &mut self,
        host: &Self::Host,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result;
}
