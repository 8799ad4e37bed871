// SPDX-License-Identifier: GPL-2.0-only

//! The bitmap of one short stretch of pages.

/// Words of 64 pages in a leaf.
pub(super) const WORDS: usize = 8;

/// Pages that a leaf stands for: 2 MiB of guest memory.
pub const LEAF_PAGES: u64 = 512;

/// One bit for each of [`LEAF_PAGES`] pages.
#[derive(Debug)]
pub(super) struct Leaf([u64; WORDS]);

impl Leaf {
    /// Returns a leaf with no dirty page.
    pub(super) const fn new() -> Self {
        Self([0; WORDS])
    }

    /// Returns each word with the bits of it that stand for pages `first` to `last`.
    fn masked(&mut self, first: u64, last: u64) -> impl Iterator<Item = (&mut u64, u64)> {
        let masks = (0u64..)
            .step_by(64)
            .map(move |base| mask(base, first, last));
        self.0.iter_mut().zip(masks)
    }

    /// Marks pages `first` to `last` as dirty.
    pub(super) fn mark(&mut self, first: u64, last: u64) {
        for (word, mask) in self.masked(first, last) {
            *word |= mask;
        }
    }

    /// Marks pages `first` to `last` as clean.
    pub(super) fn clear(&mut self, first: u64, last: u64) {
        for (word, mask) in self.masked(first, last) {
            *word &= !mask;
        }
    }

    /// Returns whether one of the pages `first` to `last` is dirty.
    pub(super) fn any_in(&self, first: u64, last: u64) -> bool {
        let bases = (0u64..).step_by(64);
        self.0
            .iter()
            .zip(bases)
            .any(|(word, base)| word & mask(base, first, last) != 0)
    }

    /// Returns whether no page is dirty.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Returns the number of dirty pages.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Returns the bits of the 64 pages from page `64 * index` on.
    pub(super) fn word(&self, index: u64) -> u64 {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.0.get(index))
            .copied()
            .unwrap_or_default()
    }

    /// Returns the first page, from `page` on, that is dirty or not as `dirty` asks.
    pub(super) fn find(&self, page: u64, dirty: bool) -> Option<u64> {
        let bases = (0u64..).step_by(64);
        self.0.iter().zip(bases).find_map(|(word, base)| {
            let wanted = if dirty { *word } else { !*word };
            let wanted = wanted & mask(base, page, LEAF_PAGES - 1);
            (wanted != 0).then(|| base + u64::from(wanted.trailing_zeros()))
        })
    }
}

/// Returns the bits that pages `first` to `last` have in the word whose first page is `base`.
fn mask(base: u64, first: u64, last: u64) -> u64 {
    if last < base || first >= base + 64 {
        return 0;
    }
    let low = first.saturating_sub(base);
    let high = (last - base).min(63);
    (u64::MAX << low) & (u64::MAX >> (63 - high))
}
