// SPDX-License-Identifier: GPL-2.0-only

//! Neighbouring pages of a stretch.

/// Neighbouring pages of a stretch, at least one, by number in the stretch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    /// The first page.
    pub(super) first: u16,
    /// The last page, not before the first.
    pub(super) last: u16,
}

impl Span {
    /// All pages of a stretch.
    pub(super) const WHOLE: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// Returns the pages `first` to `last`, if there are any.
    pub(super) fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Returns the number of pages.
    pub(super) fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// Returns whether page `page` is one of them.
    #[inline]
    pub(super) fn contains(self, page: u16) -> bool {
        (self.first..=self.last).contains(&page)
    }

    /// Returns whether all of them are in `other`.
    pub(super) fn lies_in(self, other: Self) -> bool {
        other.first <= self.first && self.last <= other.last
    }

    /// Returns the pages of both, if that leaves no gap.
    pub(super) fn with(self, other: Self) -> Option<Self> {
        let touches = |a: Self, b: Self| b.first <= a.last.saturating_add(1);
        (touches(self, other) && touches(other, self)).then_some(Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        })
    }

    /// Returns the pages that are in `other` too, if there are any.
    pub(super) fn part_in(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// Returns the pages before those of `other`, if there are any.
    pub(super) fn before(self, other: Self) -> Option<Self> {
        Self::new(self.first, self.last.min(other.first.checked_sub(1)?))
    }

    /// Returns the pages after those of `other`, if there are any.
    pub(super) fn after(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.last.checked_add(1)?), self.last)
    }

    /// Returns the first word with one of the pages, from word `from` on: its number and its bits.
    ///
    /// A word stands for 64 pages.
    pub(super) fn word_from(self, from: usize) -> Option<(usize, u64)> {
        let (low, high) = (usize::from(self.first / 64), usize::from(self.last / 64));
        let word = from.max(low);
        let first = if word == low { self.first % 64 } else { 0 };
        let last = if word == high { self.last % 64 } else { 63 };
        (word <= high).then(|| (word, between(first, last)))
    }
}

/// Returns a word with the bits `first` to `last`, which are below 64.
pub(super) fn between(first: u16, last: u16) -> u64 {
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}
