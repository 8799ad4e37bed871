// SPDX-License-Identifier: GPL-2.0-only

//! Which pages were written when.

use std::collections::BTreeMap;
use std::time::Duration;

use migration::dirty::table::DirtyTable;
use migration::iova::{PageRange, PAGES};

/// Most slices of time; with more, two become one.
const MAX_SLICES: usize = 2048;
/// Most counters; with more, pages are counted two by two, then four by four, and so on.
const MAX_COUNTERS: usize = 1 << 18;
/// Most counters of one write.
const MAX_COUNTERS_OF_WRITE: u64 = 1 << 16;

/// Counts of pages by address and time.
///
/// Its memory is bounded: what does not fit makes it coarser, and no page is left out. The number
/// of pages is always exact.
#[derive(Debug)]
pub struct History {
    /// Length of a slice of time.
    slice: Duration,
    /// For each slice the number of pages written, by page number without the `shift` lowest bits.
    slices: Vec<BTreeMap<u64, u64>>,
    shift: u32,
    /// Counters in all slices.
    counters: usize,
    writes: u64,
    pages: u64,
    touched: DirtyTable,
}

impl History {
    /// An empty history that tells times apart which differ by `slice`.
    pub fn new(slice: Duration) -> Self {
        Self {
            slice,
            slices: Vec::new(),
            shift: 0,
            counters: 0,
            writes: 0,
            pages: 0,
            touched: DirtyTable::new(),
        }
    }

    /// Counts pages that the device wrote.
    pub fn add(&mut self, time: Duration, pages: PageRange) {
        self.writes += 1;
        self.pages = self.pages.saturating_add(pages.count());
        self.touched.mark(pages);
        while (pages.last() >> self.shift) - (pages.first() >> self.shift) >= MAX_COUNTERS_OF_WRITE
        {
            self.merge_pages();
        }
        let slice = self.slice_at(time);
        let counters = &mut self.slices[slice];
        let before = counters.len();
        for block in pages.first() >> self.shift..=pages.last() >> self.shift {
            let first = pages.first().max(block << self.shift);
            let last = pages
                .last()
                .min((block << self.shift) + (1 << self.shift) - 1);
            let count = counters.entry(block).or_default();
            *count = count.saturating_add(last - first + 1);
        }
        self.counters += counters.len() - before;
        while self.counters > MAX_COUNTERS {
            self.merge_pages();
        }
    }

    /// Returns the slice of a time; adds it, and all before it, if needed.
    fn slice_at(&mut self, time: Duration) -> usize {
        loop {
            let slice = time.as_nanos() / self.slice.as_nanos();
            match usize::try_from(slice) {
                Ok(slice) if slice < MAX_SLICES => {
                    if slice >= self.slices.len() {
                        self.slices.resize_with(slice + 1, BTreeMap::new);
                    }
                    return slice;
                }
                _ => self.merge_slices(),
            }
        }
    }

    /// Joins slices two by two.
    fn merge_slices(&mut self) {
        self.slice *= 2;
        let mut merged: Vec<BTreeMap<u64, u64>> = Vec::new();
        for (n, slice) in std::mem::take(&mut self.slices).into_iter().enumerate() {
            match merged.last_mut() {
                Some(last) if n % 2 == 1 => add_all(last, slice),
                _ => merged.push(slice),
            }
        }
        self.slices = merged;
        self.counters = self.slices.iter().map(BTreeMap::len).sum();
    }

    /// Counts twice as many pages together.
    fn merge_pages(&mut self) {
        self.shift += 1;
        for slice in &mut self.slices {
            let finer = std::mem::take(slice);
            add_all(
                slice,
                finer.into_iter().map(|(block, count)| (block / 2, count)),
            );
        }
        self.counters = self.slices.iter().map(BTreeMap::len).sum();
    }

    /// Length of a slice of time.
    pub fn slice(&self) -> Duration {
        self.slice
    }

    /// Number of slices until that time.
    pub fn slices_until(&self, time: Duration) -> usize {
        let slices = time.as_nanos().div_ceil(self.slice.as_nanos());
        let slices = usize::try_from(slices).unwrap_or(usize::MAX);
        slices.max(self.slices.len()).max(1)
    }

