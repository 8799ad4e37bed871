// SPDX-License-Identifier: GPL-2.0-only

//! Which pages of a range of memory were written.

/// Bytes of the pages that dirty tracking counts in.
pub const PAGE: usize = 4096;

/// A bitmap with one bit for each page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bitmap {
    bytes: Vec<u8>,
    pages: usize,
}

impl Bitmap {
    /// A map of that many pages, all clean.
    pub fn new(pages: usize) -> Self {
        Self {
            bytes: vec![0; pages.div_ceil(8)],
            pages,
        }
    }

    /// Pages that the map covers.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Marks a page.
    pub fn set(&mut self, page: usize) {
        assert!(page < self.pages);
        self.bytes[page / 8] |= 1 << (page % 8);
    }

    /// Whether a page is marked.
    pub fn get(&self, page: usize) -> bool {
        page < self.pages && self.bytes[page / 8] & (1 << (page % 8)) != 0
    }

    /// Marks the pages from `first` on whose bits are set among the first `count` bits of `bits`.
    /// Bits past the end of the map are ignored.
    pub fn merge(&mut self, first: usize, count: usize, bits: &[u8]) {
        for (index, byte) in bits.iter().enumerate().take(count.div_ceil(8)) {
            if *byte == 0 {
                continue;
            }
            for bit in 0..8 {
                let page = index * 8 + bit;
                if byte & (1 << bit) != 0 && page < count && first + page < self.pages {
                    self.set(first + page);
                }
            }
        }
    }

    /// The marked pages, in order.
    pub fn marked(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.pages).filter(|page| self.get(*page))
    }

    /// How many pages are marked.
    pub fn count(&self) -> u64 {
        self.bytes
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_at_any_place() {
        let mut map = Bitmap::new(20);
        map.merge(3, 10, &[0b1000_0001, 0xff]);
        assert_eq!(map.marked().collect::<Vec<_>>(), [3, 10, 11, 12]);
        assert_eq!(map.count(), 4);
        map.merge(18, 64, &[0xff; 8]);
        assert_eq!(map.marked().last(), Some(19));
        assert!(!map.get(20));
    }
}
