// SPDX-License-Identifier: GPL-2.0-only

//! A directory of the stretches with dirty pages.
//!
//! 64 neighbouring stretches, 16 GiB of memory, make a group, an array of slots. A group exists
//! while one of its stretches has a dirty page. The groups stand in a vector sorted by address, and
//! nothing is kept for the space between them.

use kernel::prelude::*;

use super::{
    budget::Budget,
    held::Held,
    slot::Slot,
    STRETCH_PAGES, //
};

/// Stretches in a group.
const GROUP: u64 = 64;

/// A group and where it belongs.
#[derive(Debug)]
struct Entry {
    /// Number of the group: that of its first stretch, divided by [`GROUP`].
    number: u64,
    /// A bit for each stretch, set if one of its pages is dirty. Not 0, unless memory was short.
    occupied: u64,
    /// The stretches.
    slots: KBox<[Slot; GROUP as usize]>,
}

/// Bytes that a group takes; the vector may have room for twice its entries.
const GROUP_BYTES: usize = size_of::<[Slot; GROUP as usize]>() + 2 * size_of::<Entry>();

/// The groups in ascending order.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// One entry for each group.
    entries: KVVec<Entry>,
    /// Place of the group that was looked up last; a guess that is always checked.
    hint: usize,
    /// A slot of one of the groups. What needs the slot in its place calls
    /// [`Directory::give_back`] first; what only looks finds it by [`Stretches`].
    held: Held,
}

impl Directory {
    /// Returns a directory without groups; allocates nothing.
    pub(super) const fn new() -> Self {
        Self {
            entries: KVVec::new(),
            hint: 0,
            held: Held::new(),
        }
    }

    /// Marks page `page` if it is near one that was marked before; returns whether it is.
    #[inline]
    pub(super) fn mark_held(&mut self, page: u64) -> bool {
        self.held.mark(page)
    }

    /// Marks page `page` if its stretch is found at once and has a bitmap, or has the page marked.
    ///
    /// Returns false if the page may still be clean.
    #[inline]
    pub(super) fn mark_near(&mut self, page: u64) -> bool {
        let stretch = page / STRETCH_PAGES;
        let number = stretch / GROUP;
        if !self.is_at(self.hint, number) {
            self.hint = self.guess(number);
        }
        let Some(entry) = self.entries.get_mut(self.hint) else {
            return false;
        };
        if entry.number != number {
            return false;
        }
        // CAST: Below 64, and the page's number in its stretch.
        let (index, within) = ((stretch % GROUP) as usize, page as u16);
        match &mut entry.slots[index] {
            Slot::Bitmap(bitmap) => match bitmap.run() {
                None => bitmap.mark_one(within),
                Some(run) => return run.contains(within),
            },
            Slot::Few(_) => return false,
        }
        if self.held.follow(page) {
            self.hold(page);
        }
        true
    }

    /// Holds the slot of page `page`, unless it has no bitmap.
    #[inline(never)]
    fn hold(&mut self, page: u64) {
        self.give_back();
        let stretch = page / STRETCH_PAGES;
        if let Some(slot) = slot_of(&mut self.entries, self.hint, stretch) {
            self.held.take(slot, page);
        }
    }

    /// Puts the held slot back into its group.
    pub(super) fn give_back(&mut self) {
        let Some((stretch, _)) = self.held.slot() else {
            return;
        };
        // A group with a dirty page is always there.
        if let Ok(place) = self.place(stretch / GROUP) {
            if let Some(slot) = slot_of(&mut self.entries, place, stretch) {
                self.held.give_back(slot);
            }
        }
    }

    /// Marks pages `first` to `last` of stretch `stretch`.
    ///
    /// `ENOMEM` without memory or beyond the budget; then no page is marked.
    pub(super) fn mark(
        &mut self,
        stretch: u64,
        first: u16,
        last: u16,
        budget: &mut Budget,
    ) -> Result {
        if self.held.slot().is_some_and(|(held, _)| held == stretch) {
            self.give_back();
        }
        let number = stretch / GROUP;
        if !self.is_at(self.hint, number) {
            self.hint = self.place_or_insert(number, budget)?;
        }
        let entry = self.entries.get_mut(self.hint).ok_or(EINVAL)?;
        let index = stretch % GROUP;
        // CAST: Below 64.
        entry.slots[index as usize].mark(first, last, budget)?;
        entry.occupied |= 1 << index;
        let page = stretch * STRETCH_PAGES + u64::from(last);
        if self.held.follow(page) {
            self.hold(page);
        }
        Ok(())
    }

    /// Returns whether the group at `place` is number `number`.
    #[inline]
    fn is_at(&self, place: usize, number: u64) -> bool {
        let entry = self.entries.get(place);
        entry.is_some_and(|entry| entry.number == number)
    }

    /// Returns the place of group `number` if no group before it is missing.
    #[inline]
    fn guess(&self, number: u64) -> usize {
        let first = self.entries.first().map_or(0, |entry| entry.number);
        usize::try_from(number.wrapping_sub(first)).unwrap_or(usize::MAX)
    }

