// SPDX-License-Identifier: GPL-2.0-only

//! QEMU's NVMe controller as a device that lacks what is optional, for `test_offers.py`.
//!
//! It has neither pre-copy nor P2P. It does not know what the controller writes. The registers of
//! the admin queue survive a function-level reset, so its reset scrubs them.
//!
//! Limitations: a stop disables the controller. When it runs again, its queues begin anew, which a
//! real guest would not survive.

use kernel::{
    io::{
        register,
        Io, //
    },
    prelude::*,
    time::Delta, //
};
use migration::{
    device::{
        Access,
        Amount,
        Device,
        DirtyTracking,
        Phase,
        Remaining,
        Width, //
    },
    dirty::DirtyLog,
    image::{
        Identity,
        Payload,
        Section,
        SectionHead, //
    },
    state::States, //
};
use vfio::{
    pci::{
        CoreDevice,
        Registers, //
    },
    wait::{
        self,
        Signals, //
    }, //
};

/// The BAR that holds the registers.
pub(crate) const BAR: u8 = 0;

register! {
    /// Controller configuration.
    CONFIGURATION(u32) @ 0x14 {
        0:0 enable => bool;
    }

    /// Controller status.
    STATUS(u32) @ 0x1c {
        0:0 ready => bool;
    }

    /// Sizes of the admin queues.
    QUEUE_SIZES(u32) @ 0x24 {}

    /// Address of the admin submission queue.
    SUBMISSION(u64) @ 0x28 {}

    /// Address of the admin completion queue.
    COMPLETION(u64) @ 0x30 {}
}

/// The controller's registers end here.
const REGISTERS_END: u64 = 0x40;

/// The admin queue's doorbells.
const DOORBELLS: core::ops::Range<u64> = 0x1000..0x1008;

/// Where the test reads how often [`Device::reset`] was called, and how often of these after a
/// reset of the function. The controller has no registers there.
const RESETS: u64 = 0xf00;
const FUNCTION_RESETS: u64 = 0xf04;

/// Section type of the registers.
const REGISTERS: u16 = 1;

/// Bytes of the registers section.
const REGISTERS_SIZE: u64 = 24;

/// The longest wait for the controller to stop.
const TIMEOUT: Delta = Delta::from_secs(5);

/// What a guest has set.
#[derive(Clone, Copy)]
struct Guest {
    configuration: CONFIGURATION,
    sizes: QUEUE_SIZES,
    submission: SUBMISSION,
    completion: COMPLETION,
}

/// A controller.
pub(crate) struct Nvme {
    identity: Identity,
    resets: u32,
    function_resets: u32,
    /// The guest's configuration while the controller is stopped.
    stopped: Option<CONFIGURATION>,
    saved: bool,
    loaded: Option<Guest>,
}

impl Nvme {
    /// Creates the state of a controller of which nothing is known.
    pub(crate) fn new(core: &CoreDevice) -> Self {
        Self {
            identity: core.identity(0, 1),
            resets: 0,
            function_resets: 0,
            stopped: None,
            saved: false,
            loaded: None,
        }
    }

    /// Disables the controller and waits until it has stopped.
    fn disable(core: &CoreDevice) -> Result<CONFIGURATION> {
        let registers = core.registers(BAR)?;
        let found = registers.try_read(CONFIGURATION)?;
        registers.try_write_reg(CONFIGURATION::from_raw(0))?;
        drop(registers);
        wait::until(Signals::Ignore, Delta::from_millis(1), TIMEOUT, || {
            Ok(!core.registers(BAR)?.try_read(STATUS)?.ready())
        })?;
        Ok(found)
    }

    /// Writes the registers of the admin queue.
    fn restore(registers: &Registers<'_>, guest: Guest) -> Result {
        registers.try_write_reg(guest.sizes)?;
        registers.try_write_reg(guest.submission)?;
        registers.try_write_reg(guest.completion)
    }
}

impl Device for Nvme {
    type Host = CoreDevice;

    const STATES: States = States::LEAST;
    const DIRTY_TRACKING: DirtyTracking = DirtyTracking::None;

    fn identity(&self) -> Identity {
        self.identity
    }

