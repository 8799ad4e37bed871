// SPDX-License-Identifier: GPL-2.0-only

//! The dirty table and its peers, all as sets of pages.

use hi_sparse_bitset::{config::_256bit, BitBlock, BitSet};
use migration::{
    dirty::{table::DirtyTable, BitmapSink},
    iova::PageRange,
};
use roaring::RoaringTreemap;

/// A set of pages, from 0 on.
pub trait Pages: Sized {
    /// Its name in the tables.
    const NAME: &str;
    /// The largest number of pages that it can tell apart.
    const MOST: u64 = 1 << 52;

    /// A set with no page, for a space of `pages`.
    fn new(pages: u64) -> Self;

    /// Adds a page.
    fn mark(&mut self, page: u64);

    /// Adds the pages below `pages`.
    fn fill(&mut self, pages: u64);

    /// Takes the pages below `pages` out, as a bitmap in `out`, which is zero.
    fn take(&mut self, pages: u64, out: &mut [u8]);
}

/// Hands the dirty pages of `range` over as the driver does: the bitmap, then clear.
pub fn take(table: &mut DirtyTable, range: PageRange, sink: &mut BitmapSink<'_>) {
    table.bitmap(range, sink).unwrap();
    table.clear(range);
}

/// A set that shows the bytes of its bitmap.
pub trait Visit: Pages {
    /// Takes the pages below `pages` out; returns the sum of the offsets of the bytes that are not
    /// 0.
    fn visit(&mut self, pages: u64) -> usize;
}

impl Visit for DirtyTable {
    fn visit(&mut self, pages: u64) -> usize {
        let mut sum = 0;
        let range = PageRange::new(0, pages).unwrap();
        take(self, range, &mut |at, _| {
            sum += at;
            Ok(())
        });
        sum
    }
}

impl Visit for Flat {
    fn visit(&mut self, _: u64) -> usize {
        let mut sum = 0;
        for (at, word) in self.0.iter_mut().enumerate() {
            if *word != 0 {
                sum += 8 * at;
                *word = 0;
            }
        }
        sum
    }
}

impl Pages for DirtyTable {
    const NAME: &str = "rvfio";

    fn new(_: u64) -> Self {
        Self::new()
    }

    #[inline]
    fn mark(&mut self, page: u64) {
        self.mark(PageRange::new(page, 1).unwrap());
    }

    fn fill(&mut self, pages: u64) {
        self.mark(PageRange::new(0, pages).unwrap());
    }

    fn take(&mut self, pages: u64, out: &mut [u8]) {
        let range = PageRange::new(0, pages).unwrap();
        take(self, range, &mut |at, bytes| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        });
    }
}

impl Pages for RoaringTreemap {
    const NAME: &str = "roaring";

    fn new(_: u64) -> Self {
        Self::new()
    }

    #[inline]
    fn mark(&mut self, page: u64) {
        self.insert(page);
    }

    fn fill(&mut self, pages: u64) {
        self.insert_range(0..pages);
    }

    fn take(&mut self, _: u64, out: &mut [u8]) {
        for page in self.iter() {
            out[page as usize / 8] |= 1 << (page % 8);
        }
        self.clear();
    }
}

/// hi_sparse_bitset with the largest of its configurations.
pub struct HiSparse(BitSet<_256bit>);

impl Pages for HiSparse {
    const NAME: &str = "hi_sparse";
    // Somewhat less than 64 GiB.
    const MOST: u64 = (1 << 24) - (1 << 17);

    fn new(_: u64) -> Self {
        Self(BitSet::new())
    }

    #[inline]
    fn mark(&mut self, page: u64) {
        self.0.insert(page as usize);
    }

    fn fill(&mut self, pages: u64) {
        (0..pages).for_each(|page| self.mark(page));
    }

    fn take(&mut self, _: u64, out: &mut [u8]) {
        for block in self.0.block_iter() {
            let (first, bits) = block.into_parts();
            let at = first / 8;
            for (number, word) in bits.as_array().iter().enumerate() {
                if *word != 0 {
                    let at = at + number * 8;
                    out[at..at + 8].copy_from_slice(&word.to_le_bytes());
                }
            }
        }
        self.0 = BitSet::new();
    }
}

/// A bitmap of the whole space; each query scans it.
pub struct Flat(Vec<u64>);

impl Pages for Flat {
    const NAME: &str = "flat";

    fn new(pages: u64) -> Self {
        // Not backed by the zero page, which is read in no time.
        let mut words = vec![1; pages as usize / 64];
        words.fill(0);
        Self(words)
    }

    #[inline]
    fn mark(&mut self, page: u64) {
        self.0[page as usize / 64] |= 1 << (page % 64);
    }

    fn fill(&mut self, pages: u64) {
        self.0[..pages as usize / 64].fill(u64::MAX);
    }

    fn take(&mut self, _: u64, out: &mut [u8]) {
        for (word, bytes) in self.0.iter_mut().zip(out.chunks_exact_mut(8)) {
            if *word != 0 {
                bytes.copy_from_slice(&word.to_le_bytes());
                *word = 0;
            }
        }
    }
}
