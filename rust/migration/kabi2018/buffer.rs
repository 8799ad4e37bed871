// SPDX-License-Identifier: GPL-2.0-only

//! The data section as a buffer of device state, both ways.

use kernel::prelude::*;

use super::{
    state::DeviceState,
    DataWindow,
    Kabi2018, //
};
use crate::{
    device::Device,
    engine::Engine, //
};

/// Bytes that are copied out of the data section at a time, on the stack.
const BOUNCE: usize = 512;

impl Kabi2018 {
    /// Returns `data.size`; when saving, stages the next buffer unless one is staged.
    pub(super) fn stage<D: Device>(
        &mut self,
        engine: &mut Engine<D>,
        host: &D::Host,
        window: &dyn DataWindow,
    ) -> Result<u64> {
        match self.view(engine) {
            Ok(DeviceState::Precopy | DeviceState::Stopncopy) => {}
            _ => return Ok(self.size),
        }
        if let Some(size) = self.buffer {
            return Ok(size);
        }
        let size = u64::try_from(fill(engine, host, window, self.threshold)?)?;
        self.buffer = Some(size);
        Ok(size)
    }

    /// The client is done with the staged buffer, if there is one.
    pub(super) fn consume(&mut self) {
        self.buffer = None;
    }

    /// Takes the first `size` bytes of the data section as the next bytes of the image.
    pub(super) fn load<D: Device>(
        &mut self,
        engine: &mut Engine<D>,
        host: &D::Host,
        window: &dyn DataWindow,
        size: u64,
    ) -> Result {
        let size = usize::try_from(size)?;
        let mut bounce = [0; BOUNCE];
        for offset in (0..size).step_by(BOUNCE) {
            let count = (size - offset).min(BOUNCE);
            let bytes = bounce.get_mut(..count).ok_or(EINVAL)?;
            if let Err(error) = window.read(offset, bytes) {
                return engine.interrupt(host, error);
            }
            engine.write(host, bytes)?;
        }
        Ok(())
    }
}

/// Fills the data section with the next bytes of the image, and returns how many.
///
/// At most `threshold` bytes unless it is 0. Bytes count as handed out only when they are in the
/// section, so an error loses none.
fn fill<D: Device>(
    engine: &mut Engine<D>,
    host: &D::Host,
    window: &dyn DataWindow,
    threshold: u64,
) -> Result<usize> {
    let limit = match usize::try_from(threshold) {
        Ok(0) | Err(_) => window.len(),
        Ok(threshold) => threshold.min(window.len()),
    };
    let mut filled = 0;
    while filled < limit {
        let copied = engine.stage(host).and_then(|staged| {
            let count = staged.len().min(limit - filled);
            window.write(filled, staged.get(..count).unwrap_or_default())?;
            Ok(count)
        });
        match copied {
            Ok(0) => break,
            Ok(count) => {
                engine.consume(count);
                filled += count;
            }
            Err(error) if filled == 0 => return Err(error),
            // What is there goes out first; the next buffer meets the error again.
            Err(_) => break,
        }
    }
    Ok(filled)
}
