// SPDX-License-Identifier: GPL-2.0-only

//! The edu's transfers, as if the device did not tell when it writes: a transfer to memory is not
//! marked when it is commanded, but found once it is done.
//!
//! The guest uses the hardware's DMA registers. Registers of the driver's own, which an edu does
//! not have, read the user's memory:
//!
//! | offset | register | |
//! |---|---|---|
//! | 0x100 | address | what to read |
//! | 0x108 | length | bytes to read |
//! | 0x110 | value | a read of it reads 8 bytes of memory, little-endian |
//! | 0x118 | sum | a read of it reads `length` bytes, and returns their sum |
//! | 0x120 | held | as `value`, while the driver has the device's registers |

use kernel::{
    io::Io,
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
    iova::IovaRange, //
};
use vfio::{
    pci::CoreDevice,
    wait::{
        self,
        Signals, //
    }, //
};

/// The only BAR.
pub(crate) const BAR: u8 = 0;

/// The only section, 4 bytes that mean nothing.
const SECTION: u16 = 1;

/// Bytes of the section.
const SECTION_SIZE: u64 = 4;

/// The most bytes that the register `sum` asks for: more than a driver may.
const MOST: usize = 128 << 10;

/// Registers of the edu.
const DMA_DESTINATION: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;

/// Bits of the DMA command.
const RUN: u64 = 1;
const TO_MEMORY: u64 = 2;

/// Registers of the driver.
const ADDRESS: u64 = 0x100;
const LENGTH: u64 = 0x108;
const VALUE: u64 = 0x110;
const SUM: u64 = 0x118;
const HELD: u64 = 0x120;

/// What the driver knows of one device.
pub(crate) struct Found {
    identity: Identity,
    /// The section is in the image that is being saved.
    saved: bool,
    /// What the last transfer to memory writes, until that was found.
    written: Option<IovaRange>,
    /// The registers `address` and `length`.
    address: u64,
    length: u64,
}

impl Found {
    /// Creates the state of a device of which nothing is known.
    pub(crate) fn new(core: &CoreDevice) -> Self {
        Self {
            identity: core.identity(0, 2),
            saved: false,
            written: None,
            address: 0,
            length: 0,
        }
    }

    /// Reads a DMA register of the hardware.
    fn dma(core: &CoreDevice, offset: u64) -> Result<u64> {
        let registers = core.registers(BAR)?;
        (&registers).try_read64(usize::try_from(offset)?)
    }

    /// Returns whether a transfer runs.
    fn is_busy(core: &CoreDevice) -> Result<bool> {
        Ok(Self::dma(core, DMA_COMMAND)? & RUN != 0)
    }

    /// Waits until no transfer runs.
    fn wait(core: &CoreDevice, signals: Signals) -> Result {
        let (interval, timeout) = (Delta::from_millis(1), Delta::from_secs(10));
        wait::until(signals, interval, timeout, || {
            Self::is_busy(core).map(|is_busy| !is_busy)
        })
    }

    /// The guest starts a transfer.
    fn start(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        command: u64,
    ) -> Result {
        if command & RUN == 0 || Self::is_busy(core)? {
            return Ok(());
        }
        // The last one is done; what it has written would be forgotten.
        self.find_written(core, log)?;
        if command & TO_MEMORY != 0 {
            let (start, len) = (
                Self::dma(core, DMA_DESTINATION)?,
                Self::dma(core, DMA_COUNT)?,
            );
            self.written = Some(IovaRange::new(start, len)?);
        }
        core.guest_write(access, command)
    }

    /// Reads the user's memory and returns the sum of the bytes.
    fn sum(&self, core: &CoreDevice) -> Result<u64> {
        let length = usize::try_from(self.length)?;
        if length > MOST {
            return Err(ENOSPC);
        }
        let mut bytes = KVVec::from_elem(0u8, length, GFP_KERNEL)?;
        core.read_memory(self.address, &mut bytes)?;
        Ok(bytes.iter().map(|byte| u64::from(*byte)).sum())
    }

    /// Reads 8 bytes of the user's memory.
    fn value(&self, core: &CoreDevice) -> Result<u64> {
        let mut bytes = [0; 8];
        core.read_memory(self.address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl Device for Found {
    type Host = CoreDevice;

    const DIRTY_TRACKING: DirtyTracking = DirtyTracking::Found;

    fn identity(&self) -> Identity {
        self.identity
    }

    fn quiesce(&mut self, core: &CoreDevice) -> Result {
        Self::wait(core, Signals::Interrupt)
    }

    fn resume(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn reset(&mut self, core: &CoreDevice) -> Result {
        Self::wait(core, Signals::Ignore)?;
        (self.saved, self.written) = (false, None);
        (self.address, self.length) = (0, 0);
        Ok(())
    }

    fn size(&self, _core: &CoreDevice) -> Amount {
        Amount {
            bytes: SECTION_SIZE,
            sections: 1,
        }
    }

    fn save_begin(&mut self, core: &CoreDevice) -> Result {
        core.check_memory()?;
        self.saved = false;
        Ok(())
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
        _core: &CoreDevice,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        if phase == Phase::Running || self.saved {
            return Ok(None);
        }
        payload.put_u32(0)?;
        self.saved = true;
        Ok(Some(SectionHead::mandatory(SECTION, 0)))
    }

    fn load_begin(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn load(&mut self, _core: &CoreDevice, section: &Section<'_>) -> Result {
        match section.head.kind {
            SECTION => Ok(()),
            _ => Err(EOPNOTSUPP),
        }
    }

    fn load_end(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn find_written(&mut self, core: &CoreDevice, log: &mut DirtyLog) -> Result {
        if self.written.is_some() && !Self::is_busy(core)? {
            if let Some(range) = self.written.take() {
                log.mark(range);
            }
        }
        Ok(())
    }

    fn read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        if access.width != Width::B8 {
            return core.guest_read(access);
        }
        match access.offset {
            ADDRESS => Ok(self.address),
            LENGTH => Ok(self.length),
            VALUE => self.value(core),
            SUM => self.sum(core),
            HELD => {
                let _registers = core.registers(BAR)?;
                self.value(core)
            }
            _ => core.guest_read(access),
        }
    }

    fn write(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        if access.width != Width::B8 {
            return core.guest_write(access, value);
        }
        match access.offset {
            ADDRESS => self.address = value,
            LENGTH => self.length = value,
            DMA_COMMAND => return self.start(core, log, access, value),
            _ => return core.guest_write(access, value),
        }
        Ok(())
    }
}
