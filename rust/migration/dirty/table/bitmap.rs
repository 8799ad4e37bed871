// SPDX-License-Identifier: GPL-2.0-only

//! The bitmap of one stretch of pages.

use kernel::prelude::*;

/// Pages in a stretch: 256 MiB of memory.
pub const STRETCH_PAGES: u64 = 1 << 16;

/// Words of 64 pages in a stretch.
pub(super) const WORDS: usize = STRETCH_PAGES as usize / 64;

/// Words in a block, what one bit of the summary stands for.
const BLOCK_WORDS: usize = WORDS / BLOCKS as usize;

/// Blocks in a stretch.
const BLOCKS: u8 = 16;

/// Bytes in a block.
const BLOCK_BYTES: usize = BLOCK_WORDS * 8;

/// Pages in a block, as a power of two.
pub(super) const BLOCK_SHIFT: u32 = STRETCH_PAGES.trailing_zeros() - BLOCKS.trailing_zeros();

/// The bits as clients get them: little-endian, bit 0 of byte 0 for the first page.
type Bits = [[u8; 8]; WORDS];

/// One bit for each page of a stretch, and a summary that tells which bits need not be looked at.
///
/// Only the bits stand outside of the slot, so a mark finds all else there.
#[derive(Debug)]
pub(super) struct Bitmap {
    /// A bit for each page.
    bits: KBox<Bits>,
    /// Number of dirty pages, without those of the open block.
    count: u32,
    /// A bit for each block, set if one of its pages may be dirty.
    summary: u16,
    /// A byte by which the slot tells its forms apart without growing.
    _form: Form,
    /// The block whose pages are not counted while they are marked; [`BLOCKS`] if there is none.
    open: u8,
}

/// One value of a byte: the slot uses the other values for its other form.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Form {
    /// The slot has a bitmap.
    Bitmap,
}

impl Bitmap {
    /// Bytes that a bitmap takes outside of its slot.
    pub(super) const BYTES: usize = size_of::<Bits>();

