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
    /// The sections that are in the image that is being saved.
    saved: Checklist,
    /// The sections that were taken from the image that is being loaded.
    loaded: Checklist,
    /// The registers that were loaded, until the image has ended.
    loaded_registers: RegisterState,
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
            saved: Checklist::new(image::SECTIONS),
            loaded: Checklist::new(image::SECTIONS),
            loaded_registers: RegisterState::RESET,
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
        self.loaded.clear();
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
        image::SECTIONS.size()
    }

    fn save_begin(&mut self, _host: &VirtualDevice) -> Result {
        self.saved.clear();
        Ok(())
    }

    fn remaining(&self, _host: &VirtualDevice) -> Remaining {
        let is_busy = self.slot.lock().transfer() == Some(Transfer::FromMemory);
        self.saved.remaining(image::busy(is_busy))
    }

    fn save(
        &mut self,
        _host: &VirtualDevice,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        let state = self.slot.lock();
        let is_busy = state.transfer() == Some(Transfer::FromMemory);
        let Some(kind) = self.saved.next(phase, image::busy(is_busy)) else {
            return Ok(None);
        };
        if kind == image::BUFFER {
            payload.put_slice(state.buffer.as_slice())?;
        } else {
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
        }
        Ok(Some(self.saved.put(kind)))
    }

    fn load_begin(&mut self, _host: &VirtualDevice) -> Result {
        self.loaded.clear();
        Ok(())
    }

    fn load(&mut self, _host: &VirtualDevice, section: &Section<'_>) -> Result {
        self.loaded.check(section)?;
        if section.head.kind == image::BUFFER {
            let content = image::read_buffer(section)?;
            let mut state = self.slot.lock();
            state.buffer.copy_from_slice(content);
            state.content = self.slot.physical().new_content();
        } else {
            self.loaded_registers = RegisterState::read(section)?;
        }
        self.loaded.take(section);
        Ok(())
    }

    fn load_end(&mut self, _host: &VirtualDevice) -> Result {
        self.loaded.end()?;
        let registers = self.loaded_registers;
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