    fn quiesce(&mut self, core: &CoreDevice) -> Result {
        self.stopped = Some(Self::disable(core)?);
        Ok(())
    }

    fn resume(&mut self, core: &CoreDevice) -> Result {
        if let Some(configuration) = self.stopped.take() {
            core.registers(BAR)?.try_write_reg(configuration)?;
        }
        Ok(())
    }

    fn reset(&mut self, core: &CoreDevice) -> Result {
        let was_reset = core.was_function_reset();
        self.resets = self.resets.wrapping_add(1);
        if was_reset {
            self.function_resets = self.function_resets.wrapping_add(1);
        }
        let left = Self::disable(core)?;
        if was_reset && left.enable() {
            // The reset did not reach the controller.
            return Err(EIO);
        }
        let fresh = Guest {
            configuration: CONFIGURATION::from_raw(0),
            sizes: QUEUE_SIZES::from_raw(0),
            submission: SUBMISSION::from_raw(0),
            completion: COMPLETION::from_raw(0),
        };
        Self::restore(&core.registers(BAR)?, fresh)?;
        (self.stopped, self.saved, self.loaded) = (None, false, None);
        Ok(())
    }

    fn size(&self, _core: &CoreDevice) -> Amount {
        Amount {
            bytes: REGISTERS_SIZE,
            sections: 1,
        }
    }

    fn save_begin(&mut self, _core: &CoreDevice) -> Result {
        self.saved = false;
        // A device without pre-copy is stopped by now.
        self.stopped.map(drop).ok_or(EIO)
    }

    fn remaining(&self, core: &CoreDevice) -> Remaining {
        Remaining {
            stopped: match self.saved {
                false => self.size(core),
                true => Amount::default(),
            },
            ..Remaining::default()
        }
    }

    fn save(
        &mut self,
        core: &CoreDevice,
        _phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        if self.saved {
            return Ok(None);
        }
        let configuration = self.stopped.ok_or(EIO)?;
        let registers = core.registers(BAR)?;
        payload.put_u32(configuration.into_raw())?;
        payload.put_u32(registers.try_read(QUEUE_SIZES)?.into_raw())?;
        payload.put_u64(registers.try_read(SUBMISSION)?.into_raw())?;
        payload.put_u64(registers.try_read(COMPLETION)?.into_raw())?;
        self.saved = true;
        Ok(Some(SectionHead::mandatory(REGISTERS, 0)))
    }

    fn load_begin(&mut self, _core: &CoreDevice) -> Result {
        self.loaded = None;
        Ok(())
    }

    fn load(&mut self, _core: &CoreDevice, section: &Section<'_>) -> Result {
        if section.head.kind != REGISTERS {
            return Err(EOPNOTSUPP);
        }
        if section.head.offset != 0 || self.loaded.is_some() {
            return Err(EINVAL);
        }
        let mut fields = section.fields();
        let guest = Guest {
            configuration: CONFIGURATION::from_raw(fields.take_u32()?),
            sizes: QUEUE_SIZES::from_raw(fields.take_u32()?),
            submission: SUBMISSION::from_raw(fields.take_u64()?),
            completion: COMPLETION::from_raw(fields.take_u64()?),
        };
        fields.finish()?;
        self.loaded = Some(guest);
        Ok(())
    }

    fn load_end(&mut self, core: &CoreDevice) -> Result {
        let guest = self.loaded.take().ok_or(EINVAL)?;
        Self::restore(&core.registers(BAR)?, guest)?;
        self.stopped = Some(guest.configuration);
        Ok(())
    }

    fn read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        match (access.offset, access.width) {
            (RESETS, Width::B4) => Ok(self.resets.into()),
            (FUNCTION_RESETS, Width::B4) => Ok(self.function_resets.into()),
            (..REGISTERS_END, Width::B4 | Width::B8) => core.guest_read(access),
            _ => core.check_decoding().map(|()| 0),
        }
    }

    fn write(
        &mut self,
        core: &CoreDevice,
        _log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        match (access.offset, access.width) {
            (..REGISTERS_END, Width::B4 | Width::B8) => core.guest_write(access, value),
            (offset, Width::B4) if DOORBELLS.contains(&offset) => core.guest_write(access, value),
            _ => core.check_decoding(),
        }
    }
}
