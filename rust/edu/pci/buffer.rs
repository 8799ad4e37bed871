// SPDX-License-Identifier: GPL-2.0-only

//! What the driver knows of the internal buffer.
//!
//! Only the device's own DMA reaches the buffer, and a transfer takes 100 ms either way. So the
//! driver remembers the content that a pass of its own has read or written, until the guest's next
//! transfer into the buffer.

use kernel::prelude::*;
use vfio::pci::{
    CoreDevice,
    PassError,
    ScratchPage, //
};

use super::hardware::{
    self,
    Direction, //
};
use crate::registers::BUFFER_SIZE;

/// The internal buffer of one device.
pub(crate) struct InternalBuffer {
    /// What the device reads and writes in a pass.
    page: ScratchPage,
    /// The buffer's content, if `is_known`.
    content: KBox<[u8; BUFFER_SIZE]>,
    /// Whether `content` is the buffer's content.
    is_known: bool,
}

impl InternalBuffer {
    /// Returns a buffer whose content is not known.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            page: ScratchPage::new()?,
            content: KBox::new([0; BUFFER_SIZE], GFP_KERNEL)?,
            is_known: false,
        })
    }

    /// Forgets the content: the device may change it from now on.
    pub(crate) fn forget(&mut self) {
        self.is_known = false;
    }

    /// Returns the content, which is read from the idle device if it is not known.
    pub(crate) fn read(&mut self, core: &CoreDevice) -> Result<&[u8], PassError> {
        if !self.is_known {
            hardware::move_buffer(core, &mut self.page, Direction::Read)?;
            self.page
                .read(self.content.as_mut_slice())
                .map_err(PassError::Failed)?;
            self.is_known = true;
        }
        Ok(self.content.as_slice())
    }

    /// Fills the idle device's buffer with `content`.
    pub(crate) fn write(
        &mut self,
        core: &CoreDevice,
        content: &[u8; BUFFER_SIZE],
    ) -> Result<(), PassError> {
        if self.is_known && *self.content == *content {
            return Ok(());
        }
        self.page.write(content).map_err(PassError::Failed)?;
        self.is_known = false;
        hardware::move_buffer(core, &mut self.page, Direction::Write)?;
        *self.content = *content;
        self.is_known = true;
        Ok(())
    }
}
