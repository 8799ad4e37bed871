// SPDX-License-Identifier: GPL-2.0-only

//! What a DMA command of the guest would make the device do.

use core::ops::Range;

use kernel::prelude::*;
use migration::iova::IovaRange;
use vfio::{
    dev_warn_ratelimited,
    log::Logs, //
};

use crate::registers::{
    BUFFER,
    BUFFER_SIZE,
    DMA_COMMAND, //
};

/// The DMA registers as the guest has left them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DmaRegisters {
    /// Source address.
    pub(crate) source: u64,
    /// Destination address.
    pub(crate) destination: u64,
    /// Size in bytes.
    pub(crate) count: u64,
    /// The last command that the device took, without `run`.
    pub(crate) command: DMA_COMMAND,
}

impl DmaRegisters {
    /// The values of the registers after a reset.
    pub(crate) const RESET: Self = Self {
        source: 0,
        destination: 0,
        count: 0,
        command: DMA_COMMAND::from_raw(0),
    };
}

/// A transfer between guest memory and the internal buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transfer {
    /// The device reads guest memory and changes its buffer.
    FromMemory,
    /// The device writes this part of guest memory.
    ToMemory(IovaRange),
}

impl Transfer {
    /// Returns the DMA registers after the guest's `command`, and the transfer that it starts.
    ///
    /// `EINVAL`, with a message in the kernel log, if [`Transfer::new`] refuses it.
    pub(crate) fn start(
        host: &impl Logs,
        registers: DmaRegisters,
        command: DMA_COMMAND,
        mask: u64,
    ) -> Result<(DmaRegisters, Self)> {
        let dma = DmaRegisters {
            command: command.with_run(false),
            ..registers
        };
        let transfer = Self::new(&dma, mask).inspect_err(|_| {
            dev_warn_ratelimited!(
                host,
                "refused DMA command {:#x}: source {:#x}, destination {:#x}, {} bytes\n",
                command.into_raw(),
                dma.source,
                dma.destination,
                dma.count
            );
        })?;
        Ok((dma, transfer))
    }

    /// Returns the transfer that `registers` describe.
    ///
    /// `EINVAL` if it is empty or does not lie wholly within the internal buffer: such a command
    /// ends the QEMU that emulates the device. `EINVAL` also if it reaches beyond `mask`: the
    /// device would cut the address and access other memory.
    fn new(registers: &DmaRegisters, mask: u64) -> Result<Self> {
        let to_memory = registers.command.to_memory();
        let memory = if to_memory {
            registers.destination
        } else {
            registers.source
        };

        Self::buffer_part(registers)?;
        let memory = IovaRange::new(memory, registers.count)?;
        if memory.last() > mask {
            return Err(EINVAL);
        }
        Ok(if to_memory {
            Self::ToMemory(memory)
        } else {
            Self::FromMemory
        })
    }

    /// Returns the bytes of the internal buffer that the transfer of `registers` reads or writes.
    ///
    /// `EINVAL` if some of them are not in the buffer.
    pub(crate) fn buffer_part(registers: &DmaRegisters) -> Result<Range<usize>> {
        let buffer = if registers.command.to_memory() {
            registers.source
        } else {
            registers.destination
        };
        let start = usize::try_from(buffer.checked_sub(BUFFER).ok_or(EINVAL)?)?;
        let end = start
            .checked_add(usize::try_from(registers.count)?)
            .filter(|end| *end <= BUFFER_SIZE)
            .ok_or(EINVAL)?;
        Ok(start..end)
    }
}
