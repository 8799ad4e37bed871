// SPDX-License-Identifier: GPL-2.0-only

//! How far a save or a load of the edu has come.

use kernel::prelude::*;
use migration::{
    device::{
        Amount,
        Remaining, //
    },
    image::Section, //
};

use crate::{
    image::{
        self,
        RegisterState, //
    },
    registers::BUFFER_SIZE, //
};

/// The sections of a complete image.
pub(crate) const SIZE: Amount = Amount {
    // CAST: A small constant.
    bytes: BUFFER_SIZE as u64 + RegisterState::SIZE,
    sections: 2,
};

/// The sections that the driver has put into the image that it saves.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// The buffer in its present state.
    pub(crate) buffer: bool,
    /// The registers.
    pub(crate) registers: bool,
}

impl Saved {
    /// Returns what is left to save.
    ///
    /// `is_busy` says that a transfer changes the buffer, which then cannot be saved yet.
    pub(crate) fn remaining(&self, is_busy: bool) -> Remaining {
        let once = |bytes, saved: bool| {
            let count = u64::from(!saved);
            Amount {
                // No overflow: `count` is 0 or 1.
                bytes: bytes * count,
                sections: count,
            }
        };
        // CAST: A small constant.
        let buffer = once(BUFFER_SIZE as u64, self.buffer);
        let (running, later) = match is_busy {
            false => (buffer, Amount::default()),
            true => (Amount::default(), buffer),
        };
        Remaining {
            running,
            later,
            stopped: once(RegisterState::SIZE, self.registers),
        }
    }
}

/// The sections that the driver has taken from the image that it loads.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The device's buffer has the content that the image has for it.
    pub(crate) buffer: bool,
    /// The registers, kept until the image has ended.
    registers: Option<RegisterState>,
}

impl Loaded {
    /// Takes a section: keeps registers, and returns the content of a buffer for the caller to
    /// load.
    ///
    /// The errors are those of [`Device::load`].
    ///
    /// [`Device::load`]: migration::device::Device::load
    pub(crate) fn take<'a>(
        &mut self,
        section: &Section<'a>,
    ) -> Result<Option<&'a [u8; BUFFER_SIZE]>> {
        let kind = section.head.kind;
        let is_known = matches!(kind, image::REGISTERS | image::BUFFER);
        if is_known && (section.head.offset != 0 || self.registers.is_some()) {
            return Err(EINVAL);
        }
        match kind {
            image::REGISTERS => {
                self.registers = Some(RegisterState::read(section)?);
                Ok(None)
            }
            image::BUFFER => Ok(Some(section.payload.try_into().map_err(|_| EINVAL)?)),
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Returns the registers of an image that has ended; `EINVAL` if something is missing.
    pub(crate) fn end(&self) -> Result<RegisterState> {
        self.registers.filter(|_| self.buffer).ok_or(EINVAL)
    }
}
