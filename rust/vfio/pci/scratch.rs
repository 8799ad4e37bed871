// SPDX-License-Identifier: GPL-2.0-only

//! A page of the driver's own that a device may read and write.

use kernel::{
    alloc::flags::__GFP_ZERO,
    page::{
        Page,
        PAGE_SIZE, //
    },
    prelude::*, //
};

use crate::bindings;

/// One page of kernel memory for DMA through a private domain.
///
/// The device reaches it only within [`CoreDevice::with_private_dma`], which borrows it mutably,
/// so the methods here never race with the device.
///
/// [`CoreDevice::with_private_dma`]: super::CoreDevice::with_private_dma
pub struct ScratchPage(Page);

impl ScratchPage {
    /// Size of the page in bytes.
    pub const SIZE: usize = PAGE_SIZE;

    /// Allocates a zeroed page; `ENOMEM` if there is none.
    pub fn new() -> Result<Self> {
        Ok(Self(Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?))
    }

    /// Copies the first bytes of the page to `to`; `EINVAL` if `to` is longer than a page.
    pub fn read(&self, to: &mut [u8]) -> Result {
        if to.len() > Self::SIZE {
            return Err(EINVAL);
        }
        // SAFETY: The page is owned, and `to` is valid for its length, at most a page.
        unsafe { bindings::rvfio_page_read(self.0.as_ptr(), 0, to.as_mut_ptr().cast(), to.len()) };
        Ok(())
    }

    /// Copies `from` to the start of the page; `EINVAL` if `from` is longer than a page.
    pub fn write(&mut self, from: &[u8]) -> Result {
        if from.len() > Self::SIZE {
            return Err(EINVAL);
        }
        // SAFETY: The page is owned, and `from` is valid for its length, at most a page.
        unsafe { bindings::rvfio_page_write(self.0.as_ptr(), 0, from.as_ptr().cast(), from.len()) };
        Ok(())
    }

    /// Returns the `struct page`.
    pub(crate) fn as_ptr(&self) -> *mut kernel::bindings::page {
        self.0.as_ptr()
    }
}

#[kernel::macros::kunit_tests(rvfio_scratch)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_no_more() -> Result {
        let mut page = ScratchPage::new()?;
        let mut bytes = KVec::from_elem(7_u8, ScratchPage::SIZE + 1, GFP_KERNEL)?;
        assert_eq!(page.read(&mut bytes), Err(EINVAL));
        assert_eq!(page.write(&bytes), Err(EINVAL));
        assert!(bytes.iter().all(|byte| *byte == 7));

        page.read(&mut bytes[..ScratchPage::SIZE])?;
        assert!(bytes[..ScratchPage::SIZE].iter().all(|byte| *byte == 0));
        page.write(&[1, 2, 3])?;
        page.read(&mut bytes[..5])?;
        assert_eq!(bytes[..5], [1, 2, 3, 0, 0]);
        Ok(())
    }
}
