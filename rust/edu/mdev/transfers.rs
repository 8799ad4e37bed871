// SPDX-License-Identifier: GPL-2.0-only

//! Transfers of the physical device, and whose content its internal buffer holds.
//!
//! A virtual device's buffer is in driver memory. Its transfers go through the physical device's
//! buffer, which holds the content of one virtual device at a time. Before the content of another
//! is moved out, it is moved in as a whole.

use core::ops::Range;

use kernel::prelude::*;
use vfio::physical::DmaMemory;

use super::hardware::Hardware;
use crate::{
    registers::*,
    transfer::DmaRegisters, //
};

/// A mark that tells the contents of buffers apart.
///
/// On one physical device, no two buffers have the same mark.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Content(pub(super) u64);

/// The unit that transfers, and the memory that it transfers from and to.
pub(super) struct Transfers {
    /// As large as the internal buffer.
    memory: DmaMemory,
    /// The content that the physical buffer holds, if that is known.
    resident: Option<Content>,
}

impl Transfers {
    /// Returns a unit that may hold any content; `memory` is as large as the internal buffer.
    pub(super) fn new(memory: DmaMemory) -> Self {
        Self {
            memory,
            resident: None,
        }
    }

    /// Forgets what the physical buffer holds.
    pub(super) fn forget(&mut self) {
        self.resident = None;
    }

    /// Moves a part of a buffer into the device, or all of it if the device holds another content.
    ///
    /// The errors are those of [`Hardware::transfer`]; the device may still be at work then.
    pub(super) fn move_in(
        &mut self,
        hardware: &Hardware,
        content: Content,
        buffer: &[u8; BUFFER_SIZE],
        part: Range<usize>,
    ) -> Result {
        let part = match self.resident.take() {
            Some(resident) if resident == content => part,
            _ => 0..BUFFER_SIZE,
        };
        let mut staged = KVec::with_capacity(BUFFER_SIZE, GFP_KERNEL)?;
        staged.extend_from_slice(buffer.get(part.clone()).ok_or(EINVAL)?, GFP_KERNEL)?;
        staged.resize(BUFFER_SIZE, 0, GFP_KERNEL)?;
        self.memory.write(&staged)?;
        // CAST: A place in the buffer, and at most its size.
        hardware.transfer(&DmaRegisters {
            source: self.memory.dma_address()?,
            destination: BUFFER + part.start as u64,
            count: part.len() as u64,
            command: DMA_COMMAND::zeroed(),
        })?;
        self.resident = Some(content);
        Ok(())
    }

    /// Moves a part of a buffer out of the device into `buffer`.
    ///
    /// The errors are those of [`Hardware::transfer`]; the device may still be at work then.
    pub(super) fn move_out(
        &mut self,
        hardware: &Hardware,
        content: Content,
        buffer: &mut [u8; BUFFER_SIZE],
        part: Range<usize>,
    ) -> Result {
        if self.resident != Some(content) {
            self.move_in(hardware, content, buffer, 0..BUFFER_SIZE)?;
        }
        // If the device moves nothing, no bytes of another virtual device are left here.
        self.memory
            .write(&KVec::from_elem(0u8, BUFFER_SIZE, GFP_KERNEL)?)?;
        // CAST: A place in the buffer, and at most its size.
        hardware.transfer(&DmaRegisters {
            source: BUFFER + part.start as u64,
            destination: self.memory.dma_address()?,
            count: part.len() as u64,
            command: DMA_COMMAND::zeroed().with_to_memory(true),
        })?;
        let mut staged = KVec::from_elem(0u8, BUFFER_SIZE, GFP_KERNEL)?;
        self.memory.read(&mut staged)?;
        let to = buffer.get_mut(part).ok_or(EINVAL)?;
        to.copy_from_slice(staged.get(..to.len()).ok_or(EINVAL)?);
        Ok(())
    }
}
