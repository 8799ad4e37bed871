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
use vfio::pci::CoreDevice;

use super::EduDevice;
use crate::{
    pci::hardware,
    registers::*,
    transfer::Transfer, //
};

impl EduDevice {
    /// The guest reads a register that is not read without the state lock.
    pub(super) fn guest_read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        let is_shadowed = matches!(
            access.offset,
            DMA_SOURCE | DMA_DESTINATION | DMA_COUNT | DMA_COMMAND
        );
        if !is_shadowed || matches!(access.width, Width::B1 | Width::B2) {
            return core.guest_read(access);
        }
        core.check_decoding()?;
        let value = match access.offset {
            DMA_SOURCE => self.dma.source,
            DMA_DESTINATION => self.dma.destination,
            DMA_COUNT => self.dma.count,
            _ => {
                let runs = self.is_transferring(core)?;
                self.dma.command | if runs { COMMAND_RUN } else { 0 }
            }
        };
        Ok(match access.width {
            // CAST: What a 32-bit access reads of a 64-bit register.
            Width::B4 => u64::from(value as u32),
            _ => value,
        })
    }

    /// The guest writes a register.
    pub(super) fn guest_write(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        match (access.offset, access.width) {
            (FACTORIAL, Width::B4) => self.start_factorial(core, access, value),
            (INTERRUPT_ACKNOWLEDGE, Width::B4) => self.acknowledge(core, access, value),
            (DMA_SOURCE | DMA_DESTINATION | DMA_COUNT, Width::B4 | Width::B8) => {
                self.write_dma_register(core, access, value)
            }
            (DMA_COMMAND, Width::B4 | Width::B8) => self.start_transfer(core, log, access, value),
            _ => core.guest_write(access, value),
        }
    }

    /// The guest writes one of the DMA registers that start nothing.
    ///
    /// The hardware gets to know with the command: until then its registers are the driver's.
    fn write_dma_register(&mut self, core: &CoreDevice, access: Access, value: u64) -> Result {
        if self.is_transferring(core)? {
            // The device ignores it.
            return Ok(());
        }
        core.check_decoding()?;
        match access.offset {
            DMA_SOURCE => self.dma.source = value,
            DMA_DESTINATION => self.dma.destination = value,
            _ => self.dma.count = value,
        }
        Ok(())
    }

    /// The guest starts a transfer.
    fn start_transfer(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        if value & COMMAND_RUN == 0 || self.is_transferring(core)? {
            // The device ignores it.
            return Ok(());
        }
        // Before anything is marked.
        core.check_decoding()?;

        let (dma, transfer) = Transfer::start(core, self.dma, value, self.config.dma_mask)?;

        match transfer {
            Transfer::ToMemory(range) => {
                core.mark_writing(range)?;
                log.mark(range);
            }
            Transfer::FromMemory => {
                self.buffer.forget();
                self.saved.buffer = false;
            }
        }
        for (offset, value) in [
            (DMA_SOURCE, dma.source),
            (DMA_DESTINATION, dma.destination),
            (DMA_COUNT, dma.count),
            (DMA_COMMAND, value),
        ] {
            core.guest_write(
                Access {
                    offset,
                    width: Width::B8,
                    ..access
                },
                value,
            )?;
        }
        self.dma = dma;
        self.transfer = Some(transfer);
        Ok(())
    }

    /// The guest starts a factorial.
    fn start_factorial(&mut self, core: &CoreDevice, access: Access, value: u64) -> Result {
        if hardware::is_computing(&core.registers(BAR)?)? {
            // The device ignores it.
            return Ok(());
        }
        core.guest_write(access, value)?;
        // CAST: The register is 32 bits wide, and so is the access.
        self.operand = value as u32;
        self.interrupt_due = true;
        Ok(())
    }

    /// The guest acknowledges interrupts.
    fn acknowledge(&mut self, core: &CoreDevice, access: Access, value: u64) -> Result {
        if self.interrupt_due && value & u64::from(INTERRUPT_FACTORIAL) != 0 {
            self.interrupt_due = !hardware::has_factorial_interrupt(&core.registers(BAR)?)?;
        }
        core.guest_write(access, value)
    }
}
