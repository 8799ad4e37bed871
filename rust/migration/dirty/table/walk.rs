// SPDX-License-Identifier: GPL-2.0-only

//! The dirty pages of a range in ascending order.

use super::{
    bitmap::WORDS,
    blanket::Pieces,
    directory::Stretches,
    slot::Slot,
    span::Span, //
};
use crate::iova::PageRange;

/// The dirty pages of a range, 64 at a time: the number of the word and its bits, not 0.
#[derive(Clone, Debug)]
pub(super) struct Words<'a> {
    /// The stretches after the current one.
    stretches: Stretches<'a>,
    /// The current stretch: its number and pages.
    current: Option<(u64, &'a Slot)>,
    /// The words of the current stretch that are known to be all ones end before this one.
    ones_end: usize,
    /// First word of the current stretch that is still to be looked at.
    cursor: usize,
    /// The range.
    range: PageRange,
}

impl<'a> Words<'a> {
    /// Returns the words of `range`, which touches `stretches`.
    pub(super) fn new(stretches: Stretches<'a>, range: PageRange) -> Self {
        Self {
            stretches,
            current: None,
            ones_end: 0,
            cursor: 0,
            range,
        }
    }

    /// Passes over words all of whose pages are dirty, and returns how many.
    ///
    /// The word that was returned last must have its last page dirty. The words are those that
    /// follow it and need not be looked at, so there may be more of them.
    fn pass(&mut self) -> u64 {
        let Some((stretch, _)) = self.current else {
            return 0;
        };
        // The last word of the range may have pages beyond it.
        let limit = (self.range.last() / 64).saturating_sub(stretch * WORDS as u64);
        let end = usize::try_from(limit).map_or(self.ones_end, |limit| limit.min(self.ones_end));
        let count = end.saturating_sub(self.cursor);
        self.cursor += count;
        count as u64
    }
}

impl Iterator for Words<'_> {
    type Item = (u64, u64);

    #[inline]
    fn next(&mut self) -> Option<(u64, u64)> {
        let (low, high) = (self.range.first() / 64, self.range.last() / 64);
        loop {
            let found = match self.current {
                Some((stretch, slot)) => {
                    let found = slot.word_from(self.cursor);
                    found.map(|(index, bits)| (stretch, index, bits))
                }
                None => None,
            };
            let Some((stretch, index, mut bits)) = found else {
                let (stretch, slot) = self.stretches.next()?;
                let skipped = low.saturating_sub(stretch * WORDS as u64);
                // CAST: The stretch is among those of the range, so that is less than its words.
                self.cursor = skipped as usize;
                self.current = Some((stretch, slot));
                let whole = |span: Span| (usize::from(span.last) + 1) / 64;
                self.ones_end = slot.span().map_or(0, whole);
                continue;
            };
            self.cursor = index + 1;
            let word = stretch * WORDS as u64 + index as u64;
            if word >= high {
                if word > high {
                    self.cursor = WORDS;
                    continue;
                }
                bits &= u64::MAX >> (63 - self.range.last() % 64);
            }
            if word == low {
                bits &= u64::MAX << (self.range.first() % 64);
            }
            if bits != 0 {
                return Some((word, bits));
            }
        }
    }
}

/// The dirty pages in words as ranges that do not touch, in ascending order.
#[derive(Clone, Debug)]
struct Runs<'a> {
    /// The words after the current one.
    words: Words<'a>,
    /// Number of the current word.
    word: u64,
    /// Bits of the current word that are still to be returned.
    bits: u64,
}

impl Iterator for Runs<'_> {
    type Item = PageRange;

    fn next(&mut self) -> Option<PageRange> {
        let words = &mut self.words;
        if self.bits == 0 {
            (self.word, self.bits) = words.next()?;
        }
        let low = self.bits.trailing_zeros();
        let first = self.word * 64 + u64::from(low);
        let mut ones = low + (self.bits >> low).trailing_ones();
        while ones == 64 {
            // The run reaches the end of the word and may go on in the next one.
            let ended = self.word + words.pass();
            self.bits = 0;
            match words.next() {
                Some((word, bits)) => {
                    self.word = word;
                    self.bits = bits;
                    if word != ended + 1 || bits & 1 == 0 {
                        return PageRange::new(first, (ended + 1) * 64 - first).ok();
                    }
                    ones = bits.trailing_ones();
                }
                None => return PageRange::new(first, (ended + 1) * 64 - first).ok(),
            }
        }
        self.bits &= u64::MAX << ones;
        PageRange::new(first, self.word * 64 + u64::from(ones) - first).ok()
    }
}

/// Dirty pages as ranges that do not touch, in ascending order; see
/// [`DirtyTable::ranges`](super::DirtyTable::ranges).
#[derive(Clone, Debug)]
pub struct Ranges<'a> {
    /// The pages that are told apart.
    runs: Runs<'a>,
    /// The first of the runs that is still to be returned.
    run: Option<PageRange>,
    /// The pages that are not told apart; no run has one of them.
    pieces: Pieces<'a>,
    /// The first of the pieces that is still to be returned.
    piece: Option<PageRange>,
}

impl<'a> Ranges<'a> {
    /// Returns the ranges in `words` and in `pieces`.
    pub(super) fn of(words: Words<'a>, mut pieces: Pieces<'a>) -> Self {
        let mut runs = Runs {
            words,
            word: 0,
            bits: 0,
        };
        Self {
            run: runs.next(),
            runs,
            piece: pieces.next(),
            pieces,
        }
    }

    /// Takes the next range of either kind. If `before` is given, only a range that touches it is
    /// taken.
    #[inline]
    fn take(&mut self, before: Option<PageRange>) -> Option<PageRange> {
        let fits = |range: &PageRange| before.is_none_or(|it| it.last() + 1 == range.first());
        let is_run = match (self.run, self.piece) {
            (Some(run), Some(piece)) => run.first() < piece.first(),
            (run, _) => run.is_some(),
        };
        if is_run {
            let run = self.run.filter(fits)?;
            self.run = self.runs.next();
            return Some(run);
        }
        let piece = self.piece.filter(fits)?;
        self.piece = self.pieces.next();
        Some(piece)
    }
}

impl Iterator for Ranges<'_> {
    type Item = PageRange;

    #[inline]
    fn next(&mut self) -> Option<PageRange> {
        let mut range = self.take(None)?;
        while let Some(more) = self.take(Some(range)) {
            range = PageRange::new(range.first(), more.last() - range.first() + 1).ok()?;
        }
        Some(range)
    }
}
