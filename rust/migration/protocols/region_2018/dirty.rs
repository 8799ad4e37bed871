// SPDX-License-Identifier: GPL-2.0-only

//! The dirty-page query.

use kernel::prelude::*;

use super::{
    Query,
    Region2018, //
};
use crate::{
    device::Device,
    engine::Engine,
    iova::PageRange,
    protocols::window::{
        DataWindow,
        Side, //
    }, //
};

impl Region2018 {
    /// Returns the query that writing `total` asks for, from `start` on.
    ///
    /// `EINVAL` if the range is empty or leaves the address space, or if no pages are recorded for
    /// this protocol.
    pub(super) fn ask<D: Device>(
        &self,
        engine: &Engine<D>,
        start: u64,
        total: u64,
    ) -> Result<PageRange> {
        if engine.dirty_tracker() != Some(Self::PROTOCOL) {
            return Err(EINVAL);
        }
        PageRange::at(start, total)
    }

    /// Returns `dirty_pfns.copied`; runs the query first, if it has not run.
    pub(super) fn query<D: Device>(&mut self, side: &mut Side<'_, D>) -> Result<u64> {
        let range = match self.query {
            Query::Idle => return Ok(0),
            Query::Done(copied) => return Ok(copied),
            Query::Armed(range) => range,
        };
        let window = side.window;
        let room = u64::try_from(window.len())?.saturating_mul(8);
        let covered = range.take(room)?;

        let any = side.engine.dirty_look(side.host, range, covered, |table| {
            // A half-written bitmap must not pass for the content before.
            self.forget();
            let mut filled = 0;
            table.bitmap(covered, &mut |offset, bytes| {
                zero(window, filled, offset)?;
                filled = offset.checked_add(bytes.len()).ok_or(EOVERFLOW)?;
                window.write(offset, bytes)
            })?;
            zero(
                window,
                filled,
                usize::try_from(covered.count().div_ceil(8))?,
            )
        })?;
        let copied = if any { covered.count() } else { 0 };
        self.query = Query::Done(copied);
        self.show_bitmap(copied.div_ceil(8));
        Ok(copied)
    }
}

/// Zeroes the bytes `from` to `to` of the data section; does nothing if `to` is not above `from`.
fn zero(window: &dyn DataWindow, from: usize, to: usize) -> Result {
    static ZEROES: [u8; 4096] = [0; 4096];
    let mut at = from;
    while at < to {
        let count = (to - at).min(ZEROES.len());
        window.write(at, ZEROES.get(..count).unwrap_or_default())?;
        at += count;
    }
    Ok(())
}
