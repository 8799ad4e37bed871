// SPDX-License-Identifier: GPL-2.0-only

//! What the guest's accesses to the registers do.

use kernel::{
    io::register::Register,
    prelude::*, //
};
use migration::{
    device::{
        Access,
        Width, //
    },
    dirty::DirtyLog, //
};
use vfio::mdev::VirtualDevice;

use super::VirtualEdu;
use crate::{
    image,
    mdev::slot::{
        Stage,
        UnderWay, //
    },
    registers::*,
    transfer::{
        DmaRegisters,
        Transfer, //
    }, //
};

/// The value of a read if no register is at its offset, or none has its width.
const NOTHING: u64 = u64::MAX;

impl VirtualEdu {
    /// The guest reads a register.
    #[inline]
    pub(super) fn guest_read(&self, access: Access) -> u64 {
        match (offset_of(access), access.width) {
            (IDENTIFICATION::OFFSET, Width::B4) => IDENTIFICATION::EDU.into_raw().into(),
            (LIVENESS::OFFSET, Width::B4) => self.liveness.into_raw().into(),
            (FACTORIAL::OFFSET, Width::B4) => self.slot.lock().registers.factorial.into(),
            (STATUS::OFFSET, Width::B4) => {
                let state = self.slot.lock();
                let status = state.registers.status.with_computing(state.computing);
                status.into_raw().into()
            }
            (INTERRUPT_STATUS::OFFSET, Width::B4) => {
                let interrupts = self.slot.lock().registers.interrupts;
                interrupts.into_raw().into()
            }
            (DMA_SOURCE::OFFSET, Width::B4 | Width::B8) => self.dma.source,
            (DMA_DESTINATION::OFFSET, Width::B4 | Width::B8) => self.dma.destination,
            (DMA_COUNT::OFFSET, Width::B4 | Width::B8) => self.dma.count,
            (DMA_COMMAND::OFFSET, Width::B4 | Width::B8) => {
                let runs = self.slot.lock().transfer.is_some();
                self.dma.command.with_run(runs).into_raw()
            }
            (_, Width::B1 | Width::B2) => 0,
            _ => NOTHING,
        }
    }

    /// The guest writes a register.
    #[inline]
    pub(super) fn guest_write(
        &mut self,
        host: &VirtualDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        // CAST: What a 32-bit access writes.
        let low = value as u32;
        match (offset_of(access), access.width) {
            (LIVENESS::OFFSET, Width::B4) => self.liveness = LIVENESS::from(low).complement(),
            (FACTORIAL::OFFSET, Width::B4) => return self.start_factorial(host, low),
            (STATUS::OFFSET, Width::B4) => {
                self.slot.lock().registers.status = STATUS::from(low).settings();
            }
            (INTERRUPT_RAISE::OFFSET, Width::B4) => self.slot.lock().raise(host, low.into()),
            (INTERRUPT_ACKNOWLEDGE::OFFSET, Width::B4) => {
                self.slot.lock().acknowledge(host, low.into());
            }
            (DMA_SOURCE::OFFSET, Width::B4 | Width::B8) => {
                self.write_dma_register(|dma| dma.source = value);
            }
            (DMA_DESTINATION::OFFSET, Width::B4 | Width::B8) => {
                self.write_dma_register(|dma| dma.destination = value);
            }
            (DMA_COUNT::OFFSET, Width::B4 | Width::B8) => {
                self.write_dma_register(|dma| dma.count = value);
            }
            (DMA_COMMAND::OFFSET, Width::B4 | Width::B8) => {
                return self.start_transfer(host, log, value.into());
            }
            // The device ignores it.
            _ => {}
        }
        Ok(())
    }

    /// The guest writes one of the DMA registers that start nothing.
    fn write_dma_register(&mut self, write: impl FnOnce(&mut DmaRegisters)) {
        if self.slot.lock().transfer.is_some() {
            // The device ignores it.
            return;
        }
        write(&mut self.dma);
    }

    /// The guest starts a factorial.
    fn start_factorial(&self, host: &VirtualDevice, operand: u32) -> Result {
        let mut state = self.slot.lock();
        if state.computing {
            // The device ignores it.
            return Ok(());
        }
        // The worker looks at the slot only when it has the slot's lock.
        self.slot.physical().compute(&self.slot, host.handle())?;
        state.registers.operand = operand;
        state.registers.factorial = operand;
        state.computing = true;
        Ok(())
    }

    /// The guest starts a transfer.
    fn start_transfer(
        &mut self,
        host: &VirtualDevice,
        log: &mut DirtyLog,
        command: DMA_COMMAND,
    ) -> Result {
        let mut state = self.slot.lock();
        if !command.run() || state.transfer.is_some() {
            // The device ignores it.
            return Ok(());
        }
        let (dma, transfer) = Transfer::start(host, self.dma, command, self.config.dma_mask)?;
        // The works look at the slot only when they have its lock.
        let physical = self.slot.physical();
        let stage = match transfer {
            Transfer::ToMemory(range) => {
                physical.transfer(&self.slot, host.handle())?;
                log.mark(range);
                host.mark_writing(range);
                Stage::Device
            }
            Transfer::FromMemory => {
                physical.copy(self.slot.clone());
                self.saved.changed(image::BUFFER);
                Stage::Fetch
            }
        };
        self.dma = dma;
        state.transfer = Some(UnderWay {
            transfer,
            dma,
            stage,
            host: host.handle(),
        });
        Ok(())
    }
}
