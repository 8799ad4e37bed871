// SPDX-License-Identifier: GPL-2.0-only

//! A bitmap on its way to the sink.

use kernel::prelude::*;

use super::{
    bitmap::Bitmap,
    span::Span, //
};
use crate::dirty::BitmapSink;

/// Bytes that are shifted at a time, on the stack.
const CHUNK: usize = 256;

/// Bytes of which each bit is set, for pages that are dirty without having bits in the table.
static ONES: [u8; 4096] = [u8::MAX; 4096];

/// A bitmap that is handed to a sink from beginning to end.
pub(super) struct Writer<'a, 's> {
    /// Takes the bytes.
    sink: &'a mut BitmapSink<'s>,
    /// Offset of a byte in the bitmap that may still get bits.
    at: u64,
    /// That byte; 0 if there is none.
    byte: u8,
}

impl<'a, 's> Writer<'a, 's> {
    /// Returns a bitmap of which nothing has been handed over.
    pub(super) fn new(sink: &'a mut BitmapSink<'s>) -> Self {
        Self {
            sink,
            at: 0,
            byte: 0,
        }
    }

    /// Sets bit `at`, which must not be before the last bit of the call before.
    #[inline]
    pub(super) fn set_one(&mut self, at: u64) -> Result {
        self.add(at / 8, 1 << (at % 8))
    }

    /// Sets bits `first` to `last`; `first` must not be before the last bit of the call before.
    pub(super) fn set(&mut self, first: u64, last: u64) -> Result {
        let mut at = first;
        while at <= last {
            let whole = usize::try_from((last - at + 1) / 8)?;
            if at % 8 == 0 && whole > 0 {
                let byte = usize::try_from(at / 8)?;
                let mut done = 0;
                while done < whole {
                    let ones = ONES.get(..ONES.len().min(whole - done));
                    self.hand_over(byte + done, ones.unwrap_or_default())?;
                    done += ONES.len().min(whole - done);
                }
                at += u64::try_from(whole)? * 8;
            } else {
                let end = last.min(at | 7);
                // CAST: Below 8.
                let (low, high) = ((at % 8) as u32, (end % 8) as u32);
                self.add(at / 8, (u8::MAX << low) & (u8::MAX >> (7 - high)))?;
                at = end + 1;
            }
        }
        Ok(())
    }

    /// Copies the bits of the pages `part` to bit `bit` and those after it.
    ///
    /// `bit` must not be before the last bit of the call before.
    pub(super) fn copy(&mut self, bit: u64, bitmap: &Bitmap, part: Span) -> Result {
        let (mut at, mut page, mut left) = (bit, part.first, part.count());
        // CAST: Below 8.
        let into = (at % 8) as u32;
        if into != 0 {
            let count = left.min(8 - into);
            self.add(at / 8, bitmap.byte(page, count) << into)?;
            at += u64::from(count);
            left -= count;
            // CAST: Below 8.
            page = page.saturating_add(count as u16);
        }
        while left >= 8 {
            let byte = usize::try_from(at / 8)?;
            let whole = usize::try_from(left / 8)?;
            let done = match bitmap.bytes(page, whole) {
                Some(bytes) => {
                    self.hand_over(byte, bytes)?;
                    whole
                }
                None => {
                    let mut shifted = [0; CHUNK];
                    let bytes = shifted.get_mut(..whole.min(CHUNK)).unwrap_or_default();
                    bitmap.shifted(page, bytes);
                    self.hand_over(byte, bytes)?;
                    bytes.len()
                }
            };
            let bits = u32::try_from(done)? * 8;
            at += u64::from(bits);
            left -= bits;
            // If this wraps, nothing is left.
            // CAST: A part has at most 2^16 pages.
            page = page.wrapping_add(bits as u16);
        }
        match left {
            0 => Ok(()),
            _ => self.add(at / 8, bitmap.byte(page, left)),
        }
    }

    /// Sets the bits of `bits` in the byte at offset `at`.
    #[inline]
    fn add(&mut self, at: u64, bits: u8) -> Result {
        if at != self.at {
            self.flush()?;
            self.at = at;
        }
        self.byte |= bits;
        Ok(())
    }

    /// Hands `bytes` to the sink, which belong at offset `start`, after all that was set before.
    fn hand_over(&mut self, start: usize, bytes: &[u8]) -> Result {
        self.flush()?;
        (self.sink)(start, bytes)
    }

    /// Hands the byte to the sink that may have got all its bits.
    #[inline]
    pub(super) fn flush(&mut self) -> Result {
        if self.byte != 0 {
            (self.sink)(usize::try_from(self.at)?, &[self.byte])?;
            self.byte = 0;
        }
        Ok(())
    }
}