    /// Returns the counts: slice, pages, and the number of pages written there, repeats included.
    pub fn counts(&self) -> impl Iterator<Item = (usize, PageRange, u64)> + '_ {
        let size = 1 << self.shift;
        self.slices.iter().enumerate().flat_map(move |(n, slice)| {
            slice.iter().filter_map(move |(block, count)| {
                Some((n, PageRange::new(block << self.shift, size).ok()?, *count))
            })
        })
    }

    /// Number of writes.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Number of pages written, repeats included.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Number of different pages written; `None` if they are too many to be told apart.
    pub fn distinct(&self) -> Option<u64> {
        let count = self.touched.count();
        (count < PAGES).then_some(count)
    }

    /// The pages written, in ascending order.
    pub fn touched(&self) -> impl Iterator<Item = PageRange> + '_ {
        self.touched.ranges()
    }
}

fn add_all(to: &mut BTreeMap<u64, u64>, counts: impl IntoIterator<Item = (u64, u64)>) {
    for (block, count) in counts {
        let sum = to.entry(block).or_default();
        *sum = sum.saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(100);

    fn pages(first: u64, count: u64) -> PageRange {
        PageRange::new(first, count).unwrap()
    }

    fn counts(history: &History) -> Vec<(usize, u64, u64)> {
        history
            .counts()
            .map(|(slice, pages, count)| (slice, pages.first(), count))
            .collect()
    }

    #[test]
    fn pages_are_counted_by_address_and_time() {
        let mut history = History::new(SLICE);
        assert_eq!(
            (history.writes(), history.pages(), history.distinct()),
            (0, 0, Some(0))
        );
        assert_eq!(history.slices_until(Duration::ZERO), 1);
        history.add(Duration::ZERO, pages(7, 2));
        history.add(Duration::from_millis(99), pages(8, 1));
        history.add(Duration::from_millis(250), pages(1 << 40, 1));
        // What comes late is put where it belongs.
        history.add(Duration::from_millis(100), pages(7, 1));
        let expected = [(0, 7, 1), (0, 8, 2), (1, 7, 1), (2, 1 << 40, 1)];
        assert_eq!(counts(&history), expected);
        assert_eq!(
            (history.writes(), history.pages(), history.distinct()),
            (4, 5, Some(3))
        );
        assert_eq!(history.slices_until(Duration::from_millis(100)), 3);
        assert_eq!(history.slices_until(Duration::from_millis(301)), 4);
        let touched: Vec<_> = history.touched().collect();
        assert_eq!(touched, [pages(7, 2), pages(1 << 40, 1)]);
    }

    #[test]
    fn a_long_time_makes_it_coarser() {
        let mut history = History::new(SLICE);
        for n in 0..5 * MAX_SLICES as u32 {
            history.add(SLICE * n, pages(u64::from(n % 3), 1));
        }
        assert_eq!(history.slice(), SLICE * 8);
        assert_eq!(history.slices.len(), 5 * MAX_SLICES / 8);
        let sum: u64 = history.counts().map(|(_, _, count)| count).sum();
        assert_eq!((sum, history.distinct()), (history.pages(), Some(3)));
        assert!(history.counters <= 3 * MAX_SLICES);
        history.add(Duration::MAX, pages(0, 1));
        assert!(history.slices.len() <= MAX_SLICES);
    }

    #[test]
    fn many_pages_make_it_coarser() {
        let mut history = History::new(SLICE);
        for n in 0..3 * MAX_COUNTERS as u64 {
            history.add(Duration::ZERO, pages(n * 4, 1));
        }
        assert!(history.counters <= MAX_COUNTERS);
        assert_eq!(history.shift, 4);
        let sum: u64 = history.counts().map(|(_, _, count)| count).sum();
        assert_eq!(sum, 3 * MAX_COUNTERS as u64);
        assert_eq!(history.distinct(), Some(sum));

        history.add(Duration::ZERO, PageRange::EVERYTHING);
        assert_eq!(history.distinct(), None);
        assert!(history.counters as u64 <= MAX_COUNTERS_OF_WRITE);
        assert_eq!(history.touched().count(), 1);
    }
}