    /// Returns a bitmap with no dirty page; `ENOMEM` without memory.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            bits: KBox::zeroed(GFP_KERNEL_ACCOUNT)?,
            count: 0,
            summary: 0,
            _form: Form::Bitmap,
            open: BLOCKS,
        })
    }

    /// Returns the number of dirty pages; counts those of the open block.
    pub(super) fn count(&self) -> u32 {
        self.count + self.count_of(self.open)
    }

    /// Counts the dirty pages of block `block`; none if there is no such block.
    fn count_of(&self, block: u8) -> u32 {
        let words = self.bits.chunks_exact(BLOCK_WORDS).nth(block.into());
        let words = words.unwrap_or_default().iter();
        words
            .map(|word| u64::from_le_bytes(*word).count_ones())
            .sum()
    }

    /// Opens the block of page `page`, for [`Bitmap::mark_open`].
    pub(super) fn open(&mut self, page: u16) {
        self.close();
        let block = page >> BLOCK_SHIFT;
        self.summary |= 1 << block;
        // CAST: Below 16.
        self.open = block as u8;
        self.count -= self.count_of(self.open);
    }

    /// Closes the block that is open, if there is one.
    pub(super) fn close(&mut self) {
        self.count = self.count();
        self.open = BLOCKS;
    }

    /// Marks page `page` of the open block as dirty.
    #[inline]
    pub(super) fn mark_open(&mut self, page: u16) {
        let word = &mut self.bits[usize::from(page / 64)];
        *word = (u64::from_le_bytes(*word) | (1 << (page % 64))).to_le_bytes();
    }

    /// Marks page `page` as dirty, of a bitmap without an open block.
    #[inline]
    pub(super) fn mark_one(&mut self, page: u16) {
        let word = &mut self.bits[usize::from(page / 64)];
        let bits = u64::from_le_bytes(*word);
        let bit = page % 64;
        *word = (bits | (1 << bit)).to_le_bytes();
        self.summary |= 1 << (page >> BLOCK_SHIFT);
        // No branch: whether a page was dirty is as good as random.
        self.count += u32::from((bits >> bit) & 1 == 0);
    }

    /// Marks pages `first` to `last` as dirty.
    pub(super) fn mark(&mut self, first: u16, last: u16) {
        self.close();
        let mut added = 0;
        for (word, mask) in self.masked(first, last) {
            let bits = u64::from_le_bytes(*word);
            added += (mask & !bits).count_ones();
            *word = (bits | mask).to_le_bytes();
        }
        // CAST: Bits 0 to 15.
        self.summary |= between(first >> BLOCK_SHIFT, last >> BLOCK_SHIFT) as u16;
        self.count += added;
    }

    /// Marks pages `first` to `last` as clean.
    pub(super) fn clear(&mut self, first: u16, last: u16) {
        self.close();
        let mut removed = 0;
        for (word, mask) in self.masked(first, last) {
            let bits = u64::from_le_bytes(*word);
            removed += (mask & bits).count_ones();
            *word = (bits & !mask).to_le_bytes();
        }
        let blocks = self.bits.chunks_exact(BLOCK_WORDS).zip(0u16..);
        for (block, number) in blocks {
            if block.as_flattened().iter().all(|byte| *byte == 0) {
                self.summary &= !(1 << number);
            }
        }
        self.count -= removed;
    }

    /// Returns each word that has bits of pages `first` to `last`, with a mask of these bits.
    fn masked(&mut self, first: u16, last: u16) -> impl Iterator<Item = (&mut [u8; 8], u64)> {
        let (low, high) = (first / 64, last / 64);
        let words = self
            .bits
            .get_mut(usize::from(low)..=usize::from(high))
            .unwrap_or_default();
        words.iter_mut().zip(low..).map(move |(word, number)| {
            let from = if number == low { first % 64 } else { 0 };
            let to = if number == high { last % 64 } else { 63 };
            (word, between(from, to))
        })
    }

    /// Returns the first word with a dirty page, from word `from` on: its number and its bits.
    ///
    /// A word stands for 64 pages.
    pub(super) fn word_from(&self, from: usize) -> Option<(usize, u64)> {
        let mut word = from;
        while word < WORDS {
            let block = word / BLOCK_WORDS;
            let clean = (self.summary >> block).trailing_zeros();
            if clean > 0 {
                // If no block is left, this is past the end.
                word = (block + clean as usize) * BLOCK_WORDS;
                continue;
            }
            let end = (block + 1) * BLOCK_WORDS;
            let words = self.bits.get(word..end).unwrap_or_default();
            for bits in words {
                let bits = u64::from_le_bytes(*bits);
                if bits != 0 {
                    return Some((word, bits));
                }
                word += 1;
            }
        }
        None
    }

    /// Calls `visit` with the bytes `from` to `end` of the bitmap, without the clean blocks.
    ///
    /// `visit` gets an offset in the bitmap and the bytes there; its first error is returned.
    pub(super) fn pieces(
        &self,
        from: usize,
        end: usize,
        mut visit: impl FnMut(usize, &[u8]) -> Result,
    ) -> Result {
        let bytes = self.bits.as_flattened();
        let end = end.min(bytes.len());
        let mut at = from;
        while at < end {
            let block = at / BLOCK_BYTES;
            let rest = self.summary >> block;
            let clean = rest.trailing_zeros() as usize;
            if clean > 0 {
                at = (block + clean) * BLOCK_BYTES;
                continue;
            }
            let dirty = rest.trailing_ones() as usize;
            let stop = ((block + dirty) * BLOCK_BYTES).min(end);
            visit(at, bytes.get(at..stop).unwrap_or_default())?;
            at = stop;
        }
        Ok(())
    }
}

/// Returns a word with the bits `first` to `last`, which are below 64.
fn between(first: u16, last: u16) -> u64 {
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}
