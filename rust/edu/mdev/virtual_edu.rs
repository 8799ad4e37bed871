// SPDX-License-Identifier: GPL-2.0-only

//! A virtual edu as a device that can be migrated.
//!
//! Its state is that of a physical one, and so are its images: each can be loaded by the other.

mod guest;

use kernel::{
    prelude::*,
    sync::Arc, //
};
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
    mdev::VirtualDevice,
    wait::Signals, //
};

use super::{
    instances::{
        Instance,
        Instances, //
    },
    slot::{
        CommandRegisters,
        Slot, //
    },
    EduParent, //
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

/// A virtual edu device.
pub(crate) struct VirtualEdu {
    config: Config,
    identity: Identity,
    slot: Arc<Slot>,
    /// The liveness check as it reads.
    ///
    /// This and `dma` only the guest changes, so they need no lock but the one that the device is
    /// used under.
    liveness: u32,
    /// The DMA registers.
    dma: DmaRegisters,
    /// Its place among the virtual devices, until it is removed.
    instance: Option<Instance>,
    /// The buffer in its present state is in the image that is being saved.
    buffer_saved: bool,
    /// The registers are in the image that is being saved.
    registers_saved: bool,
    /// Registers that were loaded and wait for the rest of the image.
    loaded: Option<RegisterState>,
    /// The image that is being loaded had a buffer.
    buffer_loaded: bool,
    /// Loaded interrupts wait for the device to run.
    interrupts_due: bool,
}

impl VirtualEdu {
    /// Creates a virtual device of a type; `ENOSPC` where there is none left.
    pub(crate) fn new(parent: &EduParent, type_: usize, config: Config) -> Result<Self> {
        Ok(Self {
            config,
            identity: parent.identity(),
            slot: Slot::new(&parent.mediator)?,
            liveness: 0,
            dma: DmaRegisters::default(),
            instance: Some(Instances::take(&parent.instances, type_)?),
            buffer_saved: false,
            registers_saved: false,
            loaded: None,
            buffer_loaded: false,
            interrupts_due: false,
        })
    }

    /// The device was removed.
    pub(crate) fn removed(&mut self) {
        self.instance = None;
    }
}

impl Device for VirtualEdu {
    type Host = VirtualDevice;

    fn identity(&self) -> Identity {
        self.identity
    }

    fn quiesce(&mut self, _host: &VirtualDevice) -> Result {
        let state = self
            .slot
            .wait_idle(Signals::Interrupt, self.config.timeout)?;
        if state.failed {
            return Err(EIO);
        }
        Ok(())
    }

    fn resume(&mut self, host: &VirtualDevice) -> Result {
        if core::mem::take(&mut self.interrupts_due) {
            self.slot.lock().raise(host, 0);
        }
        Ok(())
    }

    fn reset(&mut self, host: &VirtualDevice) -> Result {
        self.loaded = None;
        self.interrupts_due = false;
        self.slot.mediator().cancel(&self.slot);
        let mut state = self.slot.wait_idle(Signals::Ignore, self.config.timeout)?;
        self.liveness = 0;
        self.dma = DmaRegisters::default();
        state.registers = CommandRegisters::FRESH;
        state.buffer.fill(0);
        state.content = self.slot.mediator().new_content();
        state.failed = false;
        host.lower_interrupt();
        Ok(())
    }

    fn lost(&self) -> bool {
        self.slot.lock().failed
    }

    fn size(&self, _host: &VirtualDevice) -> Amount {
        Amount {
            // CAST: A small constant.
            bytes: BUFFER_SIZE as u64 + RegisterState::SIZE,
            sections: 2,
        }
    }

    fn save_begin(&mut self, _host: &VirtualDevice) -> Result {
        self.buffer_saved = false;
        self.registers_saved = false;
        Ok(())
    }

    fn remaining(&self, _host: &VirtualDevice) -> Remaining {
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
        _host: &VirtualDevice,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        let state = self.slot.lock();
        if !self.buffer_saved && state.transfer() != Some(Transfer::FromMemory) {
            payload.put_slice(state.buffer.as_slice())?;
            self.buffer_saved = true;
            return Ok(Some(SectionHead::mandatory(image::BUFFER, 0)));
        }
        if phase == Phase::Stopped && !self.registers_saved {
            let registers = state.registers;
            RegisterState {
                status: registers.status,
                liveness: self.liveness,
                operand: registers.operand,
                factorial: registers.factorial,
                interrupts: registers.interrupts,
                dma: self.dma,
            }
            .write(payload)?;
            self.registers_saved = true;
            return Ok(Some(SectionHead::mandatory(image::REGISTERS, 0)));
        }
        Ok(None)
    }

    fn load_begin(&mut self, _host: &VirtualDevice) -> Result {
        self.loaded = None;
        self.buffer_loaded = false;
        Ok(())
    }

    fn load(&mut self, _host: &VirtualDevice, section: &Section<'_>) -> Result {
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
                let content: &[u8; BUFFER_SIZE] = section.payload.try_into().map_err(|_| EINVAL)?;
                let mut state = self.slot.lock();
                state.buffer.copy_from_slice(content);
                state.content = self.slot.mediator().new_content();
                self.buffer_loaded = true;
                Ok(())
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    fn load_end(&mut self, _host: &VirtualDevice) -> Result {
        let registers = self
            .loaded
            .take()
            .filter(|_| self.buffer_loaded)
            .ok_or(EINVAL)?;
        self.interrupts_due = registers.interrupts != 0;
        self.liveness = registers.liveness;
        self.dma = registers.dma;
        self.slot.lock().registers = CommandRegisters {
            status: registers.status,
            operand: registers.operand,
            factorial: registers.factorial,
            interrupts: registers.interrupts,
        };
        Ok(())
    }

    fn in_flight(&mut self, _host: &VirtualDevice, report: &mut dyn FnMut(IovaRange)) -> Result {
        if let Some(Transfer::ToMemory(range)) = self.slot.lock().transfer() {
            report(range);
        }
        Ok(())
    }

    #[inline]
    fn read(&mut self, _host: &VirtualDevice, access: Access) -> Result<u64> {
        Ok(self.guest_read(access))
    }

    #[inline]
    fn write(
        &mut self,
        host: &VirtualDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        self.guest_write(host, log, access, value)
    }
}
