// SPDX-License-Identifier: GPL-2.0-only

//! A set of pages over the whole 64-bit address space.
//!
//! The space is cut into stretches of [`LEAF_PAGES`] pages. A stretch with at least one dirty page
//! has a leaf, a small bitmap; the leaves stand in a vector sorted by address. A leaf whose last
//! page was cleared is freed, so nothing is kept, and nothing is looked at, where nothing is dirty.

mod leaf;

use kernel::prelude::*;

use super::BitmapSink;
use crate::iova::{
    PageRange,
    PAGES, //
};
use leaf::{
    Leaf,
    WORDS, //
};

pub use leaf::LEAF_PAGES;

/// Most leaves that a table has, the bound of its memory.
///
/// A leaf is 64 bytes and 16 more in the vector: at most 20 MiB, and up to 40 MiB for a moment
/// while the vector grows. Enough for 512 GiB of dirty memory in one piece and for 262,144 dirty
/// pages in the most awkward places.
pub const MAX_LEAVES: usize = 1 << 18;

/// A leaf and where it belongs.
#[derive(Debug)]
struct Entry {
    /// Number of the leaf's stretch: that of its first page, divided by [`LEAF_PAGES`].
    index: u64,
    /// The pages of the stretch; at least one is dirty.
    leaf: KBox<Leaf>,
}

/// A set of dirty pages.
///
/// Never loses a page: where memory is short or [`MAX_LEAVES`] is reached, every page of the
/// address space counts as dirty from then on, whatever is cleared. Only a new table ends that.
#[derive(Debug, Default)]
pub struct DirtyTable {
    /// The leaves in ascending order.
    entries: KVVec<Entry>,
    /// Every page counts as dirty; then there are no leaves.
    everything: bool,
}

impl DirtyTable {
    /// Returns an empty table; allocates nothing.
    pub const fn new() -> Self {
        Self {
            entries: KVVec::new(),
            everything: false,
        }
    }

    /// Returns whether the table gave up telling pages apart and calls all of them dirty.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Marks the pages of `range` as dirty.
    pub fn mark(&mut self, range: PageRange) {
        if self.everything {
            return;
        }
        if self.try_mark(range).is_err() {
            self.everything = true;
            self.entries = KVVec::new();
        }
    }

    /// Marks the pages of `range`; may have marked a part of them when it fails.
    fn try_mark(&mut self, range: PageRange) -> Result {
        let (low, high) = (range.first() / LEAF_PAGES, range.last() / LEAF_PAGES);
        if high - low >= u64::try_from(MAX_LEAVES)? {
            return Err(ENOMEM);
        }

        let places = self.position(low)..;
        for (index, at) in (low..=high).zip(places) {
            if self.entries.get(at).map(|entry| entry.index) != Some(index) {
                if self.entries.len() >= MAX_LEAVES {
                    return Err(ENOMEM);
                }
                let leaf = KBox::new(Leaf::new(), GFP_KERNEL)?;
                self.entries.reserve(1, GFP_KERNEL)?;
                self.entries
                    .insert_within_capacity(at, Entry { index, leaf })?;
            }
            if let Some(entry) = self.entries.get_mut(at) {
                let (first, last) = within(index, range);
                entry.leaf.mark(first, last);
            }
        }
        Ok(())
    }

    /// Marks the pages of `range` as clean, unless every page counts as dirty.
    pub fn clear(&mut self, range: PageRange) {
        let (low, high) = (range.first() / LEAF_PAGES, range.last() / LEAF_PAGES);
        let (from, to) = (self.position(low), self.position(high + 1));
        let mut emptied = false;
        for entry in self.entries.get_mut(from..to).unwrap_or_default() {
            let (first, last) = within(entry.index, range);
            entry.leaf.clear(first, last);
            emptied |= entry.leaf.is_empty();
        }
        if emptied {
            self.entries.retain(|entry| !entry.leaf.is_empty());
        }
        if self.entries.is_empty() {
            self.entries = KVVec::new();
        }
    }

