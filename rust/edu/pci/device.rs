// SPDX-License-Identifier: GPL-2.0-only

//! The edu as a device that can be migrated.

mod guest;

use kernel::{
    io::Io,
    prelude::*, //
};
use migration::{
    checklist::Checklist,
    device::{
        Access,
        Amount,
        Device,
        Phase,
        Remaining, //
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
    dev_err_ratelimited,
    pci::{
        CoreDevice,
        PassError, //
    },
    wait::Signals, //
};

use super::{
    buffer::InternalBuffer,
    hardware, //
};
use crate::{
    config::Config,
    image::{
        self,
        RegisterState, //
    },
    registers::*,
    transfer::{
        DmaRegisters,
        Transfer, //
    }, //
};

/// State of one edu device: what cannot be read back from the hardware.
pub(crate) struct EduDevice {
    config: Config,
    identity: Identity,
    buffer: InternalBuffer,
    /// The sections that are in the image that is being saved.
    saved: Checklist,
    /// The sections that were taken from the image that is being loaded.
    loaded: Checklist,
    /// The registers that were loaded, until the image has ended.
    loaded_registers: RegisterState,
    /// The DMA registers as the guest sees them. The driver uses those of the hardware for itself.
    dma: DmaRegisters,
    /// The guest's last transfer, until the driver sees that it is done.
    transfer: Option<Transfer>,
    /// Operand of the guest's last factorial.
    operand: u32,
    /// The guest's last factorial may still raise its interrupt.
    interrupt_due: bool,
    /// Loaded interrupts that wait for the device to run.
    interrupts: INTERRUPT_STATUS,
    /// The device was cut off from memory, see [`PassError::Lost`].
    lost: bool,
}

impl EduDevice {
    /// Creates the state of a device of which nothing is known.
    pub(crate) fn new(core: &CoreDevice, config: Config) -> Result<Self> {
        Ok(Self {
            config,
            identity: core.identity(image::STATE_MAJOR, image::STATE_MINOR),
            buffer: InternalBuffer::new()?,
            saved: Checklist::new(image::SECTIONS),
            loaded: Checklist::new(image::SECTIONS),
            loaded_registers: RegisterState::RESET,
            dma: RegisterState::RESET.dma,
            transfer: None,
            operand: RegisterState::RESET.operand,
            interrupt_due: false,
            interrupts: INTERRUPT_STATUS::zeroed(),
            lost: false,
        })
    }

    /// Waits until the device has nothing to do.
    fn wait_idle(&mut self, core: &CoreDevice, signals: Signals) -> Result {
        hardware::wait_idle(core, signals, self.config.timeout)?;
        match self.end_transfer(core) {
            // The user may be dead, and the memory gone. The device must be ready for the next user
            // all the same.
            Err(_) if signals == Signals::Ignore => self.transfer = None,
            result => result?,
        }
        if self.interrupt_due {
            hardware::wait_factorial_interrupt(core)?;
            self.interrupt_due = false;
        }
        Ok(())
    }

    /// Notes that the guest's transfer, if there was one, is done.
    fn end_transfer(&mut self, core: &CoreDevice) -> Result {
        if let Some(Transfer::ToMemory(range)) = self.transfer {
            core.mark_written(range)?;
        }
        self.transfer = None;
        Ok(())
    }

    /// Returns whether the guest's transfer still runs.
    #[inline]
    fn is_transferring(&mut self, core: &CoreDevice) -> Result<bool> {
        if self.transfer.is_none() {
            return Ok(false);
        }
        let runs = hardware::is_transferring(&core.registers(BAR)?)?;
        if !runs {
            self.end_transfer(core)?;
        }
        Ok(runs)
    }

    /// Returns the result of a pass, and notes if the device was lost.
    fn passed<R>(lost: &mut bool, core: &CoreDevice, result: Result<R, PassError>) -> Result<R> {
        result.map_err(|error| {
            if let PassError::Lost(error) = &error {
                *lost = true;
                dev_err_ratelimited!(
                    core,
                    "cut off from memory, a transfer of the driver's failed: {:?}\n",
                    error
                );
            }
            error.into()
        })
    }

    /// Fills the internal buffer of the idle device.
    fn write_buffer(&mut self, core: &CoreDevice, content: &[u8; BUFFER_SIZE]) -> Result {
        let result = self.buffer.write(core, content);
        Self::passed(&mut self.lost, core, result)
    }

    /// Saves the internal buffer of the idle device.
    fn save_buffer(&mut self, core: &CoreDevice, payload: &mut Payload) -> Result<SectionHead> {
        let result = self.buffer.read(core);
        payload.put_slice(Self::passed(&mut self.lost, core, result)?)?;
        Ok(self.saved.put(image::BUFFER))
    }

    /// Saves the registers of the stopped device.
    fn save_registers(&mut self, core: &CoreDevice, payload: &mut Payload) -> Result<SectionHead> {
        let mut state = hardware::read(&core.registers(BAR)?)?;
        state.operand = self.operand;
        state.dma = self.dma;
        state.interrupts = state.interrupts.raised(self.interrupts);
        state.write(payload)?;
        Ok(self.saved.put(image::REGISTERS))
    }
}

impl Device for EduDevice {
    type Host = CoreDevice;

    fn identity(&self) -> Identity {
        self.identity
    }

    fn open(&mut self, _core: &CoreDevice) -> Result {
        // If the device is still cut off from memory, the reset that follows finds that.
        self.lost = false;
        Ok(())
    }

    fn quiesce(&mut self, core: &CoreDevice) -> Result {
        self.wait_idle(core, Signals::Interrupt)
    }

    fn resume(&mut self, core: &CoreDevice) -> Result {
        if !self.interrupts.is_empty() {
            core.registers(BAR)?
                .try_write_reg(INTERRUPT_RAISE::from(self.interrupts.into_raw()))?;
            self.interrupts = INTERRUPT_STATUS::zeroed();
        }
        Ok(())
    }

    fn reset(&mut self, core: &CoreDevice) -> Result {
        if self.lost {
            return Err(EIO);
        }
        self.loaded.clear();
        self.interrupts = INTERRUPT_STATUS::zeroed();
        self.wait_idle(core, Signals::Ignore)?;
        self.write_buffer(core, &[0; BUFFER_SIZE])?;
        let state = RegisterState::RESET;
        hardware::write(core, &state)?;
        self.dma = state.dma;
        self.operand = state.operand;
        Ok(())
    }

    fn lost(&self) -> bool {
        self.lost
    }

    fn size(&self, _core: &CoreDevice) -> Amount {
        image::SECTIONS.size()
    }

    fn save_begin(&mut self, _core: &CoreDevice) -> Result {
        self.saved.clear();
        Ok(())
    }

    fn remaining(&self, core: &CoreDevice) -> Remaining {
        // `save` meets the same error, and reports it.
        let runs = || hardware::is_transferring(&core.registers(BAR)?);
        let is_saved = self.saved.is_done(image::BUFFER);
        let is_busy = !is_saved && self.transfer.is_some() && runs() == Ok(true);
        self.saved.remaining(image::busy(is_busy))
    }

    fn save(
        &mut self,
        core: &CoreDevice,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        let is_busy = !self.saved.is_done(image::BUFFER) && self.is_transferring(core)?;
        match self.saved.next(phase, image::busy(is_busy)) {
            Some(image::BUFFER) => self.save_buffer(core, payload).map(Some),
            Some(_) => self.save_registers(core, payload).map(Some),
            None => Ok(None),
        }
    }

    fn load_begin(&mut self, _core: &CoreDevice) -> Result {
        self.loaded.clear();
        Ok(())
    }

    fn load(&mut self, core: &CoreDevice, section: &Section<'_>) -> Result {
        self.loaded.check(section)?;
        match section.head.kind {
            image::BUFFER => self.write_buffer(core, image::read_buffer(section)?)?,
            _ => self.loaded_registers = RegisterState::read(section)?,
        }
        self.loaded.take(section);
        Ok(())
    }

    fn load_end(&mut self, core: &CoreDevice) -> Result {
        self.loaded.end()?;
        let state = self.loaded_registers;
        hardware::write(core, &state)?;
        self.dma = state.dma;
        self.operand = state.operand;
        self.interrupts = state.interrupts;
        Ok(())
    }

    fn in_flight(&mut self, core: &CoreDevice, report: &mut dyn FnMut(IovaRange)) -> Result {
        if self.is_transferring(core)? {
            if let Some(Transfer::ToMemory(range)) = self.transfer {
                report(range);
            }
        }
        Ok(())
    }

    fn read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        self.guest_read(core, access)
    }

    fn write(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        self.guest_write(core, log, access, value)
    }
}
