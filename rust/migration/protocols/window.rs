// SPDX-License-Identifier: GPL-2.0-only

//! The data section of a migration region: buffers of device state, both ways.
//!
//! Both region protocols move the image through such a section. They differ in how they tell the
//! client of it.

use kernel::prelude::*;

use crate::{
    device::Device,
    engine::Engine, //
};

/// Bytes that are copied out of the data section at a time, on the stack.
const BOUNCE: usize = 512;

/// The data section of a migration region.
///
/// User space may have it mapped, so its bytes may change at any time. The core copies them once
/// and looks only at the copy.
pub trait DataWindow {
    /// Returns the section's offset in the region in bytes; page aligned, never 0.
    fn offset(&self) -> u64;

    /// Returns the section's length in bytes.
    fn len(&self) -> usize;

    /// Returns whether the section has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes at `offset` in the section to `out`; `EINVAL` if the section ends before.
    fn read(&self, offset: usize, out: &mut [u8]) -> Result;

    /// Copies `bytes` to `offset` in the section; `EINVAL` if the section ends before.
    fn write(&self, offset: usize, bytes: &[u8]) -> Result;
}

/// Whether a write to a migration region's header is complete.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// It is complete.
    Done,
    /// The device was given a section of an image and more are left: the caller repeats the write.
    ///
    /// In between, the caller lets others take the device's lock.
    More,
}

/// One side of a migration: the device, and the data section that its state moves through.
pub struct Side<'a, D: Device> {
    /// The engine.
    pub engine: &'a mut Engine<D>,
    /// What the device works with.
    pub host: &'a D::Host,
    /// The data section.
    pub window: &'a dyn DataWindow,
}

impl<D: Device> Side<'_, D> {
    /// Fills the data section with the next bytes of the image, and returns how many.
    ///
    /// At most `threshold` bytes unless `threshold` is 0. Bytes count as handed out only when they
    /// are in the section, so an error loses none.
    pub(crate) fn fill(&mut self, threshold: u64) -> Result<u64> {
        let limit = self.limit(threshold);
        let mut filled = 0;
        while filled < limit {
            match self.copy_staged(filled, limit) {
                Ok(0) => break,
                Ok(count) => {
                    self.engine.consume(count);
                    filled += count;
                }
                Err(error) if filled == 0 => return Err(error),
                // The bytes so far go out first; the next buffer meets the error again.
                Err(_) => break,
            }
        }
        Ok(u64::try_from(filled)?)
    }

    /// Copies the next bytes of the image to the data section, and returns how many.
    ///
    /// At most `threshold` bytes unless `threshold` is 0. The bytes are those that the engine has
    /// staged, and no more. The engine keeps them until [`Engine::consume`] tells it that they went
    /// out.
    pub(crate) fn show(&mut self, threshold: u64) -> Result<usize> {
        self.copy_staged(0, self.limit(threshold))
    }

    /// Returns how many bytes a buffer may have.
    fn limit(&self, threshold: u64) -> usize {
        match usize::try_from(threshold) {
            Ok(0) | Err(_) => self.window.len(),
            Ok(threshold) => threshold.min(self.window.len()),
        }
    }

    /// Copies the bytes that the engine has staged next to offset `at` of the data section, none
    /// beyond offset `limit`; returns how many.
    fn copy_staged(&mut self, at: usize, limit: usize) -> Result<usize> {
        let staged = self.engine.stage(self.host)?;
        let count = staged.len().min(limit.saturating_sub(at));
        self.window
            .write(at, staged.get(..count).unwrap_or_default())?;
        Ok(count)
    }

    /// Takes the first `size` bytes of the data section as the next bytes of the image, up to the
    /// end of a section of the image.
    ///
    /// Errors as [`Engine::write`], and those of the data section, which refuse nothing. After
    /// [`Progress::More`], and after an error that is no refusal, the next call with this `size`
    /// goes on where this call ended; until then another size is `EINVAL`.
    pub(crate) fn load(&mut self, size: u64) -> Result<Progress> {
        let size = usize::try_from(size)?;
        let mut bounce = [0; BOUNCE];
        let mut taken = self.engine.taken_of(size)?;
        while taken < size {
            let bytes = bounce.get_mut(..BOUNCE.min(size - taken)).ok_or(EINVAL)?;
            self.window.read(taken, bytes)?;
            let now = self.engine.write(self.host, bytes)?;
            taken = taken.checked_add(now.bytes).ok_or(EINVAL)?;
            self.engine.set_taken_of(size, taken);
            if now.section && taken < size {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }
}
