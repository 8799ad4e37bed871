// SPDX-License-Identifier: GPL-2.0-only

//! The dirty-page query.

use kernel::prelude::*;

use super::{
    Kabi2018,
    Query, //
};
use crate::{
    device::Device,
    engine::Engine,
    iova::PageRange,
    window::DataWindow, //
};

impl Kabi2018 {
    /// Returns the query that writing `total` asks for, from `start` on.
    ///
    /// `EINVAL` when the range is empty or leaves the address space, or no pages are recorded for
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
    pub(super) fn query<D: Device>(
        &mut self,
        engine: &mut Engine<D>,
        host: &D::Host,
        window: &dyn DataWindow,
    ) -> Result<u64> {
        let range = match self.query {
            Query::Idle => return Ok(0),
            Query::Done(copied) => return Ok(copied),
            Query::Armed(range) => range,
        };
        let room = u64::try_from(window.len())?.saturating_mul(8);
        let covered = range.take(room)?;

        // The bitmap takes the place of the buffer.
        self.consume();
        let any = engine.dirty_look(host, range, covered, &mut |offset, bytes| {
            window.write(offset, bytes)
        })?;
        let copied = if any { covered.count() } else { 0 };
        self.query = Query::Done(copied);
        Ok(copied)
    }
}
