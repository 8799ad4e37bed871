// SPDX-License-Identifier: GPL-2.0-only

//! The edu as a device that can be migrated: one register.

use kernel::{
    io::{
        register::Register,
        Io, //
    },
    prelude::*, //
};
use migration::{
    checklist::{
        Checklist,
        Item,
        Sections, //
    },
    device::{
        Access,
        Amount,
        Device,
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
    }, //
};
use vfio::pci::CoreDevice;

use crate::registers::{
    BAR,
    IDENTIFICATION,
    LIVENESS, //
};

/// Section type of the registers. The payload is [`LIVENESS`] as it reads, a little-endian u32.
const REGISTERS: u16 = 1;

/// The sections of an image: 4 bytes, saved once the device is stopped.
const SECTIONS: Sections = Sections::new(&[Item::stopped(REGISTERS, 4)]);

/// What the driver knows of one device and cannot read from it.
pub(crate) struct Sample {
    identity: Identity,
    /// The sections that are in the image that is being saved.
    saved: Checklist,
    /// The sections that were taken from the image that is being loaded.
    loaded: Checklist,
    /// The register that was loaded, until the whole image is there.
    liveness: LIVENESS,
}

impl Sample {
    /// Creates the state of a device of which nothing is known.
    pub(crate) fn new(core: &CoreDevice) -> Self {
        Self {
            // Not the version of `rust/edu`, whose images have other sections.
            identity: core.identity(0, 1),
            saved: Checklist::new(SECTIONS),
            loaded: Checklist::new(SECTIONS),
            liveness: LIVENESS::from_raw(0),
        }
    }

    /// Makes the register read as `value`; `EIO` if it does not.
    fn restore(core: &CoreDevice, value: LIVENESS) -> Result {
        let registers = core.registers(BAR)?;
        registers.try_write_reg(value.to_write())?;
        if registers.try_read(LIVENESS)? != value {
            return Err(EIO);
        }
        Ok(())
    }
}

impl Device for Sample {
    type Host = CoreDevice;

    fn identity(&self) -> Identity {
        self.identity
    }

    // Stopping, running and resetting.

    fn quiesce(&mut self, _core: &CoreDevice) -> Result {
        // The guest can start nothing that would have to end.
        Ok(())
    }

    fn resume(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn reset(&mut self, core: &CoreDevice) -> Result {
        self.saved.clear();
        self.loaded.clear();
        Self::restore(core, LIVENESS::from_raw(0))
    }

    // Saving.

    fn size(&self, _core: &CoreDevice) -> Amount {
        SECTIONS.size()
    }

    fn save_begin(&mut self, _core: &CoreDevice) -> Result {
        self.saved.clear();
        Ok(())
    }

    fn remaining(&self, _core: &CoreDevice) -> Remaining {
        self.saved.remaining(&[])
    }

    fn save(
        &mut self,
        core: &CoreDevice,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        let Some(kind) = self.saved.next(phase, &[]) else {
            return Ok(None);
        };
        let value = core.registers(BAR)?.try_read(LIVENESS)?;
        payload.put_u32(value.into_raw())?;
        Ok(Some(self.saved.put(kind)))
    }

    // Loading.

    fn load_begin(&mut self, _core: &CoreDevice) -> Result {
        self.loaded.clear();
        Ok(())
    }

    fn load(&mut self, _core: &CoreDevice, section: &Section<'_>) -> Result {
        self.loaded.check(section)?;
        let mut fields = section.fields();
        self.liveness = LIVENESS::from_raw(fields.take_u32()?);
        fields.finish()?;
        self.loaded.take(section);
        Ok(())
    }

    fn load_end(&mut self, core: &CoreDevice) -> Result {
        self.loaded.end()?;
        Self::restore(core, self.liveness)
    }

    // The guest.

    fn read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        match (usize::try_from(access.offset)?, access.width) {
            (IDENTIFICATION::OFFSET | LIVENESS::OFFSET, Width::B4) => core.guest_read(access),
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
        match (usize::try_from(access.offset)?, access.width) {
            (LIVENESS::OFFSET, Width::B4) => core.guest_write(access, value),
            _ => core.check_decoding(),
        }
    }
}
