// SPDX-License-Identifier: GPL-2.0-only

//! Which part of the address space is shown, in how many rows.

use migration::iova::{PageRange, PAGE_SIZE};

/// Most bands; more would be a list and no picture.
const MAX_BANDS: usize = 4;

/// The part of the address space in which pages are of interest.
///
/// It has rows of the same number of pages, a power of two, and each begins at a multiple of that.
/// Rows of neighbouring addresses are a band; what lies between bands is left out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Axis {
    /// Pages of a row, as a power of two.
    shift: u32,
    /// In ascending order.
    bands: Vec<Band>,
}

/// Neighbouring rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Band {
    /// Number of the first row in the address space.
    first: u64,
    /// Number of the last one.
    last: u64,
}

impl Band {
    /// Number of the first row in the address space.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        // CAST: an axis has few rows.
        (self.last - self.first + 1) as usize
    }
}

impl Axis {
    /// Makes the finest axis that shows all those pages in at most `rows` lines, counting one line
    /// between two bands. The ranges are in ascending order.
    pub fn new(ranges: &[PageRange], rows: usize) -> Self {
        // With the last one, all of the address space is one row.
        (0..52)
            .find_map(|shift| Self::at(ranges, rows.max(1), shift))
            .unwrap_or_else(|| Self {
                shift: 52,
                bands: vec![Band { first: 0, last: 0 }],
            })
    }

    /// The axis with rows of `1 << shift` pages; `None` if it has too many.
    fn at(ranges: &[PageRange], rows: usize, shift: u32) -> Option<Self> {
        // Gaps of at most half the rows are shown.
        let gap = rows as u64 / 2;
        let mut bands: Vec<Band> = Vec::new();
        for range in ranges {
            let (first, last) = (range.first() >> shift, range.last() >> shift);
            match bands.last_mut() {
                Some(band) if first <= band.last.saturating_add(gap) => {
                    band.last = band.last.max(last);
                }
                _ => bands.push(Band { first, last }),
            }
            if bands.len() > MAX_BANDS {
                return None;
            }
        }
        let lines = bands.iter().fold(0, |sum: u64, band| {
            sum.saturating_add(band.last - band.first + 2)
        });
        (lines <= rows as u64 + 1).then_some(Self { shift, bands })
    }

    /// The bands in ascending order.
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.bands.iter().map(Band::rows).sum()
    }

    /// Number of pages in a row.
    pub fn pages_of_row(&self) -> u64 {
        1 << self.shift
    }

    /// Bytes of a row; `None` for all of the address space.
    pub fn bytes_of_row(&self) -> Option<u64> {
        self.pages_of_row().checked_mul(PAGE_SIZE)
    }

    /// The address where each row begins, in ascending order.
    pub fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        let shift = self.shift;
        self.bands
            .iter()
            .flat_map(|band| band.first..=band.last)
            .map(move |row| (row << shift) * PAGE_SIZE)
    }

    /// The row of a page, counted from the lowest.
    pub fn row(&self, page: u64) -> Option<usize> {
        let row = page >> self.shift;
        let mut below = 0;
        for band in &self.bands {
            if row < band.first {
                return None;
            }
            if row <= band.last {
                // CAST: as in `Band::rows`.
                return Some(below + (row - band.first) as usize);
            }
            below += band.rows();
        }
        None
    }
}

/// Joins lists of ranges to one in ascending order.
pub fn join(lists: [Vec<PageRange>; 2]) -> Vec<PageRange> {
    let mut all = lists.concat();
    all.sort_by_key(PageRange::first);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(ranges: &[(u64, u64)], rows: usize) -> Axis {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|(first, count)| PageRange::new(*first, *count).unwrap())
            .collect();
        Axis::new(&ranges, rows)
    }

    fn addresses(axis: &Axis) -> Vec<u64> {
        axis.addresses().collect()
    }

    #[test]
    fn few_pages_have_a_row_each() {
        let axis = axis(&[(0x100, 2), (0x104, 1)], 20);
        assert_eq!(axis.pages_of_row(), 1);
        assert_eq!(
            addresses(&axis),
            [0x10_0000, 0x10_1000, 0x10_2000, 0x10_3000, 0x10_4000]
        );
        assert_eq!(axis.row(0xff), None);
        assert_eq!(axis.row(0x100), Some(0));
        assert_eq!(axis.row(0x104), Some(4));
        assert_eq!(axis.row(0x105), None);
    }

    #[test]
    fn many_pages_share_rows_that_are_aligned() {
        let axis = axis(&[(0x101, 63)], 20);
        assert_eq!(axis.pages_of_row(), 4);
        assert_eq!(axis.bytes_of_row(), Some(0x4000));
        assert_eq!(axis.rows(), 16);
        assert_eq!(addresses(&axis)[..2], [0x10_0000, 0x10_4000]);
        assert_eq!(axis.row(0x13f), Some(15));
    }

    #[test]
    fn what_lies_between_bands_is_left_out() {
        let axis = axis(&[(2, 3), (1 << 30, 1), ((1 << 52) - 1, 1)], 20);
        assert_eq!(axis.pages_of_row(), 1);
        let rows: Vec<_> = axis.bands().iter().map(Band::rows).collect();
        assert_eq!(rows, [3, 1, 1]);
        assert_eq!(axis.row(4), Some(2));
        assert_eq!(axis.row(1 << 30), Some(3));
        assert_eq!(axis.row((1 << 52) - 1), Some(4));
        assert_eq!(axis.row(1 << 20), None);
    }

    #[test]
    fn it_always_fits_and_has_every_page() {
        let scattered: Vec<_> = (0..1000).map(|n| (n * n * 977, 1 + n % 7)).collect();
        let whole = [(0, 1 << 52)];
        let ends = [(0, 1), ((1 << 52) - 1, 1)];
        for ranges in [&scattered[..], &scattered[..6], &whole, &ends, &[]] {
            for rows in [0, 1, 2, 3, 10, 100] {
                let axis = axis(ranges, rows);
                assert!(
                    axis.rows() + axis.bands().len() <= rows.max(1) + 1,
                    "{axis:?}"
                );
                for (first, count) in ranges {
                    assert!(axis.row(*first).is_some());
                    assert!(axis.row(first + count - 1).is_some());
                }
            }
        }
        assert_eq!(axis(&whole, 1).bytes_of_row(), None);
        assert_eq!(axis(&[], 10).rows(), 0);
    }
}