    /// Writes a bitmap of the pages of `range` to `sink`, without clearing any.
    ///
    /// The bitmap is little-endian, bit 0 of byte 0 for the first page, and fills whole bytes; bits
    /// beyond the range are 0. An error of `sink` ends it and is returned.
    pub fn bitmap(&self, range: PageRange, sink: &mut BitmapSink<'_>) -> Result {
        let mut left = range.count();
        let mut word = range.first() / 64;
        let shift = range.first() % 64;
        let mut at = self.position(range.first() / LEAF_PAGES);
        let mut low = self.word(&mut at, word);
        let mut offset = 0usize;

        while left > 0 {
            let mut bytes = [0; 8 * WORDS];
            let mut filled = 0;
            for chunk in bytes.chunks_exact_mut(8) {
                if left == 0 {
                    break;
                }
                word += 1;
                let high = self.word(&mut at, word);
                let pages = left.min(64);
                let bits = join(low, high, shift) & (u64::MAX >> (64 - pages));
                chunk.copy_from_slice(&bits.to_le_bytes());
                low = high;
                left -= pages;
                filled += usize::try_from(pages.div_ceil(8))?;
            }
            sink(offset, bytes.get(..filled).ok_or(EINVAL)?)?;
            offset = offset.checked_add(filled).ok_or(EOVERFLOW)?;
        }
        Ok(())
    }

    /// Returns whether at least one page of `range` is dirty.
    pub fn any_in(&self, range: PageRange) -> bool {
        let (low, high) = (range.first() / LEAF_PAGES, range.last() / LEAF_PAGES);
        let (from, to) = (self.position(low), self.position(high + 1));
        let entries = self.entries.get(from..to).unwrap_or_default();
        self.everything
            || entries.iter().any(|entry| {
                let (first, last) = within(entry.index, range);
                entry.leaf.any_in(first, last)
            })
    }

    /// Returns the number of dirty pages.
    pub fn count(&self) -> u64 {
        if self.everything {
            return PAGES;
        }
        self.entries.iter().map(|entry| entry.leaf.count()).sum()
    }

    /// Returns the dirty pages in ascending order, as ranges that do not touch.
    pub fn ranges(&self) -> Ranges<'_> {
        Ranges {
            table: self,
            page: 0,
            at: 0,
        }
    }

    /// Returns the place of the first entry whose index is not below `index`.
    fn position(&self, index: u64) -> usize {
        self.entries.partition_point(|entry| entry.index < index)
    }

    /// Returns the bits of the 64 pages from page `64 * word` on.
    ///
    /// `at` is a place in the entries not after that of the word's leaf; it is moved on.
    fn word(&self, at: &mut usize, word: u64) -> u64 {
        if self.everything {
            return u64::MAX;
        }
        let index = word / (LEAF_PAGES / 64);
        while let Some(entry) = self.entries.get(*at) {
            if entry.index == index {
                return entry.leaf.word(word % (LEAF_PAGES / 64));
            }
            if entry.index > index {
                break;
            }
            *at += 1;
        }
        0
    }
}

/// Returns the first and the last page of leaf `index` that lie in `range`, counted in the leaf.
///
/// `range` must touch the leaf.
fn within(index: u64, range: PageRange) -> (u64, u64) {
    let start = index * LEAF_PAGES;
    (
        range.first().saturating_sub(start),
        (range.last() - start).min(LEAF_PAGES - 1),
    )
}

/// Returns 64 bits of the 128 in `low` and `high`, from bit `shift` on, which is below 64.
fn join(low: u64, high: u64, shift: u64) -> u64 {
    match shift {
        0 => low,
        shift => (low >> shift) | (high << (64 - shift)),
    }
}

/// The dirty pages of a table as ranges; see [`DirtyTable::ranges`].
#[derive(Debug)]
pub struct Ranges<'a> {
    /// The table that is walked.
    table: &'a DirtyTable,
    /// First page that was not looked at yet.
    page: u64,
    /// Place of the first entry that may hold it.
    at: usize,
}

impl Ranges<'_> {
    /// Moves to the first page, from the current one on, that is dirty or not as `dirty` asks.
    ///
    /// `None` where there is no such page; looking for a clean one ends at [`PAGES`] at the latest.
    fn seek(&mut self, dirty: bool) -> Option<u64> {
        loop {
            let Some(entry) = self.table.entries.get(self.at) else {
                return if dirty { None } else { Some(self.page) };
            };
            let start = entry.index * LEAF_PAGES;
            if self.page < start {
                if !dirty {
                    return Some(self.page);
                }
                self.page = start;
            }
            if let Some(found) = entry.leaf.find(self.page - start, dirty) {
                self.page = start + found;
                return Some(self.page);
            }
            self.page = start + LEAF_PAGES;
            self.at += 1;
        }
    }
}

impl Iterator for Ranges<'_> {
    type Item = PageRange;

    fn next(&mut self) -> Option<PageRange> {
        if self.table.everything {
            let first = core::mem::replace(&mut self.page, PAGES);
            return (first == 0).then_some(PageRange::EVERYTHING);
        }
        let first = self.seek(true)?;
        let end = self.seek(false)?;
        PageRange::new(first, end - first).ok()
    }
}
