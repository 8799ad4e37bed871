// SPDX-License-Identifier: GPL-2.0-only

//! The data section of a migration region: pages that user space can map.

use kernel::{
    alloc::flags::__GFP_ZERO,
    mm::virt::VmaNew,
    page::{
        Page,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        static_lock_class,
        Mutex, //
    }, //
};
use migration::protocols::window::DataWindow;

use crate::{
    bindings,
    lock::lock_name, //
};

/// Memory of a region's data section.
///
/// Each page is allocated by itself: a mapping holds references to its pages and may outlive the
/// section. User space may change the pages at any time, so their bytes are copied and never
/// borrowed.
///
/// User space may also keep pages for longer than the device (in a pipe, by a DMA mapping), so each
/// user gets new ones.
#[pin_data]
pub(crate) struct DataSection {
    /// Bytes in the section.
    size: usize,
    /// The pages, none while nobody uses the device. No other lock is taken under this one.
    #[pin]
    pages: Mutex<KVec<Page>>,
}

impl DataSection {
    /// Offset of the section in its region: the first page after the trapped header.
    pub(crate) const OFFSET: usize = PAGE_SIZE;

    /// Describes a section of `size` bytes, a multiple of the page size, that has no memory yet.
    pub(crate) fn new(size: usize) -> impl PinInit<Self> {
        pin_init!(Self {
            size,
            pages <- Mutex::new(KVec::new(), lock_name!("rvfio_section"), static_lock_class!()),
        })
    }

    /// Returns the size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Allocates zeroed pages for a new user; `ENOMEM` if there are not enough.
    pub(crate) fn allocate(&self) -> Result {
        let count = self.size / PAGE_SIZE;
        let mut pages = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            pages.push(Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?, GFP_KERNEL)?;
        }
        *self.pages.lock() = pages;
        Ok(())
    }

    /// Gives the pages up.
    pub(crate) fn free(&self) {
        *self.pages.lock() = KVec::new();
    }

    /// Maps the section from page `first` on, as many pages as the area holds.
    ///
    /// `EINVAL` if the section does not have all of them or the mapping is to be executable.
    pub(crate) fn map(&self, area: &VmaNew, first: usize) -> Result {
        let count = (area.end() - area.start()) / PAGE_SIZE;
        let last = first.checked_add(count).ok_or(EINVAL)?;
        let pages = self.pages.lock();
        let pages = pages.get(first..last).ok_or(EINVAL)?;

        area.try_clear_mayexec()?;
        area.set_dontexpand();
        area.set_dontdump();
        let area = area.set_mixedmap();
        for (number, page) in pages.iter().enumerate() {
            area.vm_insert_page(area.start() + number * PAGE_SIZE, page)?;
        }
        Ok(())
    }

    /// Calls `copy` for each page that `offset..offset + len` touches: with the page, the offset in
    /// it and the range of the caller's bytes. `EINVAL` if the section does not have all of them.
    fn for_each_part(
        &self,
        offset: usize,
        len: usize,
        mut copy: impl FnMut(&Page, usize, core::ops::Range<usize>),
    ) -> Result {
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if end > self.size() {
            return Err(EINVAL);
        }
        let pages = self.pages.lock();
        let mut at = offset;
        while at < end {
            let within = at % PAGE_SIZE;
            let part = (PAGE_SIZE - within).min(end - at);
            let page = pages.get(at / PAGE_SIZE).ok_or(EINVAL)?;
            copy(page, within, at - offset..at - offset + part);
            at += part;
        }
        Ok(())
    }
}

impl DataWindow for DataSection {
    fn offset(&self) -> u64 {
        // CAST: Widening.
        Self::OFFSET as u64
    }

    fn len(&self) -> usize {
        self.size()
    }

