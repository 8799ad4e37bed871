// SPDX-License-Identifier: GPL-2.0-only

//! What the guest's accesses to the registers do.

use kernel::prelude::*;
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
    mdev::slot::{
        Stage,
        UnderWay, //
    },
    registers::*,
    transfer::Transfer, //
};

/// What registers read that there are not, or not in that width.
const NOTHING: u64 = u64::MAX;

impl VirtualEdu {
    /// The guest reads a register.
    #[inline]
    pub(super) fn guest_read(&self, access: Access) -> u64 {
        match (access.offset, access.width) {
            (IDENTIFICATION, Width::B4) => IDENTIFICATION_VALUE.into(),
            (LIVENESS, Width::B4) => self.liveness.into(),
            (FACTORIAL, Width::B4) => self.slot.lock().registers.factorial.into(),
            (STATUS, Width::B4) => {
                let state = self.slot.lock();
                let computing = if state.computing { STATUS_COMPUTING } else { 0 };
                (state.registers.status | computing).into()
            }
            (INTERRUPT_STATUS, Width::B4) => self.slot.lock().registers.interrupts.into(),
            (DMA_SOURCE, Width::B4 | Width::B8) => self.dma.source,
            (DMA_DESTINATION, Width::B4 | Width::B8) => self.dma.destination,
            (DMA_COUNT, Width::B4 | Width::B8) => self.dma.count,
            (DMA_COMMAND, Width::B4 | Width::B8) => {
                let runs = self.slot.lock().transfer.is_some();
                self.dma.command | if runs { COMMAND_RUN } else { 0 }
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
        match (access.offset, access.width) {
            (LIVENESS, Width::B4) => self.liveness = !low,
            (FACTORIAL, Width::B4) => return self.start_factorial(host, low),
            (STATUS, Width::B4) => self.slot.lock().registers.status = low & STATUS_INTERRUPT,
            (INTERRUPT_RAISE, Width::B4) => self.slot.lock().raise(host, low),
            (INTERRUPT_ACKNOWLEDGE, Width::B4) => self.slot.lock().acknowledge(host, low),
            (DMA_SOURCE | DMA_DESTINATION | DMA_COUNT, Width::B4 | Width::B8) => {
                self.write_dma_register(access.offset, value);
            }
            (DMA_COMMAND, Width::B4 | Width::B8) => return self.start_transfer(host, log, value),
            // The device ignores it.
            _ => {}
        }
        Ok(())
    }

    /// The guest writes one of the DMA registers that start nothing.
    fn write_dma_register(&mut self, offset: u64, value: u64) {
        if self.slot.lock().transfer.is_some() {
            // The device ignores it.
            return;
        }
        match offset {
            DMA_SOURCE => self.dma.source = value,
            DMA_DESTINATION => self.dma.destination = value,
            _ => self.dma.count = value,
        }
    }

    /// The guest starts a factorial.
    fn start_factorial(&self, host: &VirtualDevice, operand: u32) -> Result {
        let mut state = self.slot.lock();
        if state.computing {
            // The device ignores it.
            return Ok(());
        }
        // The worker looks at the slot only once it has its lock.
        self.slot.physical().compute(&self.slot, host.handle())?;
        state.registers.operand = operand;
        state.registers.factorial = operand;
        state.computing = true;
        Ok(())
    }

    /// The guest starts a transfer.
    fn start_transfer(&mut self, host: &VirtualDevice, log: &mut DirtyLog, value: u64) -> Result {
        let mut state = self.slot.lock();
        if value & COMMAND_RUN == 0 || state.transfer.is_some() {
            // The device ignores it.
            return Ok(());
        }
        let (dma, transfer) = Transfer::start(host, self.dma, value, self.config.dma_mask)?;
        // Who carries it out looks at the slot only once it has its lock.
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
                self.saved.buffer = false;
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
