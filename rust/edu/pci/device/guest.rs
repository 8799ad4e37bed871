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
use vfio::pci::CoreDevice;

use super::EduDevice;
use crate::{
    image,
    pci::hardware,
    registers::*,
    transfer::{
        DmaRegisters,
        Transfer, //
    }, //
};

impl EduDevice {
    /// The guest reads a register that vfio-pci does not read by itself.
    pub(super) fn guest_read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        let offset = offset_of(access);
        let is_shadowed = matches!(
            offset,
            DMA_SOURCE::OFFSET | DMA_DESTINATION::OFFSET | DMA_COUNT::OFFSET | DMA_COMMAND::OFFSET
        );
        if !is_shadowed || matches!(access.width, Width::B1 | Width::B2) {
            return core.guest_read(access);
        }
        core.check_decoding()?;
        let value = match offset {
            DMA_SOURCE::OFFSET => self.dma.source,
            DMA_DESTINATION::OFFSET => self.dma.destination,
            DMA_COUNT::OFFSET => self.dma.count,
            _ => {
                let runs = self.is_transferring(core)?;
                self.dma.command.with_run(runs).into_raw()
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
        match (offset_of(access), access.width) {
            (FACTORIAL::OFFSET, Width::B4) => self.start_factorial(core, access, value),
            (INTERRUPT_ACKNOWLEDGE::OFFSET, Width::B4) => self.acknowledge(core, access, value),
            (DMA_SOURCE::OFFSET, Width::B4 | Width::B8) => {
                self.write_dma_register(core, |dma| dma.source = value)
            }
            (DMA_DESTINATION::OFFSET, Width::B4 | Width::B8) => {
                self.write_dma_register(core, |dma| dma.destination = value)
            }
            (DMA_COUNT::OFFSET, Width::B4 | Width::B8) => {
                self.write_dma_register(core, |dma| dma.count = value)
            }
            (DMA_COMMAND::OFFSET, Width::B4 | Width::B8) => {
                self.start_transfer(core, log, access, value.into())
            }
            _ => core.guest_write(access, value),
        }
    }

    /// The guest writes one of the DMA registers that start nothing.
    ///
    /// The hardware gets the values with the command. Until then the driver uses its registers.
    fn write_dma_register(
        &mut self,
        core: &CoreDevice,
        write: impl FnOnce(&mut DmaRegisters),
    ) -> Result {
        if self.is_transferring(core)? {
            // The device ignores it.
            return Ok(());
        }
        core.check_decoding()?;
        write(&mut self.dma);
        Ok(())
    }

    /// The guest starts a transfer.
    fn start_transfer(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        command: DMA_COMMAND,
    ) -> Result {
        if !command.run() || self.is_transferring(core)? {
            // The device ignores it.
            return Ok(());
        }
        // No page is marked for a command that the device does not get.
        core.check_decoding()?;

        let (dma, transfer) = Transfer::start(core, self.dma, command, self.config.dma_mask)?;

        match transfer {
            Transfer::ToMemory(range) => {
                core.mark_writing(range)?;
                log.mark(range);
            }
            Transfer::FromMemory => {
                self.buffer.forget();
                self.saved.changed(image::BUFFER);
            }
        }
        for (offset, value) in [
            (DMA_SOURCE::OFFSET, dma.source),
            (DMA_DESTINATION::OFFSET, dma.destination),
            (DMA_COUNT::OFFSET, dma.count),
            (DMA_COMMAND::OFFSET, command.into_raw()),
        ] {
            core.guest_write(
                Access {
                    // CAST: Widening.
                    offset: offset as u64,
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
        // CAST: The register is 32 bits wide, and so is the access.
        let acknowledged = INTERRUPT_STATUS::from(value as u32);
        if self.interrupt_due && acknowledged.factorial() {
            self.interrupt_due = !hardware::has_factorial_interrupt(&core.registers(BAR)?)?;
        }
        core.guest_write(access, value)
    }
}
