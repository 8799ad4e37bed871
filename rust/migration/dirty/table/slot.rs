// SPDX-License-Identifier: GPL-2.0-only

//! The dirty pages of one stretch.

use kernel::prelude::*;

use super::{
    bitmap::Bitmap,
    budget::Budget,
    few::{
        Few,
        ROOM, //
    },
    span::Span, //
};

/// The dirty pages of one stretch, in a form that suits their number.
///
/// Up to [`ROOM`] pages need nothing but the slot. A bitmap, also one that needs no bits, takes
/// 8 KiB more: 1/32,768 of the memory that it stands for, and at most 1.2 KiB for a dirty page.
#[derive(Debug)]
pub(super) enum Slot {
    /// A few, or none.
    Few(Few),
    /// More than a few.
    Bitmap(Bitmap),
}

/// A group of slots fills 1 KiB, which the kernel's allocator has.
const _: () = assert!(size_of::<Slot>() == 16);

impl Slot {
    /// No dirty page.
    pub(super) const CLEAN: Self = Self::Few(Few::NONE);

    /// Returns the number of dirty pages.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Few(few) => few.count(),
            Self::Bitmap(bitmap) => bitmap.count(),
        }
    }

    /// Returns the dirty pages if it is known that they are neighbours.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Self::Few(_) => None,
            Self::Bitmap(bitmap) => bitmap.span(),
        }
    }

    /// Marks pages `first` to `last`, by number in the stretch.
    ///
    /// `ENOMEM` without memory or beyond the budget; then nothing has changed.
    pub(super) fn mark(&mut self, first: u16, last: u16, budget: &mut Budget) -> Result {
        match self {
            Self::Bitmap(bitmap) => bitmap.mark(first, last),
            Self::Few(few) => {
                if !few.mark(first, last) {
                    let pages = *few;
                    let mut bitmap = budget.spend(Bitmap::BYTES, Bitmap::new)?;
                    let more = Span { first, last };
                    if pages.pages().iter().all(|page| more.contains(*page)) {
                        bitmap.set_run(more);
                    } else {
                        for page in pages.pages() {
                            bitmap.mark_one(*page);
                        }
                        bitmap.mark(first, last);
                    }
                    *self = Self::Bitmap(bitmap);
                }
            }
        }
        Ok(())
    }

    /// Marks pages `first` to `last` as clean.
    ///
    /// A bitmap that is no longer worth its memory is freed.
    pub(super) fn clear(&mut self, first: u16, last: u16, budget: &mut Budget) {
        let gone = Span { first, last };
        match self {
            Self::Few(few) => few.clear(first, last),
            Self::Bitmap(bitmap) if bitmap.lies_in(gone) => self.replace(Few::NONE, budget),
            Self::Bitmap(bitmap) => {
                bitmap.clear(first, last);
                if usize::try_from(bitmap.count()).is_ok_and(|count| count <= ROOM) {
                    let few = few_of(bitmap);
                    self.replace(few, budget);
                }
            }
        }
    }

    /// Frees the bitmap, for `few` to take its place.
    fn replace(&mut self, few: Few, budget: &mut Budget) {
        *self = Self::Few(few);
        budget.release(Bitmap::BYTES);
    }

    /// Returns the first word with a dirty page, from word `from` on: its number and its bits.
    ///
    /// A word stands for 64 pages.
    #[inline]
    pub(super) fn word_from(&self, from: usize) -> Option<(usize, u64)> {
        match self {
            Self::Few(few) => few.word_from(from),
            Self::Bitmap(bitmap) => bitmap.word_from(from),
        }
    }
}

/// Returns the pages of a bitmap that has at most [`ROOM`] of them.
fn few_of(bitmap: &Bitmap) -> Few {
    let mut few = Few::NONE;
    let mut from = 0u16;
    while let Some((word, mut bits)) = bitmap.word_from(usize::from(from)) {
        // CAST: A word's number is below 1024.
        let word = word as u16;
        while bits != 0 {
            // CAST: Below 64.
            let page = word * 64 + bits.trailing_zeros() as u16;
            few.mark(page, page);
            bits &= bits - 1;
        }
        from = word + 1;
    }
    few
}
