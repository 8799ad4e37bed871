// SPDX-License-Identifier: GPL-2.0-only

//! One buffer of device state: staged, then consumed.

use kernel::prelude::*;

use super::{
    state::DeviceState,
    Kabi2018, //
};
use crate::{
    device::Device,
    window::Side, //
};

impl Kabi2018 {
    /// Returns `data.size`; when saving, stages the next buffer unless one is staged.
    pub(super) fn stage<D: Device>(&mut self, side: &mut Side<'_, D>) -> Result<u64> {
        match self.view(side.engine) {
            Ok(DeviceState::Precopy | DeviceState::Stopncopy) => {}
            _ => return Ok(self.size),
        }
        if let Some(size) = self.buffer {
            return Ok(size);
        }
        let size = side.fill(self.threshold)?;
        self.buffer = Some(size);
        Ok(size)
    }

    /// The client is done with the staged buffer, if there is one.
    pub(super) fn consume(&mut self) {
        self.buffer = None;
    }
}
