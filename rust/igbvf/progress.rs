// SPDX-License-Identifier: GPL-2.0-only

//! How far a save or a load has come.

use kernel::prelude::*;
use migration::{
    device::Amount,
    image::Section, //
};

use crate::{
    history::History,
    image,
    state::RegisterState, //
};

/// The sections that the driver has put into the image that it saves.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// The requests to the PF.
    pub(crate) requests: bool,
    /// The registers.
    pub(crate) registers: bool,
}

impl Saved {
    /// Returns what is left to save once the function is stopped.
    pub(crate) fn remaining(&self, history: &History) -> Amount {
        let mut amount = Amount::default();
        for (bytes, is_saved) in [
            (history.size(), self.requests),
            (RegisterState::SIZE, self.registers),
        ] {
            if !is_saved {
                // No overflow: two small numbers.
                amount.bytes += bytes;
                amount.sections += 1;
            }
        }
        amount
    }
}

/// The sections that the driver has taken from the image that it loads.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The requests to the PF.
    requests: Option<History>,
    /// The registers.
    registers: Option<RegisterState>,
}

impl Loaded {
    /// Takes a section; the errors are those of [`Device::load`].
    ///
    /// [`Device::load`]: migration::device::Device::load
    pub(crate) fn take(&mut self, section: &Section<'_>) -> Result {
        let is_again = match section.head.kind {
            image::REQUESTS => self.requests.is_some(),
            image::REGISTERS => self.registers.is_some(),
            _ => return Err(EOPNOTSUPP),
        };
        if section.head.offset != 0 || is_again {
            return Err(EINVAL);
        }
        match section.head.kind {
            image::REQUESTS => self.requests = Some(History::read(section)?),
            _ => self.registers = Some(RegisterState::read(section)?),
        }
        Ok(())
    }

    /// Takes the requests of an image that was applied; `EINVAL` if there are none.
    pub(crate) fn take_history(&mut self) -> Result<History> {
        self.requests.take().ok_or(EINVAL)
    }

    /// Returns what an image that has ended had; `EINVAL` if something is missing.
    pub(crate) fn end(&self) -> Result<(&History, &RegisterState)> {
        self.requests
            .as_ref()
            .zip(self.registers.as_ref())
            .ok_or(EINVAL)
    }
}
