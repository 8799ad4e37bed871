// SPDX-License-Identifier: GPL-2.0-only

//! The edu as a device that can be migrated.

mod guest;

use kernel::prelude::*;
use migration::{
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
    pci::{
        CoreDevice,
        PassError, //
    },
    wait::Signals, //
};

use crate::{
    buffer::InternalBuffer,
    config::Config,
    hardware,
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
    /// The buffer in its present state is in the image that is being saved.
    buffer_saved: bool,
    /// The registers are in the image that is being saved.
    registers_saved: bool,
    /// The DMA registers as the guest sees them; the hardware's are the driver's.
    dma: DmaRegisters,
    /// The guest's last transfer, until it is seen to be done.
    transfer: Option<Transfer>,
    /// Operand of the guest's last factorial.
    operand: u32,
    /// The guest's last factorial may still raise its interrupt.
    interrupt_due: bool,
    /// Registers that were loaded and wait for the rest of the image.
    loaded: Option<RegisterState>,
    /// The image that is being loaded had a buffer.
    buffer_loaded: bool,
    /// Loaded interrupts that wait for the device to run.
    interrupts: u32,
    /// The device was cut off from memory, see [`PassError::Lost`].
    lost: bool,
}

impl EduDevice {
    /// Creates the state of a device of which nothing is known.
    pub(crate) fn new(core: &CoreDevice, config: Config) -> Result<Self> {
        let (vendor, device, subsystem_vendor, subsystem_device) = core.ids();
        Ok(Self {
            config,
            identity: Identity {
                vendor,
                device,
                subsystem_vendor,
                subsystem_device,
                revision: core.revision(),
                state_major: image::STATE_MAJOR,
                state_minor: image::STATE_MINOR,
            },
            buffer: InternalBuffer::new()?,
            buffer_saved: false,
            registers_saved: false,
            dma: DmaRegisters::default(),
            transfer: None,
            operand: FACTORIAL_ZERO,
            interrupt_due: false,
            loaded: None,
            buffer_loaded: false,
            interrupts: 0,
            lost: false,
        })
    }

    /// Waits until the device has nothing to do.
    fn wait_idle(&mut self, core: &CoreDevice, signals: Signals) -> Result {
        hardware::wait_idle(core, signals, self.config.timeout)?;
        match self.end_transfer(core) {
            // The user may be dead, and the memory gone: no reason to keep the next one's device
            // as it is.
            Err(_) if signals == Signals::Ignore => self.transfer = None,
            result => result?,
        }
        if self.interrupt_due {
            hardware::wait_factorial_interrupt(core)?;
            self.interrupt_due = false;
        }
        Ok(())
    }

    /// The guest's transfer, if there was one, is done.
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

    /// Takes the result of a pass: a device that is lost stays so.
    fn passed<R>(lost: &mut bool, core: &CoreDevice, result: Result<R, PassError>) -> Result<R> {
        result.map_err(|error| {
            if let PassError::Lost(error) = &error {
                *lost = true;
                dev_err!(
                    core.as_ref(),
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
        self.buffer_saved = true;
        Ok(SectionHead::mandatory(image::BUFFER, 0))
    }

    /// Saves the registers of the stopped device.
    fn save_registers(&mut self, core: &CoreDevice, payload: &mut Payload) -> Result<SectionHead> {
        let mut state = hardware::read(&core.registers(BAR)?)?;
        state.operand = self.operand;
        state.dma = self.dma;
        state.interrupts |= self.interrupts;
        state.write(payload)?;
        self.registers_saved = true;
        Ok(SectionHead::mandatory(image::REGISTERS, 0))
    }
}

impl Device for EduDevice {
    type Host = CoreDevice;

    fn identity(&self) -> Identity {
        self.identity
    }

    fn open(&mut self, _core: &CoreDevice) -> Result {
        // Where it still is, the reset that follows finds the device cut off from memory.
        self.lost = false;
        Ok(())
    }

    fn quiesce(&mut self, core: &CoreDevice) -> Result {
        self.wait_idle(core, Signals::Interrupt)
    }

    fn resume(&mut self, core: &CoreDevice) -> Result {
        if self.interrupts != 0 {
            core.registers(BAR)?
                .write32(INTERRUPT_RAISE, self.interrupts)?;
            self.interrupts = 0;
        }
        Ok(())
    }

    fn reset(&mut self, core: &CoreDevice) -> Result {
        if self.lost {
            return Err(EIO);
        }
        self.loaded = None;
        self.interrupts = 0;
        self.wait_idle(core, Signals::Ignore)?;
        self.write_buffer(core, &[0; BUFFER_SIZE])?;
        let state = RegisterState {
            operand: FACTORIAL_ZERO,
            ..RegisterState::default()
        };
        hardware::write(core, &state)?;
        self.dma = state.dma;
        self.operand = state.operand;
        Ok(())
    }

    fn lost(&self) -> bool {
        self.lost
    }

    fn size(&self, _core: &CoreDevice) -> Amount {
        Amount {
            // CAST: A small constant.
            bytes: BUFFER_SIZE as u64 + RegisterState::SIZE,
            sections: 2,
        }
    }

    fn save_begin(&mut self, _core: &CoreDevice) -> Result {
        self.buffer_saved = false;
        self.registers_saved = false;
        Ok(())
    }

    fn remaining(&self, _core: &CoreDevice) -> Remaining {
        let once = |bytes, saved: bool| {
            let count = u64::from(!saved);
            Amount {
                // No overflow: `count` is 0 or 1.
                bytes: bytes * count,
                sections: count,
            }
        };
        Remaining {
            // CAST: A small constant.
            running: once(BUFFER_SIZE as u64, self.buffer_saved),
            stopped: once(RegisterState::SIZE, self.registers_saved),
        }
    }

    fn save(
        &mut self,
        core: &CoreDevice,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        if !self.buffer_saved && !self.is_transferring(core)? {
            return self.save_buffer(core, payload).map(Some);
        }
        if phase == Phase::Stopped && !self.registers_saved {
            return self.save_registers(core, payload).map(Some);
        }
        Ok(None)
    }

    fn load_begin(&mut self, _core: &CoreDevice) -> Result {
        self.loaded = None;
        self.buffer_loaded = false;
        Ok(())
    }

    fn load(&mut self, core: &CoreDevice, section: &Section<'_>) -> Result {
        let kind = section.head.kind;
        let is_known = matches!(kind, image::REGISTERS | image::BUFFER);
        if is_known && (section.head.offset != 0 || self.loaded.is_some()) {
            return Err(EINVAL);
        }
        match kind {
            image::REGISTERS => {
                self.loaded = Some(RegisterState::read(section)?);
                Ok(())
            }
            image::BUFFER => {
                let content = section.payload.try_into().map_err(|_| EINVAL)?;
                self.write_buffer(core, content)?;
                self.buffer_loaded = true;
                Ok(())
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    fn load_end(&mut self, core: &CoreDevice) -> Result {
        let state = self
            .loaded
            .take()
            .filter(|_| self.buffer_loaded)
            .ok_or(EINVAL)?;
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