    /// Returns the place of group `number`, or the place to insert it at.
    fn place(&self, number: u64) -> Result<usize, usize> {
        let guess = self.guess(number);
        if self.is_at(guess, number) {
            return Ok(guess);
        }
        self.entries
            .binary_search_by_key(&number, |entry| entry.number)
    }

    /// Returns the place of group `number`; inserts it if it is missing.
    #[inline(never)]
    fn place_or_insert(&mut self, number: u64, budget: &mut Budget) -> Result<usize> {
        let at = match self.place(number) {
            Ok(at) => return Ok(at),
            Err(at) => at,
        };
        budget.spend(GROUP_BYTES, || {
            let slots = KBox::new([const { Slot::CLEAN }; GROUP as usize], GFP_KERNEL_ACCOUNT)?;
            self.entries.reserve(1, GFP_KERNEL_ACCOUNT)?;
            self.entries.insert_within_capacity(
                at,
                Entry {
                    number,
                    occupied: 0,
                    slots,
                },
            )?;
            Ok(at)
        })
    }

    /// Calls `change` for the stretches `low` to `high` that have dirty pages, in ascending order.
    ///
    /// Frees the groups that have no dirty page left.
    pub(super) fn retain(
        &mut self,
        low: u64,
        high: u64,
        budget: &mut Budget,
        mut change: impl FnMut(u64, &mut Slot, &mut Budget),
    ) {
        self.give_back();
        let from = self.place(low / GROUP).unwrap_or_else(|at| at);
        let mut emptied = 0;
        for entry in self.entries.get_mut(from..).unwrap_or_default() {
            let start = entry.number * GROUP;
            if start > high {
                break;
            }
            for index in bits(entry.occupied & within(entry.number, low, high)) {
                // CAST: Below 64.
                let slot = &mut entry.slots[index as usize];
                change(start + index, slot, budget);
                if slot.count() == 0 {
                    entry.occupied &= !(1 << index);
                }
            }
            emptied += usize::from(entry.occupied == 0);
        }
        if emptied > 0 {
            let before = self.entries.len();
            self.entries.retain(|entry| entry.occupied != 0);
            budget.release((before - self.entries.len()) * GROUP_BYTES);
        }
        if self.entries.is_empty() {
            self.entries = KVVec::new();
        }
    }

    /// Returns whether every group lies in the stretches `low` to `high`.
    pub(super) fn lies_in(&self, low: u64, high: u64) -> bool {
        match (self.entries.first(), self.entries.last()) {
            (Some(first), Some(last)) => {
                first.number * GROUP >= low && last.number * GROUP + (GROUP - 1) <= high
            }
            _ => true,
        }
    }

    /// Returns the stretches `low` to `high` that have dirty pages, in ascending order.
    pub(super) fn stretches(&self, low: u64, high: u64) -> Stretches<'_> {
        let from = self.place(low / GROUP).unwrap_or_else(|at| at);
        Stretches {
            entries: self.entries.get(from..).unwrap_or_default(),
            left: None,
            held: self.held.slot(),
            low,
            high,
        }
    }
}

/// Stretches with dirty pages; see [`Directory::stretches`].
#[derive(Clone, Debug)]
pub(super) struct Stretches<'a> {
    /// The current group and those after it.
    entries: &'a [Entry],
    /// The stretches that are left of the current group, if it was begun.
    left: Option<u64>,
    /// The slot that is not in its group, and the number of its stretch.
    held: Option<(u64, &'a Slot)>,
    /// First stretch.
    low: u64,
    /// Last stretch.
    high: u64,
}

impl<'a> Iterator for Stretches<'a> {
    type Item = (u64, &'a Slot);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (entry, rest) = self.entries.split_first()?;
            let left = self
                .left
                .unwrap_or_else(|| entry.occupied & within(entry.number, self.low, self.high));
            if let Some(index) = bits(left).next() {
                self.left = Some(left & (left - 1));
                let stretch = entry.number * GROUP + index;
                let held = self.held.filter(|(held, _)| *held == stretch);
                // CAST: Below 64.
                return Some(held.unwrap_or((stretch, &entry.slots[index as usize])));
            }
            if entry.number * GROUP > self.high {
                return None;
            }
            self.entries = rest;
            self.left = None;
        }
    }
}

/// Returns the slot of stretch `stretch` in the group at `place`.
fn slot_of(entries: &mut [Entry], place: usize, stretch: u64) -> Option<&mut Slot> {
    let entry = entries.get_mut(place)?;
    // CAST: Below 64.
    entry.slots.get_mut((stretch % GROUP) as usize)
}

/// Returns the bits of a group's stretches that are among `low` to `high`.
fn within(number: u64, low: u64, high: u64) -> u64 {
    let start = number * GROUP;
    if high < start || low >= start + GROUP {
        return 0;
    }
    let first = low.saturating_sub(start);
    let last = (high - start).min(GROUP - 1);
    (u64::MAX << first) & (u64::MAX >> (GROUP - 1 - last))
}

/// Returns the numbers of the bits that are set, in ascending order.
fn bits(mut word: u64) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        let lowest = (word != 0).then(|| u64::from(word.trailing_zeros()))?;
        word &= word - 1;
        Some(lowest)
    })
}
