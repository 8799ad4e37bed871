// SPDX-License-Identifier: GPL-2.0-only

//! The user's container and its own bitmap of dirty pages.
//!
//! A type1 container cannot see what a device writes. It takes all mapped memory for dirty until
//! the device's driver has pinned a page. From then on it counts only pages that were pinned since
//! tracking began. So a driver that pins each page that its device writes makes the container's
//! bitmap exact, for clients that ask the container and not the device.
//!
//! The pages are unpinned at once. If pins were held, the `dma_unmap` operation would have to undo
//! them, and type1 deadlocks when two threads unmap then. The mapping pins the pages anyway. What
//! happens if a mapping ends in that moment is in [`super::pins`].
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
use migration::{
    container::{
        Container,
        Wait, //
    },
    device::DirtyTracking,
    iova::{
        IovaRange,
        PageRange,
        PAGE_SIZE, //
    }, //
};

use super::CoreDevice;
use crate::{
    bindings,
    dev_warn_ratelimited,
    device::{
        trace,
        DirtyScope,
        Host,
        Moment, //
    }, //
};

/// Bits of a page's address.
const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();

/// Bits of the largest I/O virtual address that an IOMMU takes: that of five levels of page tables.
const IOVA_BITS: u32 = 57;

/// Pages pinned in one call; the VFIO core allows 512.
const CHUNK: usize = 32;

/// The most pages that are marked in one call, 16 MiB: the device's lock is held for as long as the
/// container takes.
const MARKED_PAGES: u64 = 4096;

impl CoreDevice {
    /// Tells the user's container, and whoever traces, that the device is about to write `range`.
    ///
    /// To be called before the device is told to write. The device cannot write what the user has
    /// not mapped for it to write, so the container is not told of that. After any error the
    /// container does not know of all pages, so the device must not write.
    ///
    /// `E2BIG` if `range` has more than 4096 pages of 4096 bytes: mark it in parts. `ENODEV` if no
    /// user has the device open. `EINTR` if the caller is killed, and `ETIMEDOUT` after 60 seconds,
    /// while the user undoes mappings. Otherwise what type1 returns, such as `ENOMEM`.
    pub fn mark_writing(&self, range: IovaRange) -> Result {
        self.mark_written(range)?;
        trace::dirty(Host::as_ref(self), range);
        Ok(())
    }

    /// Tells the user's container that the device has written `range`.
    ///
    /// To be called when the device has done what [`CoreDevice::mark_writing`] announced: in
    /// between, the client may have asked the container and copied the pages. Errors are the same.
    ///
    /// Of a device with [`DirtyTracking::None`] the container is told nothing: one pinned page
    /// would have it count no page that was not marked.
    ///
    /// [`DirtyTracking::None`]: migration::device::DirtyTracking::None
    pub fn mark_written(&self, range: IovaRange) -> Result {
        let pages = pages_to_mark(range)?;
        if self.scope().get() == DirtyScope::Unrecorded {
            return self.check_open();
        }
        self.mark_pages(pages, Wait::Yes)
    }

