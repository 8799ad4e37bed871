// SPDX-License-Identifier: GPL-2.0-only

//! A set of pages over the whole 64-bit address space.
//!
//! The space is cut into stretches of [`STRETCH_PAGES`] pages. A stretch with a few dirty pages
//! lists them in its slot; one with more has a bitmap and a summary of the bitmap, or two numbers
//! if they are neighbours. Slots stand in groups of 64, groups in a sorted vector. A group or a
//! bitmap without a dirty page is freed, so marks and queries cost what the number of dirty pages
//! costs, however far apart the pages are.
//!
//! A mark may allocate with `GFP_KERNEL` and so may sleep. The engine, which owns the table, is
//! guarded by a mutex; no one calls it with a spinlock held or in an interrupt.

mod bitmap;
mod blanket;
mod budget;
mod directory;
mod few;
mod held;
mod output;
mod slot;
mod span;
mod walk;
mod writer;

use kernel::prelude::*;

use crate::iova::PageRange;
use bitmap::Bitmap;
use blanket::Blanket;
use budget::Budget;
use directory::{
    Directory,
    Stretches, //
};
use walk::Words;

pub use {
    bitmap::STRETCH_PAGES,
    budget::MAX_BYTES,
    walk::Ranges, //
};

/// A set of dirty pages.
///
/// The set never loses a page. If memory is short or [`MAX_BYTES`] is reached, every page of the
/// address space counts as dirty until it is cleared, so each is reported once. The table tells
/// pages apart again as soon as they are cleared. The pages that still count as dirty may be in at
/// most 32 pieces: a range whose clearing would make more of them stays dirty.
#[derive(Debug, Default)]
pub struct DirtyTable {
    /// The stretches that have dirty pages.
    directory: Directory,
    /// The memory that the stretches take.
    budget: Budget,
    /// Pages that count as dirty without being told apart. None of them is in a stretch.
    blanket: Blanket,
}

impl DirtyTable {
    /// Returns an empty table; allocates nothing.
    pub const fn new() -> Self {
        Self {
            directory: Directory::new(),
            budget: Budget::new(),
            blanket: Blanket::new(),
        }
    }

    /// Returns a table in which every page counts as dirty; allocates nothing.
    pub(super) fn everything() -> Self {
        Self {
            blanket: Blanket::whole(),
            ..Self::new()
        }
    }

    /// Returns whether there are pages that count as dirty without being told apart.
    pub fn is_uncertain(&self) -> bool {
        !self.blanket.is_empty()
    }

    /// Returns the number of dirty pages; looks at each stretch that has some.
    pub fn count(&self) -> u64 {
        self.count_in(PageRange::EVERYTHING)
    }

    /// Returns how many bytes of memory the dirty pages take, at most [`MAX_BYTES`].
    pub fn memory(&self) -> usize {
        self.budget.used()
    }

    /// Marks the pages of `range` as dirty.
    #[inline]
    pub fn mark(&mut self, range: PageRange) {
        // Devices write pages in order, so most marks are in the block of the one before.
        if range.first() == range.last() && self.directory.mark_held(range.first()) {
            return;
        }
        self.mark_elsewhere(range);
    }

    /// Marks the pages of `range`, which are not in the block that is held.
    #[inline(never)]
    fn mark_elsewhere(&mut self, range: PageRange) {
        let page = range.first();
        if page == range.last() && self.blanket.is_empty() && self.directory.mark_near(page) {
            return;
        }
        self.mark_any(range);
    }

    /// Marks the pages of `range`, except for those that count as dirty anyway.
    #[inline(never)]
    fn mark_any(&mut self, range: PageRange) {
        let mut rest = Some(range);
        while let Some(gap) = rest.and_then(|rest| self.blanket.gap(rest)) {
            if self.try_mark(gap).is_err() {
                *self = Self::everything();
                return;
            }
            rest = range.after(gap.last());
        }
    }

    /// Marks the pages of `range`; on an error some of them may be marked.
    fn try_mark(&mut self, range: PageRange) -> Result {
        let (low, high) = stretches_of(range);
        if high - low > u64::try_from(MAX_BYTES / Bitmap::BYTES)? {
            // Fails before it takes any memory.
            return Err(ENOMEM);
        }
        for stretch in low..=high {
            let (first, last) = within(stretch, range);
            self.directory
                .mark(stretch, first, last, &mut self.budget)?;
        }
        Ok(())
    }

    /// Marks the pages of `range` as clean.
    pub fn clear(&mut self, range: PageRange) {
        self.blanket.clear(range);
        let (low, high) = stretches_of(range);
        if within(low, range).0 == 0
            && within(high, range).1 == u16::MAX
            && self.directory.lies_in(low, high)
        {
            self.directory = Directory::new();
            self.budget = Budget::new();
            return;
        }
        self.directory
            .retain(low, high, &mut self.budget, |stretch, slot, budget| {
                let (first, last) = within(stretch, range);
                slot.clear(first, last, budget);
            });
    }

    /// Returns whether at least one page of `range` is dirty.
    pub fn any_in(&self, range: PageRange) -> bool {
        // Not by ranges: the first of them may have to be looked for to the end of the space.
        Words::new(self.stretches(range), range).next().is_some()
            || self.blanket.within(range).next().is_some()
    }

    /// Returns the number of dirty pages in `range`.
    pub fn count_in(&self, range: PageRange) -> u64 {
        let count = |(stretch, slot): (u64, &slot::Slot)| match within(stretch, range) {
            (0, u16::MAX) => u64::from(slot.count()),
            _ => Words::new(self.directory.stretches(stretch, stretch), range)
                .map(|(_, bits)| u64::from(bits.count_ones()))
                .sum(),
        };
        let blanket = self.blanket.within(range).map(|piece| piece.count());
        let told_apart: u64 = self.stretches(range).map(count).sum();
        told_apart + blanket.sum::<u64>()
    }

    /// Returns the dirty pages in ascending order, as ranges that do not touch.
    pub fn ranges(&self) -> Ranges<'_> {
        self.ranges_in(PageRange::EVERYTHING)
    }

    /// Returns the dirty pages of `range` in ascending order, as ranges that do not touch.
    pub fn ranges_in(&self, range: PageRange) -> Ranges<'_> {
        let words = Words::new(self.stretches(range), range);
        Ranges::of(words, self.blanket.within(range))
    }

    /// Returns the stretches with dirty pages that `range` touches.
    fn stretches(&self, range: PageRange) -> Stretches<'_> {
        let (low, high) = stretches_of(range);
        self.directory.stretches(low, high)
    }
}

/// Returns the numbers of the first and the last stretch that `range` touches.
fn stretches_of(range: PageRange) -> (u64, u64) {
    (range.first() / STRETCH_PAGES, range.last() / STRETCH_PAGES)
}

/// Returns the first and the last page of a stretch that lie in `range`, counted in the stretch.
///
/// `range` must touch the stretch.
#[inline]
fn within(stretch: u64, range: PageRange) -> (u16, u16) {
    let start = stretch * STRETCH_PAGES;
    let first = range.first().saturating_sub(start);
    let last = (range.last() - start).min(STRETCH_PAGES - 1);
    // CAST: Both are below `STRETCH_PAGES`.
    (first as u16, last as u16)
}
