// SPDX-License-Identifier: GPL-2.0-only

//! Writing a bitmap of the dirty pages of a range.

use kernel::prelude::*;

use super::{
    slot::Slot,
    span::Span,
    within,
    writer::Writer,
    DirtyTable,
    STRETCH_PAGES, //
};
use crate::{
    dirty::BitmapSink,
    iova::PageRange, //
};

impl DirtyTable {
    /// Writes a bitmap of the dirty pages of `range` to `sink`, without clearing any.
    ///
    /// Bit 0 stands for the first page of the range, whatever its alignment. Only bytes near a
    /// dirty page are written. If `sink` fails, its error is returned and no more is written.
    pub fn bitmap(&self, range: PageRange, sink: &mut BitmapSink<'_>) -> Result {
        let mut writer = Writer::new(sink);
        if self.blanket.within(range).next().is_some() {
            for dirty in self.ranges_in(range) {
                writer.set(dirty.first() - range.first(), dirty.last() - range.first())?;
            }
            return writer.flush();
        }
        for (stretch, slot) in self.stretches(range) {
            let (first, last) = within(stretch, range);
            let asked = Span { first, last };
            // No overflow: `first` is in the range.
            let bit = |page: u16| stretch * STRETCH_PAGES + u64::from(page) - range.first();
            match slot {
                Slot::Few(few) => {
                    for page in few.pages() {
                        if asked.contains(*page) {
                            writer.set_one(bit(*page))?;
                        }
                    }
                }
                Slot::Bitmap(bitmap) => match bitmap.span() {
                    Some(span) => {
                        if let Some(dirty) = span.part_in(asked) {
                            writer.set(bit(dirty.first), bit(dirty.last))?;
                        }
                    }
                    None => {
                        for part in bitmap.parts(asked) {
                            writer.copy(bit(part.first), bitmap, part)?;
                        }
                    }
                },
            }
        }
        writer.flush()
    }
}
