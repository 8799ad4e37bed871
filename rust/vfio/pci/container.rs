// SPDX-License-Identifier: GPL-2.0-only

//! The user's container and its own bitmap of dirty pages.
//!
//! A type1 container cannot see what a device writes. It takes all mapped memory for dirty, until
//! the device's driver has pinned a page: from then on only pages that were pinned since tracking
//! began count. So a driver that pins each page that its device writes makes that bitmap exact, for
//! clients that ask the container and not the device.
//!
//! The pages are unpinned at once. Pins that are held are undone in the `dma_unmap` operation, and
//! type1 deadlocks when two threads unmap then; and the pages are pinned by the mapping anyway. What
//! happens when a mapping ends in that moment is in [`crate::pins`].
//!
//! C header: [`include/linux/vfio.h`](srctree/include/linux/vfio.h)

use kernel::{
    bindings::{
        page,
        IOMMU_READ,
        IOMMU_WRITE, //
    },
    prelude::*, //
};
use migration::iova::{
    IovaRange,
    PAGE_SIZE, //
};

use super::CoreDevice;
use crate::{
    bindings,
    device::trace,
    pins, //
};

/// Pages pinned in one call; the VFIO core allows 512.
const CHUNK: usize = 32;

impl CoreDevice {
    /// Tells the user's container, and whoever traces, that the device is about to write `range`.
    ///
    /// To be called before the device is told to write. What the user has not mapped for the device
    /// to write cannot be written, and the container is not told of it. Other errors, such as
    /// `ENOMEM`, or `ENODEV` if no user has the device open, mean that the container does not know:
    /// the device must not write then.
    pub fn mark_writing(&self, range: IovaRange) -> Result {
        self.mark_written(range)?;
        trace::dirty(self.as_ref(), range);
        Ok(())
    }

    /// Tells the user's container that the device has written `range`.
    ///
    /// To be called when the device has done what [`CoreDevice::mark_writing`] announced: the client
    /// may have asked, and copied the pages, in between. Errors as there.
    pub fn mark_written(&self, range: IovaRange) -> Result {
        let pages = range.pages();
        let mut at = pages.first();
        while at <= pages.last() {
            let count = (pages.last() - at + 1).min(CHUNK as u64);
            match self.pin(at * PAGE_SIZE, count) {
                Ok(()) => {}
                // One of them is not mapped; the others may be.
                Err(error) if is_unmapped(error) && count > 1 => {
                    for one in at..at + count {
                        match self.pin(one * PAGE_SIZE, 1) {
                            Err(error) if !is_unmapped(error) => return Err(error),
                            _ => {}
                        }
                    }
                }
                Err(error) if is_unmapped(error) => {}
                // A container of `VFIO_TYPE1_IOMMU` has no pins, and tells of no dirty pages.
                Err(error) if error == EACCES => return Ok(()),
                Err(error) => return Err(error),
            }
            at += count;
        }
        Ok(())
    }

    /// Has the container count only pages that the device wrote, although it wrote none so far.
    ///
    /// That takes one page that is mapped. Where none of the usual places of memory is, the
    /// container goes on to take all for dirty: slow, but right.
    pub(super) fn limit_dirty_scope(&self) {
        const PLACES: [u64; 2] = [0, 1 << 30];
        for iova in PLACES {
            if self.pin(iova, 1).is_ok() {
                break;
            }
        }
    }

    /// Pins and unpins up to [`CHUNK`] pages at `iova`.
    fn pin(&self, iova: u64, count: u64) -> Result {
        self.check_open()?;
        pins::with(|| self.pin_now(iova, count))
    }

    /// Does [`CoreDevice::pin`] at once.
    fn pin_now(&self, iova: u64, count: u64) -> Result {
        let count = c_int::try_from(count)?;
        let mut pages: [*mut page; CHUNK] = [core::ptr::null_mut(); CHUNK];
        let vdev = self.as_raw().cast();
        // CAST: The flags are small.
        let prot = (IOMMU_READ | IOMMU_WRITE) as c_int;
        // SAFETY: The device is open, and `pages` has room for `count` of them.
        let pinned =
            unsafe { bindings::vfio_pin_pages(vdev, iova, count, prot, pages.as_mut_ptr()) };
        if pinned < 0 {
            return Err(Error::from_errno(pinned));
        }
        // SAFETY: These pages were just pinned.
        unsafe { bindings::vfio_unpin_pages(vdev, iova, pinned) };
        Ok(())
    }
}

/// Returns whether an error of pinning says that the device cannot write the page.
fn is_unmapped(error: Error) -> bool {
    error == EINVAL || error == EPERM
}
