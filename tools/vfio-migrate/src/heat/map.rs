// SPDX-License-Identifier: GPL-2.0-only

//! Counts of pages in the cells that address and time make.

use std::time::Duration;

use super::axis::{join, Axis};
use super::history::History;
use crate::watch::snapshot::Snapshot;

/// A heat map.
#[derive(Clone, Debug)]
pub struct Map {
    /// What the rows are.
    pub axis: Axis,
    /// Length of a column.
    pub column: Duration,
    /// For each row, from the lowest address on, the number of pages written in each column.
    pub cells: Vec<Vec<u64>>,
    /// For each column the number of pages written.
    pub totals: Vec<u64>,
    /// For each row whether it has a page that was written and not reported.
    pub dirty: Vec<bool>,
    /// The largest number of a cell.
    pub peak: u64,
}

impl Map {
    /// Makes a map of at most that many rows and columns, of the time until `now`. Pages of
    /// `snapshot` have rows, too.
    pub fn new(
        history: &History,
        snapshot: &Snapshot,
        now: Duration,
        rows: usize,
        columns: usize,
    ) -> Self {
        let touched = history.touched().collect();
        let axis = Axis::new(&join([touched, snapshot.ranges().to_vec()]), rows);
        let slices = history.slices_until(now);
        let slices_of_column = slices.div_ceil(columns.max(1));
        let columns = slices.div_ceil(slices_of_column);

        let mut map = Self {
            column: history.slice() * u32::try_from(slices_of_column).unwrap_or(u32::MAX),
            cells: vec![vec![0; columns]; axis.rows()],
            totals: vec![0; columns],
            dirty: vec![false; axis.rows()],
            peak: 0,
            axis,
        };
        for (slice, pages, count) in history.counts() {
            let column = slice / slices_of_column;
            map.totals[column] = map.totals[column].saturating_add(count);
            map.add(column, pages.first(), pages.last(), count);
        }
        map.peak = map.cells.iter().flatten().copied().max().unwrap_or(0);
        for range in snapshot.ranges() {
            let (first, last) = (map.axis.row(range.first()), map.axis.row(range.last()));
            if let (Some(first), Some(last)) = (first, last) {
                map.dirty[first..=last].fill(true);
            }
        }
        map
    }

    /// Shares a count of these pages among their rows.
    fn add(&mut self, column: usize, first: u64, last: u64, count: u64) {
        // If pages were counted together, the first or the last of them may have no row.
        let rows = match (self.axis.row(first), self.axis.row(last)) {
            (Some(first), Some(last)) => first..=last,
            (Some(row), None) | (None, Some(row)) => row..=row,
            (None, None) => return,
        };
        let share = count.div_ceil(rows.clone().count() as u64);
        for row in rows {
            let cell = &mut self.cells[row][column];
            *cell = cell.saturating_add(share);
        }
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Pages written in a second of each column.
    pub fn rates(&self) -> impl Iterator<Item = f64> + '_ {
        let seconds = self.column.as_secs_f64();
        // CAST: not more exact than a picture.
        self.totals.iter().map(move |pages| *pages as f64 / seconds)
    }

    /// The time that all columns span.
    pub fn length(&self) -> Duration {
        self.column * u32::try_from(self.totals.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
pub mod tests {
    use migration::iova::PageRange;

    use super::*;

    fn pages(first: u64, count: u64) -> PageRange {
        PageRange::new(first, count).unwrap()
    }

    /// A device that wrote some pages, and of which one is still dirty.
    pub fn sample() -> (History, Snapshot) {
        let mut history = History::new(Duration::from_millis(100));
        for (milliseconds, first, count) in [
            (0, 0x100, 2),
            (50, 0x100, 1),
            (120, 0x101, 1),
            (250, 0x103, 1),
            (390, 1 << 18, 1),
        ] {
            history.add(Duration::from_millis(milliseconds), pages(first, count));
        }
        let snapshot = Snapshot::Pages {
            count: 2,
            ranges: vec![pages(0x103, 1), pages(0x105, 1)],
            left_out: 0,
        };
        (history, snapshot)
    }

    #[test]
    fn fixed_events_make_the_expected_map() {
        let (history, snapshot) = sample();
        let now = Duration::from_millis(500);
        let map = Map::new(&history, &snapshot, now, 20, 80);
        assert_eq!(map.column, Duration::from_millis(100));
        assert_eq!(
            map.cells,
            [
                [2, 0, 0, 0, 0],
                [1, 1, 0, 0, 0],
                [0, 0, 0, 0, 0],
                [0, 0, 1, 0, 0],
                [0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0],
                [0, 0, 0, 1, 0],
            ]
        );
        assert_eq!(map.totals, [3, 1, 1, 1, 0]);
        assert_eq!(map.rates().next(), Some(30.0));
        assert_eq!(map.peak, 2);
        assert_eq!(
            map.dirty,
            [false, false, false, true, false, true, false],
            "{:?}",
            map.axis
        );
        assert_eq!(map.length(), now);
    }

    #[test]
    fn rows_and_columns_are_joined_where_there_is_less_room() {
        let (history, snapshot) = sample();
        let map = Map::new(&history, &snapshot, Duration::from_millis(500), 5, 3);
        assert_eq!(map.column, Duration::from_millis(200));
        assert_eq!(map.axis.pages_of_row(), 2);
        assert_eq!(map.cells, [[4, 0, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]]);
        assert_eq!(map.totals, [4, 2, 0]);
        assert_eq!(map.dirty, [false, true, true, false]);
    }

    #[test]
    fn nothing_is_an_empty_map() {
        let history = History::new(Duration::from_millis(100));
        let map = Map::new(&history, &Snapshot::NotTracked, Duration::ZERO, 20, 80);
        assert!(map.is_empty());
        assert_eq!(map.totals, [0]);
    }

    #[test]
    fn what_was_counted_together_is_shared() {
        let mut history = History::new(Duration::from_millis(100));
        // More than are counted one by one.
        history.add(Duration::ZERO, pages(0, 1 << 20));
        let map = Map::new(&history, &Snapshot::NotTracked, Duration::ZERO, 4, 1);
        assert_eq!(map.cells, [[1 << 18], [1 << 18], [1 << 18], [1 << 18]]);
    }
}