    /// Tells the user's container that the device has written `pages`, a few at a time.
    fn mark_pages(&self, pages: PageRange, wait: Wait) -> Result {
        let mut at = pages.first();
        while at <= pages.last() {
            let count = (pages.last() - at + 1).min(CHUNK as u64);
            match self.pin(at * PAGE_SIZE, count, wait) {
                Ok(()) => self.scope().set(DirtyScope::Written),
                // One of them is not mapped; the others may be.
                Err(error) if is_unmapped(error) && count > 1 => {
                    for one in at..at + count {
                        match self.pin(one * PAGE_SIZE, 1, wait) {
                            Ok(()) => self.scope().set(DirtyScope::Written),
                            Err(error) if is_unmapped(error) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) if is_unmapped(error) => {}
                Err(error) if has_no_pins(error) => {
                    self.scope().set(DirtyScope::NotAsked);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            at += count;
        }
        Ok(())
    }

    /// Notes what the container takes for dirty of a device that is being opened.
    ///
    /// The container is known by then: a device gets its iommufd, or its group's container, before
    /// it is opened.
    pub(super) fn begin_scope(&self, tracking: DirtyTracking) {
        self.scope().clear();
        if tracking == DirtyTracking::None {
            self.scope().set(match self.is_of_iommufd() {
                true => DirtyScope::NotAsked,
                false => DirtyScope::Unrecorded,
            });
        }
    }

    /// Has the container count only pages that the device wrote, although it wrote none so far.
    ///
    /// That takes one page that is mapped, and the container does not tell which pages are. So this
    /// tries a few places ([`places`]). While none of them is mapped, the container takes all
    /// memory for dirty, which is slow but right.
    #[cold]
    pub(super) fn find_page_to_pin(&self, moment: Moment) {
        if !self.scope().may_look(moment) {
            return;
        }
        if self.is_of_iommufd() {
            return self.scope().set(DirtyScope::NotAsked);
        }
        // One place after the other, but one wait for mappings that end.
        let found = self.pins().with(|| {
            places().find_map(|iova| match self.pin_now(iova, 1, IOMMU_READ) {
                Ok(()) => Some(DirtyScope::Written),
                Err(error) if has_no_pins(error) => Some(DirtyScope::NotAsked),
                Err(_) => None,
            })
        });
        // If no pin may begin, nothing was tried, and the next call tries.
        if let Ok(found) = found {
            self.scope().set(found.unwrap_or(DirtyScope::Everything));
        }
    }

    /// Says in the kernel log, once for each user, why the container takes all memory for dirty.
    pub(super) fn tell_of_container(&self) {
        if !self.scope().is_to_tell() {
            return;
        }
        match self.scope().get() {
            DirtyScope::Unrecorded => dev_warn_ratelimited!(
                self,
                "the driver does not record what the device writes, all memory counts as dirty\n"
            ),
            _ => dev_warn_ratelimited!(
                self,
                "no mapped page was found to pin, the container takes all memory for dirty\n"
            ),
        }
    }

    /// Pins and unpins up to [`CHUNK`] pages at `iova`.
    fn pin(&self, iova: u64, count: u64, wait: Wait) -> Result {
        self.check_open()?;
        let pin = || self.pin_now(iova, count, IOMMU_READ | IOMMU_WRITE);
        match wait {
            Wait::Yes => self.pins().with(pin),
            Wait::No => self.pins().try_with(pin),
        }?
    }

    /// Returns whether an iommufd has the device, and no container.
    pub(super) fn is_of_iommufd(&self) -> bool {
        // SAFETY: The device is valid, and does not change its owner while it is open.
        unsafe { bindings::rvfio_is_of_iommufd(self.vdev()) }
    }

    /// Does what [`CoreDevice::pin`] does, without the wait; `prot` is the access that the pin asks
    /// for.
    fn pin_now(&self, iova: u64, count: u64, prot: u32) -> Result {
        let count = c_int::try_from(count)?;
        let mut pages: [*mut page; CHUNK] = [core::ptr::null_mut(); CHUNK];
        let vdev = self.as_raw().cast();
        let prot = c_int::try_from(prot)?;
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

impl Container for CoreDevice {
    fn counts_pages(&self) -> bool {
        self.is_open() && !self.is_of_iommufd() && self.scope().get() != DirtyScope::NotAsked
    }

    /// Errors are those of [`CoreDevice::mark_written`], whatever the length, and `EBUSY`.
    fn tell(&self, pages: PageRange, wait: Wait) -> Result {
        self.mark_pages(pages, wait)
    }
}

/// Returns the pages of a range that is to be marked; `E2BIG` if they are too many for one call.
fn pages_to_mark(range: IovaRange) -> Result<PageRange> {
    let pages = range.pages();
    match pages.count() {
        0..=MARKED_PAGES => Ok(pages),
        _ => Err(E2BIG),
    }
}

/// Returns whether an error of pinning means that the device cannot write the page.
fn is_unmapped(error: Error) -> bool {
    error == EINVAL || error == EPERM
}

/// Returns whether an error of pinning means that the container has no pins.
///
/// A container of `VFIO_TYPE1_IOMMU` has none, and reports no dirty pages.
fn has_no_pins(error: Error) -> bool {
    error == EACCES
}

/// Returns the addresses at which a mapped page is looked for, some ninety: 0, each power of two,
/// and the page below it.
///
/// If a guest's memory, or a mapping of any other VMM, is at least as large as its address, one of
/// these addresses lies in it. A guest that has an IOMMU of its own maps pages from the top of the
/// device's address space down.
fn places() -> impl Iterator<Item = u64> {
    (PAGE_SHIFT..IOVA_BITS)
        .map(|shift| 1 << shift)
        .flat_map(|power: u64| [power - PAGE_SIZE, power])
}

#[kernel::macros::kunit_tests(rvfio_container)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_in_one_call_is_bounded() -> Result {
        let most = MARKED_PAGES * PAGE_SIZE;
        let pages =
            |start, len| -> Result<u64> { Ok(pages_to_mark(IovaRange::new(start, len)?)?.count()) };
        assert_eq!(pages(0, 1), Ok(1));
        assert_eq!(pages(PAGE_SIZE, most), Ok(MARKED_PAGES));
        // One page more, half of it at either end.
        assert_eq!(pages(PAGE_SIZE / 2, most), Err(E2BIG));
        assert_eq!(pages(0, most + 1), Err(E2BIG));
        assert_eq!(pages(0, u64::MAX), Err(E2BIG));
        Ok(())
    }
}
