// SPDX-License-Identifier: GPL-2.0-only

//! The bitmap of one stretch of pages.

use kernel::prelude::*;

use super::span::{
    between,
    Span, //
};

/// Pages in a stretch: 256 MiB of memory.
pub const STRETCH_PAGES: u64 = 1 << 16;

/// Words of 64 pages in a stretch.
pub(super) const WORDS: usize = STRETCH_PAGES as usize / 64;

/// Words in a block, what one bit of the summary stands for.
const BLOCK_WORDS: usize = WORDS / BLOCKS as usize;

/// Blocks in a stretch.
const BLOCKS: u8 = 16;

/// Pages in a block, as a power of two.
pub(super) const BLOCK_SHIFT: u32 = STRETCH_PAGES.trailing_zeros() - BLOCKS.trailing_zeros();

/// The bits as clients get them: little-endian, bit 0 of byte 0 for the first page.
pub(super) type Bits = [[u8; 8]; WORDS];

/// One bit for each page of a stretch, and a summary that tells which bits need not be looked at.
///
/// If the dirty pages are neighbours and it is known, two numbers tell them, and nobody reads or
/// writes bits. The memory of the bits is kept all the same, so that taking pages out of the middle
/// cannot fail.
///
/// Only the bits stand outside of the slot, so a mark finds all else there.
#[derive(Debug)]
pub(super) struct Bitmap {
    /// A bit for each page; without a meaning if the form is [`Form::Run`].
    bits: KBox<Bits>,
    /// Number of dirty pages, without those of the open block.
    count: u32,
    /// A bit for each block, set if one of its pages may be dirty; the first dirty page if the form
    /// is [`Form::Run`].
    summary: u16,
    /// How the pages are told.
    form: Form,
    /// The block whose pages are not counted while they are marked; [`BLOCKS`] if there is none.
    open: u8,
}

/// How a bitmap tells its pages.
///
/// The slot uses the other values of the byte for its other form, and so does not grow.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Form {
    /// By a bit each.
    Bits,
    /// As neighbours: the first of them, and their number.
    Run,
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
            form: Form::Bits,
            open: BLOCKS,
        })
    }

    /// Makes the neighbours `span` the dirty pages.
    pub(super) fn set_run(&mut self, span: Span) {
        self.form = Form::Run;
        self.count = span.count();
        self.summary = span.first;
        self.open = BLOCKS;
    }

    /// Returns the dirty pages if they are told as neighbours, without bits.
    #[inline]
    pub(super) fn run(&self) -> Option<Span> {
        match self.form {
            Form::Bits => None,
            // CAST: From 1 to 2^16 pages.
            Form::Run => Span::new(
                self.summary,
                self.summary.wrapping_add((self.count - 1) as u16),
            ),
        }
    }

    /// Returns the dirty pages if it is known that they are neighbours.
    pub(super) fn span(&self) -> Option<Span> {
        let whole = || (self.count() == Span::WHOLE.count()).then_some(Span::WHOLE);
        self.run().or_else(whole)
    }

    /// Returns whether it is known that all dirty pages are in `other`.
    pub(super) fn lies_in(&self, other: Span) -> bool {
        self.span().unwrap_or(Span::WHOLE).lies_in(other)
    }

    /// Sets the bits of neighbours that have none.
    fn spread(&mut self) {
        if let Some(span) = self.run() {
            self.bits.as_flattened_mut().fill(0);
            (self.count, self.summary, self.form) = (0, 0, Form::Bits);
            self.mark(span.first, span.last);
        }
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
        self.spread();
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

    /// Marks page `page` as dirty, of a bitmap that has bits and no open block.
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
        if let Some(span) = self.run() {
            match span.with(Span { first, last }) {
                // Single pages do not lengthen a run: marks in order are fastest if there are bits.
                Some(both) if first != last || both == span => return self.set_run(both),
                _ => self.spread(),
            }
        }
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
        if let Some(span) = self.span() {
            let gone = Span { first, last };
            match (span.before(gone), span.after(gone)) {
                (Some(left), None) | (None, Some(left)) => return self.set_run(left),
                _ => self.spread(),
            }
        }
        self.close();
        let mut removed = 0;
        for (word, mask) in self.masked(first, last) {
            let bits = u64::from_le_bytes(*word);
            // Few processors that the kernel is built for count ones by an instruction.
            removed += match mask & bits {
                u64::MAX => 64,
                gone => gone.count_ones(),
            };
            *word = (bits & !mask).to_le_bytes();
        }
        let (low, high) = (first >> BLOCK_SHIFT, last >> BLOCK_SHIFT);
        let blocks = self.bits.chunks_exact(BLOCK_WORDS).zip(0u16..=high);
        for (block, number) in blocks.skip(low.into()) {
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
        if let Some(span) = self.run() {
            return span.word_from(from);
        }
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

    /// Returns the parts of `asked` whose bits may be set, without the clean blocks.
    pub(super) fn parts(&self, asked: Span) -> impl Iterator<Item = Span> {
        let summary = self.summary;
        let mut from = 0;
        core::iter::from_fn(move || {
            let rest = u32::from(summary).checked_shr(from)?;
            let first = from + rest.trailing_zeros();
            let end = first + rest.checked_shr(first - from)?.trailing_ones();
            from = end;
            // CAST: Below 16 blocks, or the end of the last one.
            Span::new(
                (first << BLOCK_SHIFT) as u16,
                ((end << BLOCK_SHIFT) - 1) as u16,
            )
        })
        .filter_map(move |part| part.part_in(asked))
    }

    /// Returns the bits of the `count` pages from page `page` on, `count` being below 8.
    pub(super) fn byte(&self, page: u16, count: u32) -> u8 {
        let mut byte = [0];
        self.shifted(page, &mut byte);
        byte[0] & !(u8::MAX << count)
    }

    /// Returns the bits of the pages from page `page` on as `len` bytes, if they lie so in memory.
    pub(super) fn bytes(&self, page: u16, len: usize) -> Option<&[u8]> {
        let at = usize::from(page / 8);
        let bytes = self.bits.as_flattened().get(at..)?.get(..len)?;
        (page % 8 == 0).then_some(bytes)
    }

    /// Copies the bits of the pages from page `page` on to `out`; bits past the stretch are 0.
    pub(super) fn shifted(&self, page: u16, out: &mut [u8]) {
        let shift = u32::from(page % 64);
        let words = self.bits.get(usize::from(page / 64)..).unwrap_or_default();
        // Not as a method: the kernel's prelude has another one of that name.
        let after = Iterator::chain(words.iter().skip(1), &[[0; 8]]);
        let words = words.iter().zip(after).map(|(word, next)| {
            let (word, next) = (u64::from_le_bytes(*word), u64::from_le_bytes(*next));
            // In two steps, since no word can be shifted by 64.
            ((word >> shift) | ((next << 1) << (63 - shift))).to_le_bytes()
        });
        for (bytes, word) in out.chunks_mut(8).zip(words) {
            match bytes.first_chunk_mut() {
                Some(bytes) => *bytes = word,
                None => bytes
                    .iter_mut()
                    .zip(word)
                    .for_each(|(byte, bits)| *byte = bits),
            }
        }
    }
}
