// SPDX-License-Identifier: GPL-2.0-only

//! Ranges of I/O virtual addresses and of the pages that they lie in.

use kernel::prelude::*;

/// Bits of an address that lie within a page.
const PAGE_SHIFT: u32 = 12;

/// Bytes in a page of guest memory as dirty tracking counts it.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// Pages in the whole 64-bit address space.
pub const PAGES: u64 = 1 << (u64::BITS - PAGE_SHIFT);

/// A range of I/O virtual addresses, at least one byte, that does not wrap.
///
/// # Invariants
///
/// `last` is not below `first`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IovaRange {
    /// Address of the first byte.
    first: u64,
    /// Address of the last byte.
    last: u64,
}

impl IovaRange {
    /// Returns the `len` bytes from address `start` on.
    ///
    /// `EINVAL` if `len` is 0 or the range goes past the end of the 64-bit address space. It may
    /// end with the last address.
    #[inline]
    pub fn new(start: u64, len: u64) -> Result<Self> {
        let more = len.checked_sub(1).ok_or(EINVAL)?;
        let last = start.checked_add(more).ok_or(EINVAL)?;
        // INVARIANT: `last` is a sum of `first` and a number that is not negative.
        Ok(Self { first: start, last })
    }

    /// Returns the address of the first byte.
    #[inline]
    pub fn start(&self) -> u64 {
        self.first
    }

    /// Returns the address of the last byte.
    #[inline]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the length in bytes.
    ///
    /// Never overflows: [`IovaRange::new`] takes the length as a `u64`.
    #[inline]
    pub fn len(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Returns false: a range has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns the pages that the range touches.
    #[inline]
    pub fn pages(&self) -> PageRange {
        let first = self.first >> PAGE_SHIFT;
        let last = self.last >> PAGE_SHIFT;
        // INVARIANT: both are at most `u64::MAX >> PAGE_SHIFT`, the last page, and in order.
        PageRange { first, last }
    }

    /// Returns the pages that lie in the range as a whole, if there are any.
    pub fn whole_pages(&self) -> Option<PageRange> {
        let first = self.first.div_ceil(PAGE_SIZE);
        // The last page ends with the last address: there is no address after it to count by.
        let end = match self.last.checked_add(1) {
            Some(end) => end / PAGE_SIZE,
            None => PAGES,
        };
        PageRange::new(first, end.checked_sub(first)?).ok()
    }

    /// Returns the part of the range that lies in `pages`, if there is one.
    pub fn part_in(&self, pages: PageRange) -> Option<Self> {
        let first = self.first.max(pages.start());
        // No overflow: the last page is below `PAGES`.
        let last = self.last.min((pages.last << PAGE_SHIFT) | (PAGE_SIZE - 1));
        // INVARIANT: Returned only if in order.
        (first <= last).then_some(Self { first, last })
    }
}

/// Neighbouring pages of [`PAGE_SIZE`] bytes, at least one.
///
/// # Invariants
///
/// `first` is not above `last`, and `last` is below [`PAGES`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageRange {
    /// Number of the first page.
    first: u64,
    /// Number of the last page.
    last: u64,
}

impl PageRange {
    /// All pages of the address space.
    pub const EVERYTHING: PageRange = PageRange {
        first: 0,
        last: PAGES - 1,
    };

    /// Returns the `count` pages from page number `first` on.
    ///
    /// `EINVAL` if `count` is 0 or the range goes past the end of the address space.
    #[inline]
    pub fn new(first: u64, count: u64) -> Result<Self> {
        let more = count.checked_sub(1).ok_or(EINVAL)?;
        let last = first.checked_add(more).ok_or(EINVAL)?;
        if last >= PAGES {
            return Err(EINVAL);
        }
        // INVARIANT: just checked.
        Ok(Self { first, last })
    }

    /// Returns the `count` pages from the address `iova` on.
    ///
    /// `EINVAL` if `iova` is not page aligned, and as [`PageRange::new`].
    #[inline]
    pub fn at(iova: u64, count: u64) -> Result<Self> {
        if iova % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        Self::new(iova >> PAGE_SHIFT, count)
    }

    /// Returns the number of the first page.
    #[inline]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of the last page.
    #[inline]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the address of the first byte.
    #[inline]
    pub fn start(&self) -> u64 {
        self.first << PAGE_SHIFT
    }

    /// Returns the number of pages, from 1 to [`PAGES`].
    #[inline]
    pub fn count(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Returns the first `count` pages of the range, or all if there are fewer.
    ///
    /// `EINVAL` if `count` is 0.
    pub fn take(&self, count: u64) -> Result<Self> {
        Self::new(self.first, count.min(self.count()))
    }

    /// Returns the pages that are in `other` too, if there are any.
    pub fn part_in(&self, other: PageRange) -> Option<Self> {
        let first = self.first.max(other.first);
        let last = self.last.min(other.last);
        // INVARIANT: Returned only if in order; within both ranges.
        (first <= last).then_some(Self { first, last })
    }

    /// Returns the pages of the range before page number `page`, if there are any.
    pub fn before(&self, page: u64) -> Option<Self> {
        let last = self.last.min(page.checked_sub(1)?);
        // INVARIANT: Returned only if in order; within the range.
        (self.first <= last).then_some(Self { last, ..*self })
    }

    /// Returns the pages of the range after page number `page`, if there are any.
    pub fn after(&self, page: u64) -> Option<Self> {
        let first = self.first.max(page.checked_add(1)?);
        // INVARIANT: Returned only if in order; within the range.
        (first <= self.last).then_some(Self { first, ..*self })
    }
}
