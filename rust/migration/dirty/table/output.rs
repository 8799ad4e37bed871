// SPDX-License-Identifier: GPL-2.0-only

//! Writing a bitmap of the dirty pages of a range.

use kernel::prelude::*;

use super::{
    slot::Slot,
    within,
    DirtyTable,
    STRETCH_PAGES, //
};
use crate::{
    dirty::BitmapSink,
    iova::PageRange, //
};

impl DirtyTable {
    /// Writes a bitmap of the dirty pages of `range` to `sink`, without clearing any.
    ///
    /// Bit 0 stands for the first page of the range, whatever its alignment. Only bytes near a
    /// dirty page are written. If `sink` fails, its error is returned and no more is written.
    pub fn bitmap(&self, range: PageRange, sink: &mut BitmapSink<'_>) -> Result {
        let is_told_apart = self.blanket.within(range).next().is_none();
        if range.first() % 8 == 0 && is_told_apart {
            return self.copy(range, sink);
        }
        let mut chunk = Chunk::new(sink);
        for dirty in self.ranges_in(range) {
            chunk.set(dirty.first() - range.first(), dirty.last() - range.first())?;
        }
        chunk.flush()
    }

    /// Writes the bytes of the table as they are; `range` begins with bit 0 of a byte.
    fn copy(&self, range: PageRange, sink: &mut BitmapSink<'_>) -> Result {
        // The last byte of the bitmap may have fewer bits than the table's byte.
        let (end_byte, end_bits) = (range.last() / 8, range.last() % 8);
        let end_mask = u8::MAX >> (7 - end_bits);
        for (stretch, slot) in self.stretches(range) {
            let (first, last) = within(stretch, range);
            // Offset of the stretch's bytes, which may begin before the bitmap does.
            let base = stretch * (STRETCH_PAGES / 8);
            let place = |byte: u64| -> Result<usize> {
                Ok(usize::try_from(base + byte - range.first() / 8)?)
            };
            match slot {
                Slot::Few(few) => {
                    let mut byte = (0, 0);
                    for page in few.pages() {
                        if !(first..=last).contains(page) {
                            continue;
                        }
                        if byte.0 != page / 8 && byte.1 != 0 {
                            sink(place(byte.0.into())?, &[byte.1])?;
                            byte.1 = 0;
                        }
                        byte = (page / 8, byte.1 | (1u8 << (page % 8)));
                    }
                    if byte.1 != 0 {
                        sink(place(byte.0.into())?, &[byte.1])?;
                    }
                }
                Slot::Bitmap(bitmap) => {
                    let (from, end) = (usize::from(first / 8), usize::from(last / 8) + 1);
                    bitmap.pieces(from, end, |at, bytes| {
                        let start = u64::try_from(at)?;
                        let count = u64::try_from(bytes.len())?;
                        let is_end = base + start + count == end_byte + 1;
                        match bytes.split_last() {
                            Some((byte, others)) if is_end && end_mask != u8::MAX => {
                                if !others.is_empty() {
                                    sink(place(start)?, others)?;
                                }
                                sink(place(start + count - 1)?, &[byte & end_mask])
                            }
                            _ => sink(place(start)?, bytes),
                        }
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Bytes of a [`Chunk`].
const CHUNK: usize = 256;

/// Neighbouring bytes of a bitmap, which is written from beginning to end.
struct Chunk<'a, 's> {
    /// Takes the bytes.
    sink: &'a mut BitmapSink<'s>,
    /// Offset of the first byte in the bitmap.
    start: usize,
    /// Number of bytes that were touched.
    len: usize,
    /// The bytes; 0 from `len` on.
    bytes: [u8; CHUNK],
}

impl<'a, 's> Chunk<'a, 's> {
    /// Returns a chunk at the beginning of a bitmap.
    fn new(sink: &'a mut BitmapSink<'s>) -> Self {
        Self {
            sink,
            start: 0,
            len: 0,
            bytes: [0; CHUNK],
        }
    }

    /// Sets bits `first` to `last`; `first` must not be before the last bit of the call before.
    fn set(&mut self, first: u64, last: u64) -> Result {
        let mut at = first;
        while at <= last {
            let byte = usize::try_from(at / 8)?;
            if byte - self.start >= CHUNK {
                self.flush()?;
                self.start = byte;
            }
            let index = byte - self.start;
            let room = u64::try_from(CHUNK - index)?;
            let whole = ((last - at + 1) / 8).min(room);
            if at % 8 == 0 && whole > 0 {
                let end = index + usize::try_from(whole)?;
                self.bytes.get_mut(index..end).ok_or(EINVAL)?.fill(u8::MAX);
                self.len = end;
                at += whole * 8;
            } else {
                let end = last.min(at | 7);
                // CAST: Below 8.
                let (low, high) = ((at % 8) as u32, (end % 8) as u32);
                *self.bytes.get_mut(index).ok_or(EINVAL)? |=
                    (u8::MAX << low) & (u8::MAX >> (7 - high));
                self.len = self.len.max(index + 1);
                at = end + 1;
            }
        }
        Ok(())
    }

    /// Hands the touched bytes to the sink.
    fn flush(&mut self) -> Result {
        let Some(bytes) = self.bytes.get_mut(..self.len) else {
            return Err(EINVAL);
        };
        if !bytes.is_empty() {
            (self.sink)(self.start, bytes)?;
            bytes.fill(0);
            self.len = 0;
        }
        Ok(())
    }
}
