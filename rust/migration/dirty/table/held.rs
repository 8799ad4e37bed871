// SPDX-License-Identifier: GPL-2.0-only

//! The bitmap that marks of neighbouring pages go to.

use core::mem;

use super::{
    bitmap::BLOCK_SHIFT,
    slot::Slot,
    STRETCH_PAGES, //
};

/// Pages in a block.
const BLOCK_PAGES: u64 = 1 << BLOCK_SHIFT;

/// Pages between two that may make a table hold their block.
///
/// To hold a block and to give it back takes about as long as a hundred marks. If each run of
/// neighbouring pages is shorter than this, few of them pay for it.
const STEP: u64 = 256;

/// A slot that was taken out of its group, so that a mark finds it without a look-up.
///
/// The group keeps an empty slot in its place, and nobody looks at that one.
#[derive(Debug)]
pub(super) struct Held {
    /// The block that the held bitmap has open, counted from the start of the address space;
    /// [`Held::NONE`] if no slot is held.
    block: u64,
    /// A bitmap, or an empty slot if none is held.
    slot: Slot,
    /// The page that was marked last, unless it is in the block.
    last: u64,
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

impl Held {
    /// No block: pages have numbers below 2^52.
    const NONE: u64 = u64::MAX;

    /// Returns a place that holds nothing.
    pub(super) const fn new() -> Self {
        Self {
            block: Self::NONE,
            slot: Slot::CLEAN,
            last: Self::NONE,
        }
    }

    /// Marks page `page` if it is in the open block; returns whether it is.
    #[inline]
    pub(super) fn mark(&mut self, page: u64) -> bool {
        if page >> BLOCK_SHIFT != self.block {
            return false;
        }
        let Slot::Bitmap(bitmap) = &mut self.slot else {
            return false;
        };
        // CAST: The page's number in its stretch.
        bitmap.mark_open(page as u16);
        true
    }

    /// Notes that page `page`, not in the open block, was marked; returns whether to hold its slot.
    #[inline]
    pub(super) fn follow(&mut self, page: u64) -> bool {
        let before = self.last;
        self.last = page;
        page % STEP == 0
            && (page == before.wrapping_add(1)
                || page == self.block.wrapping_add(1).wrapping_mul(BLOCK_PAGES))
    }

    /// Returns the number of the stretch whose slot is held, and the slot.
    #[inline]
    pub(super) fn slot(&self) -> Option<(u64, &Slot)> {
        let stretch = self.block / (STRETCH_PAGES / BLOCK_PAGES);
        (self.block != Self::NONE).then_some((stretch, &self.slot))
    }

    /// Takes the bitmap in `slot` and opens the block of page `page`.
    ///
    /// Does nothing if `slot` has no bitmap, or if one is held already.
    pub(super) fn take(&mut self, slot: &mut Slot, page: u64) {
        if self.block != Self::NONE {
            return;
        }
        if let Slot::Bitmap(bitmap) = slot {
            // CAST: The page's number in its stretch.
            bitmap.open(page as u16);
            mem::swap(slot, &mut self.slot);
            self.block = page >> BLOCK_SHIFT;
        }
    }

    /// Gives the held bitmap back to `slot`, where it was taken.
    pub(super) fn give_back(&mut self, slot: &mut Slot) {
        if let Slot::Bitmap(bitmap) = &mut self.slot {
            bitmap.close();
            mem::swap(slot, &mut self.slot);
        }
        self.block = Self::NONE;
    }
}