    /// `EINTR` if the caller is being killed, since the use of the bytes may take long.
    fn read(&self, offset: usize, to: &mut [u8]) -> Result {
        // SAFETY: The function looks at the caller's own task.
        if unsafe { bindings::rvfio_fatal_signal_pending() } {
            return Err(EINTR);
        }
        self.for_each_part(offset, to.len(), |page, within, range| {
            if let Some(part) = to.get_mut(range) {
                // SAFETY: The page is owned, `within + part.len()` is at most a page, and `part`
                // is valid for writes of its length.
                unsafe {
                    bindings::rvfio_page_read(
                        page.as_ptr(),
                        within,
                        part.as_mut_ptr().cast(),
                        part.len(),
                    )
                };
            }
        })
    }

    fn write(&self, offset: usize, from: &[u8]) -> Result {
        self.for_each_part(offset, from.len(), |page, within, range| {
            if let Some(part) = from.get(range) {
                // SAFETY: The page is owned, `within + part.len()` is at most a page, and `part`
                // is valid for reads of its length.
                unsafe {
                    bindings::rvfio_page_write(
                        page.as_ptr(),
                        within,
                        part.as_ptr().cast(),
                        part.len(),
                    )
                };
            }
        })
    }
}

#[kernel::macros::kunit_tests(rvfio_data_section)]
mod tests {
    use super::*;

    /// Bytes in the section under test.
    const SIZE: usize = 3 * PAGE_SIZE;

    fn section() -> Result<Pin<KBox<DataSection>>> {
        KBox::pin_init(DataSection::new(SIZE), GFP_KERNEL)
    }

    #[test]
    fn bytes_are_where_they_were_written() -> Result {
        let section = section()?;
        section.allocate()?;
        let mut expected = KVec::from_elem(0_u8, SIZE, GFP_KERNEL)?;
        let mut found = KVec::from_elem(0xff_u8, SIZE, GFP_KERNEL)?;
        section.read(0, &mut found)?;
        assert!(found[..] == expected[..]);

        for (offset, len, byte) in [
            (0, 1, 1),
            (PAGE_SIZE - 1, 2, 2),
            (PAGE_SIZE - 3, PAGE_SIZE + 7, 3),
            (2 * PAGE_SIZE, PAGE_SIZE, 4),
            (SIZE - 1, 1, 5),
            (SIZE, 0, 6),
        ] {
            expected[offset..offset + len].fill(byte);
            section.write(offset, &expected[offset..offset + len])?;
            section.read(0, &mut found)?;
            assert!(found[..] == expected[..]);
            found[..len].fill(0);
            section.read(offset, &mut found[..len])?;
            assert!(found[..len] == expected[offset..offset + len]);
        }
        Ok(())
    }

    #[test]
    fn nothing_beyond_the_section_is_touched() -> Result {
        let section = section()?;
        section.allocate()?;
        let mut bytes = [7; 16];
        for offset in [SIZE - 15, SIZE, usize::MAX - 15, usize::MAX] {
            assert_eq!(section.read(offset, &mut bytes), Err(EINVAL));
            assert_eq!(section.write(offset, &bytes), Err(EINVAL));
        }
        assert_eq!(bytes, [7; 16]);
        section.read(SIZE - 16, &mut bytes)?;
        assert_eq!(bytes, [0; 16]);
        Ok(())
    }

    #[test]
    fn without_a_user_there_are_no_pages() -> Result {
        let section = section()?;
        let mut bytes = [7; 16];
        assert_eq!(section.read(0, &mut bytes), Err(EINVAL));
        section.allocate()?;
        section.write(0, &bytes)?;
        section.free();
        assert_eq!(section.write(0, &bytes), Err(EINVAL));
        assert_eq!(section.read(0, &mut bytes), Err(EINVAL));
        assert_eq!(bytes, [7; 16]);

        // The next user finds nothing of the last one's.
        section.allocate()?;
        section.read(0, &mut bytes)?;
        assert_eq!(bytes, [0; 16]);
        Ok(())
    }
}
