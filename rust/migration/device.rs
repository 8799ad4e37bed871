// SPDX-License-Identifier: GPL-2.0-only

//! What a device must offer to be migrated.

use core::fmt;

use kernel::prelude::*;

use crate::{
    container::Container,
    dirty::DirtyLog,
    image::{
        Identity,
        Payload,
        Section,
        SectionHead, //
    },
    iova::IovaRange,
    state::States, //
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
    /// State that can go now, while the device runs.
    pub running: Amount,
    /// State that can go while the device runs, but not now: the device is at work on it.
    ///
    /// [`Device::save`] returns `None` if nothing else is left. The amount moves to `running` when
    /// the device has finished, which it does not tell.
    pub later: Amount,
    /// State that can go only once the device is stopped.
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

/// What the driver knows of the guest memory that the device writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DirtyTracking {
    /// Nothing: all memory counts as dirty, whatever [`Device::write`] marks.
    None,
    /// Each page, before the device writes it: [`Device::write`] marks it.
    Marked,
    /// Each page, after the device has written it, while the device is told to track:
    /// [`Device::find_written`] marks it.
    ///
    /// Without tracking the user's container has to take all memory for dirty. It is not told of
    /// any page before the first pre-copy; from then on the device tracks until it is closed.
    Found,
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
/// The implementation keeps what must survive between calls, such as shadows of registers that
/// cannot be read back and what was sent already. It never learns which migration protocol runs.
/// The caller holds the device's state lock, so one method runs at a time.
///
/// An operation that fails leaves the device as it was. If it cannot, it makes [`Device::lost`]
/// return true, and the engine enters the error state.
pub trait Device {
    /// What the device works with: in the kernel the PCI function.
    type Host: Container + ?Sized;

    /// The optional states of the device; all by default.
    ///
    /// A device without pre-copy is not asked to save while it runs: [`Device::save_begin`] finds
    /// it stopped.
    const STATES: States = States::ALL;

    /// What the driver knows of the guest memory that the device writes; by default each page,
    /// before the device writes it.
    const DIRTY_TRACKING: DirtyTracking = DirtyTracking::Marked;

    /// Whether [`Device::show`] shows anything.
    const SHOWS: bool = false;

    /// Returns what an image of this device carries in its header.
    ///
    /// A load is refused if the image's identity is not compatible with it.
    fn identity(&self) -> Identity;

    /// Prepares the device for a user who opens it. A reset follows.
    ///
    /// A device that was lost to the last user may be usable again. An error fails the open.
    fn open(&mut self, host: &Self::Host) -> Result {
        let _ = host;
        Ok(())
    }

    /// Stops the device: when this returns it starts no DMA and raises no interrupt.
    ///
    /// Waits for work under way, for a bounded time: `ETIMEDOUT` if the work does not end,
    /// `ERESTARTSYS` on a signal. On an error the device still runs.
    fn quiesce(&mut self, host: &Self::Host) -> Result;

    /// Lets a stopped device run again, and raises pending interrupts.
    fn resume(&mut self, host: &Self::Host) -> Result;

    /// Makes the device like a fresh one, whatever it did before, and leaves it running.
    ///
    /// The implementation forgets all that it knows of a save or a load under way. Tracking ends,
    /// even if the reset fails; [`Device::track_end`] is not called.
    fn reset(&mut self, host: &Self::Host) -> Result;

    /// Returns whether the device can no longer be used except, perhaps, after a reset.
    fn lost(&self) -> bool {
        false
    }

    /// Returns about how much state the device has in all. Has no side effects.
    fn size(&self, host: &Self::Host) -> Amount;

    /// Begins a save of the whole state.
    fn save_begin(&mut self, host: &Self::Host) -> Result;

    /// Returns what is left to save. Has no side effects, and does not wait.
    ///
    /// State counts even if [`Device::save`] would fail to read it.
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
    /// The implementation may apply memory to the device at once, and keeps registers until
    /// [`Device::load_end`]. `EINVAL` for content that the device cannot have, `EOPNOTSUPP` for an
    /// unknown section type (the engine then skips an optional section). `EINTR` or `ERESTARTSYS`
    /// for a signal: the section comes again, and the implementation takes it as if for the first
    /// time. A device that cannot do that returns another error.
    fn load(&mut self, host: &Self::Host, section: &Section<'_>) -> Result;

    /// Applies the image, which is complete and verified; the device stays stopped.
    ///
    /// Work that needs the guest's interrupts or bus mastering waits for [`Device::resume`].
    /// `EINTR` or `ERESTARTSYS` for a signal, as with [`Device::load`].
    fn load_end(&mut self, host: &Self::Host) -> Result;

    /// Begins tracking: what the device writes from now on will be asked for.
    ///
    /// The device may be at work on buffers that it was given before. An error fails what asked for
    /// the tracking: the start of a log, or a pre-copy. Then the device does not track.
    fn track_begin(&mut self, host: &Self::Host, log: &mut DirtyLog) -> Result {
        let _ = (host, log);
        Ok(())
    }

    /// Ends tracking: nobody asks any more.
    fn track_end(&mut self, host: &Self::Host) {
        let _ = host;
    }

    /// Marks in `log` what the device has written since it was last asked, or since tracking began.
    ///
    /// Called while the device tracks: at each dirty query; now and then; after each
    /// [`Device::quiesce`], with the device stopped; and before a reset. A buffer that was posted
    /// and that the device has not finished is not marked: it comes up once it is finished, or when
    /// the device was stopped. If others have reset the device, each buffer that it had may have
    /// been written. An error fails the query or the stop, and is taken to mean that the next call
    /// finds what this one has not.
    fn find_written(&mut self, host: &Self::Host, log: &mut DirtyLog) -> Result {
        let _ = (host, log);
        Ok(())
    }

    /// Reports each range of guest memory that the device may still write without a new command.
    ///
    /// A dirty query calls this before it clears what it reports, so that a transfer under way is
    /// reported again after it has landed. For transfers that were marked when they were commanded;
    /// buffers that [`Device::find_written`] will find are not reported here.
    fn in_flight(&mut self, host: &Self::Host, report: &mut dyn FnMut(IovaRange)) -> Result {
        let _ = (host, report);
        Ok(())
    }

    /// Writes what is known of the device, in lines, for a person who looks for a fault.
    ///
    /// Has no effect on the device. Nobody may have it open.
    fn show(&self, host: &Self::Host, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = (host, to);
        Ok(())
    }

    /// Reads a trapped register for the guest.
    fn read(&mut self, host: &Self::Host, access: Access) -> Result<u64>;

    /// Writes a trapped register of the running device for the guest.
    ///
    /// If the write makes the device write guest memory, the implementation marks that memory in
    /// `log` before it tells the device. `EINVAL` for a command that must not reach the device.
    fn write(
        &mut self,
        host: &Self::Host,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result;
}
