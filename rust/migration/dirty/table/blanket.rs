// SPDX-License-Identifier: GPL-2.0-only

//! Parts of the address space all of whose pages count as dirty.
//!
//! A table takes these pages for dirty because it could not tell them apart: at first the whole
//! space, then the parts of it that no query has reported yet.

use crate::iova::PageRange;

/// Most pieces. A range whose clearing would make more is not cleared.
const MOST: usize = 32;

/// Pages that count as dirty, in ascending pieces that do not touch.
#[derive(Debug)]
pub(super) struct Blanket {
    /// The pieces; those from `len` on are `None`.
    pieces: [Option<PageRange>; MOST],
    /// Number of pieces.
    len: usize,
}

impl Default for Blanket {
    fn default() -> Self {
        Self::new()
    }
}

impl Blanket {
    /// Returns a blanket over no page.
    pub(super) const fn new() -> Self {
        Self {
            pieces: [None; MOST],
            len: 0,
        }
    }

    /// Returns a blanket over all pages.
    pub(super) fn whole() -> Self {
        let mut whole = Self::new();
        whole.pieces[0] = Some(PageRange::EVERYTHING);
        whole.len = 1;
        whole
    }

    /// Returns whether no page is under it.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the parts of `range` that are under it, in ascending order.
    pub(super) fn within(&self, range: PageRange) -> Pieces<'_> {
        Pieces {
            pieces: self.pieces.get(..self.len).unwrap_or_default(),
            range,
        }
    }

    /// Returns the first pages of `range` that are not under it, up to the next that is.
    pub(super) fn gap(&self, range: PageRange) -> Option<PageRange> {
        let mut first = range.first();
        for piece in self.within(range) {
            if piece.first() > first {
                return PageRange::new(first, piece.first() - first).ok();
            }
            // No overflow: a page's number is far below the largest.
            first = piece.last() + 1;
        }
        PageRange::new(first, (range.last() + 1).checked_sub(first)?).ok()
    }

    /// Removes `range`, unless that would leave too many pieces.
    pub(super) fn clear(&mut self, range: PageRange) {
        let mut left = Self::new();
        for piece in self.pieces.iter().take(self.len).flatten() {
            let parts = [piece.before(range.first()), piece.after(range.last())];
            for part in parts.into_iter().flatten() {
                let Some(place) = left.pieces.get_mut(left.len) else {
                    return;
                };
                *place = Some(part);
                left.len += 1;
            }
        }
        *self = left;
    }
}

/// The parts of a range that a blanket covers; see [`Blanket::within`].
#[derive(Clone, Debug)]
pub(super) struct Pieces<'a> {
    pieces: &'a [Option<PageRange>],
    range: PageRange,
}

impl Iterator for Pieces<'_> {
    type Item = PageRange;

    fn next(&mut self) -> Option<PageRange> {
        loop {
            let (piece, rest) = self.pieces.split_first()?;
            self.pieces = rest;
            if let Some(part) = piece.and_then(|piece| piece.part_in(self.range)) {
                return Some(part);
            }
        }
    }
}
