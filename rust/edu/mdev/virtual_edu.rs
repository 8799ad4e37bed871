// SPDX-License-Identifier: GPL-2.0-only

//! A virtual edu as a device that can be migrated.
//!
//! It has the state of a physical edu, and the same images: each can load those of the other.

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
    progress::{
        self,
        Loaded,
        Saved, //
    },
    registers::{
        INTERRUPT_STATUS,
        LIVENESS, //
    },
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
    /// Only the guest changes this and `dma`, so they need no lock besides the state lock.
    liveness: LIVENESS,
    /// The DMA registers.
    dma: DmaRegisters,
    /// Its place among the virtual devices, until it is removed.
    instance: Option<Instance>,
    /// The image that is being saved.
    saved: Saved,
    /// The image that is being loaded.
    loaded: Loaded,
    /// Loaded interrupts are to be raised when the device runs.
    interrupts_due: bool,
}

impl VirtualEdu {
    /// Creates a virtual device of a type; `ENOSPC` if none is left.
    pub(crate) fn new(parent: &EduParent, type_: usize, config: Config) -> Result<Self> {
        Ok(Self {
            config,
            identity: parent.identity(),
            slot: Slot::new(parent.mediator.clone())?,
            liveness: RegisterState::RESET.liveness,
            dma: RegisterState::RESET.dma,
            instance: Some(Instances::take(&parent.instances, type_)?),
            saved: Saved::default(),
            loaded: Loaded::default(),
            interrupts_due: false,
        })
    }

    /// Gives up its place among the virtual devices, when the device was removed.
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
            self.slot.lock().raise(host, INTERRUPT_STATUS::zeroed());
        }
        Ok(())
    }

    fn reset(&mut self, host: &VirtualDevice) -> Result {
        self.loaded = Loaded::default();
        self.interrupts_due = false;
        host.call_off_copies();
        self.slot.physical().cancel(&self.slot);
        let idle = self.slot.wait_idle(Signals::Ignore, self.config.timeout);
        host.allow_copies();
        let mut state = idle?;
        self.liveness = RegisterState::RESET.liveness;
        self.dma = RegisterState::RESET.dma;
        state.registers = CommandRegisters::RESET;
        state.buffer.fill(0);
        state.content = self.slot.physical().new_content();
        state.failed = false;
        host.lower_interrupt();
        Ok(())
    }

    fn lost(&self) -> bool {
        self.slot.lock().failed
    }

    fn size(&self, _host: &VirtualDevice) -> Amount {
        progress::SIZE
    }

    fn save_begin(&mut self, _host: &VirtualDevice) -> Result {
        self.saved = Saved::default();
        Ok(())
    }

    fn remaining(&self, _host: &VirtualDevice) -> Remaining {
        let is_busy = self.slot.lock().transfer() == Some(Transfer::FromMemory);
        self.saved.remaining(is_busy)
    }

    fn save(
        &mut self,
        _host: &VirtualDevice,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        let state = self.slot.lock();
        if !self.saved.buffer && state.transfer() != Some(Transfer::FromMemory) {
            payload.put_slice(state.buffer.as_slice())?;
            self.saved.buffer = true;
            return Ok(Some(SectionHead::mandatory(image::BUFFER, 0)));
        }
        if phase == Phase::Stopped && !self.saved.registers {
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
            self.saved.registers = true;
            return Ok(Some(SectionHead::mandatory(image::REGISTERS, 0)));
        }
        Ok(None)
    }

    fn load_begin(&mut self, _host: &VirtualDevice) -> Result {
        self.loaded = Loaded::default();
        Ok(())
    }

    fn load(&mut self, _host: &VirtualDevice, section: &Section<'_>) -> Result {
        if let Some(content) = self.loaded.take(section)? {
            let mut state = self.slot.lock();
            state.buffer.copy_from_slice(content);
            state.content = self.slot.physical().new_content();
            self.loaded.buffer = true;
        }
        Ok(())
    }

    fn load_end(&mut self, _host: &VirtualDevice) -> Result {
        let registers = self.loaded.end()?;
        self.interrupts_due = !registers.interrupts.is_empty();
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
