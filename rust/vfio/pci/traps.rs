// SPDX-License-Identifier: GPL-2.0-only

//! BARs that the driver decodes in part: what comes to the driver, and what can be mapped.
//!
//! A mapping is checked when it is set up. It stays within what was checked: vfio-pci forbids it to
//! grow (`VM_DONTEXPAND`), a part of it keeps its place in the BAR, and its faults map nothing
//! beyond it, however large the pages are.

use core::ops::Range;

use kernel::{
    error::to_result,
    mm::virt::VmaNew,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};
use migration::trapped::{
    Run,
    Traps,
    BARS, //
};

use super::{
    variant_device::{
        VariantDevice,
        Way, //
    },
    Operations, //
};
use crate::{
    bindings,
    device::{
        add_sparse_mmap,
        Call,
        Host, //
    }, //
};

/// Number of bits of a page offset that are the offset within a region.
const REGION_PAGE_SHIFT: usize = bindings::VFIO_PCI_OFFSET_SHIFT as usize - PAGE_SHIFT;

impl<T: Operations> VariantDevice<T> {
    /// What the driver traps. A wrong table ends the build here.
    // CAST: Widening; `From` is not const.
    pub(super) const TRAPS: Traps = Traps::new(T::TRAPPED, PAGE_SIZE as u64);

    /// Which BARs the driver traps as a whole.
    const WHOLE: [bool; BARS as usize] = Self::TRAPS.whole();

    /// Returns who answers a call.
    #[inline]
    pub(super) fn way(&self, call: &Call) -> Way {
        let Some(bar) = Self::trapped_bar(call.region()) else {
            return Way::Core;
        };
        // SAFETY: Only an open device is read or written.
        let table = unsafe { self.host().msix_table(bar) };
        if Self::WHOLE.get(usize::from(bar)) == Some(&true) && table.is_empty() {
            return Way::Driver(bar);
        }
        let (run, len) = self.first_run(bar, call);
        // CAST: Widening.
        match call.len() as u64 <= len {
            false => Way::Split(bar),
            true if run.is_trapped => Way::Driver(bar),
            true => Way::Core,
        }
    }

    /// Makes a call in pieces, each of which is trapped as a whole or not at all.
    ///
    /// `answer` answers a piece. The call ends with the first that is not moved as a whole; it
    /// returns an error only if nothing was moved.
    #[cold]
    pub(super) fn split(&self, bar: u8, mut call: Call, answer: fn(&Self, Call) -> isize) -> isize {
        let mut moved = 0;
        while call.len() > 0 {
            let (_, len) = self.first_run(bar, &call);
            let piece = call.take(len);
            let wanted = piece.len();
            let result = answer(self, piece);
            let Ok(done) = usize::try_from(result) else {
                return if moved > 0 { moved } else { result };
            };
            // No overflow: a call moves at most `MAX_RW_COUNT` bytes.
            moved += result;
            if done < wanted {
                break;
            }
        }
        moved
    }

    /// Returns the run in which a call to a BAR begins, and the bytes from there to its end.
    #[inline]
    fn first_run(&self, bar: u8, call: &Call) -> (Run, u64) {
        let at = call.offset();
        // SAFETY: Only an open device is read or written.
        let table = unsafe { self.host().msix_table(bar) };
        let run = Self::TRAPS.run_at(bar, at, table);
        // A run ends behind the offset.
        (run, run.end.wrapping_sub(at))
    }

    /// Returns whether the hardware alone answers a read of trapped bytes of a BAR.
    #[inline]
    pub(super) fn reads_through(bar: u8, call: &Call) -> bool {
        let start = call.offset();
        // CAST: Widening. No overflow: an offset has 40 bits, a length less than 32.
        T::HAS_READS_THROUGH && T::reads_through(bar, start..start + call.len() as u64)
    }

    /// Forbids mappings of the BARs of which every page is trapped.
    ///
    /// The caller is opening the device, and has enabled it.
    pub(super) fn forbid_mappings(&self) {
        let raw = self.host().as_raw();
        // SAFETY: By the type invariant. Nobody else uses the device before it is open.
        let supported = unsafe { &mut (*raw).bar_mmap_supported };
        for (bar, supported) in (0..BARS).zip(supported) {
            if Self::TRAPS.has(bar) && self.mappable(bar).next().is_none() {
                *supported = false;
            }
        }
    }

    /// Fills in what `VFIO_DEVICE_GET_REGION_INFO` returns; `EINVAL` if the index has no region,
    /// `ENOMEM` without memory.
    ///
    /// # Safety
    ///
    /// The device must be open, and `caps` a list of capabilities that is being built.
    pub(super) unsafe fn region_info(
        &self,
        info: &mut bindings::vfio_region_info,
        caps: *mut bindings::vfio_info_cap,
    ) -> Result {
        // SAFETY: The caller vouches for the device and the list.
        to_result(unsafe {
            bindings::vfio_pci_ioctl_get_region_info(self.host().vdev(), info, caps)
        })?;
        match Self::trapped_bar(info.index.into()) {
            Some(bar) if info.flags & bindings::VFIO_REGION_INFO_FLAG_MMAP != 0 => {
                // SAFETY: The caller vouches for the list.
                unsafe { add_sparse_mmap(caps, self.mappable(bar)) }
            }
            _ => Ok(()),
        }
    }

    /// Maps a part of a region; `EINVAL` if a page of it is trapped, and whatever vfio-pci returns.
    ///
    /// # Safety
    ///
    /// The device must be open, and `vma` an area that is being set up in an mmap operation.
    pub(super) unsafe fn user_mmap(&self, vma: *mut kernel::bindings::vm_area_struct) -> Result {
        // SAFETY: The caller vouches for the area.
        let (area, page) = unsafe { (VmaNew::from_raw(vma), (*vma).vm_pgoff) };
        let place = place(page, area.end().saturating_sub(area.start()));
        if place.is_some_and(|(bar, bytes)| Self::TRAPS.overlap(bar, bytes)) {
            return Err(EINVAL);
        }
        // SAFETY: The caller vouches for the device and the area.
        to_result(unsafe { bindings::vfio_pci_core_mmap(self.host().vdev(), vma) })
    }

    /// Returns the parts of a BAR that can be mapped.
    fn mappable(&self, bar: u8) -> impl Iterator<Item = Range<u64>> + Clone {
        Self::TRAPS.mappable(bar, self.host().bar_len(bar))
    }

    /// Returns the BAR that a region is, if a part of it is trapped.
    #[inline]
    fn trapped_bar(region: u64) -> Option<u8> {
        bar_of(region).filter(|bar| Self::TRAPS.has(*bar))
    }
}

/// Returns the BAR that a region is.
#[inline]
fn bar_of(region: u64) -> Option<u8> {
    u8::try_from(region).ok().filter(|bar| *bar < BARS)
}

/// Returns the BAR of an area that begins at a page of the device file and has `len` bytes, and the
/// bytes of the BAR.
fn place(page: usize, len: usize) -> Option<(u8, Range<u64>)> {
    // CAST: vfio-pci, which maps the area, keeps 32 bits of the index too.
    let bar = bar_of(u64::from((page >> REGION_PAGE_SHIFT) as u32))?;
    // CAST: Widening.
    let start = ((page & ((1 << REGION_PAGE_SHIFT) - 1)) << PAGE_SHIFT) as u64;
    Some((bar, start..start.saturating_add(len as u64)))
}

#[kernel::macros::kunit_tests(rvfio_traps)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_vfio_pci_maps() {
        let region = 1 << REGION_PAGE_SHIFT;
        for (page, len, expected) in [
            (0, PAGE_SIZE, Some((0, 0..0x1000))),
            (3, 2 * PAGE_SIZE, Some((0, 0x3000..0x5000))),
            (5 * region + 1, PAGE_SIZE, Some((5, 0x1000..0x2000))),
            (
                region - 1,
                PAGE_SIZE,
                Some((0, (1 << 40) - 0x1000..1 << 40)),
            ),
            // Beyond the BAR's region, but no other BAR's bytes.
            (
                region - 1,
                2 * PAGE_SIZE,
                Some((0, (1 << 40) - 0x1000..(1 << 40) + 0x1000)),
            ),
            (0, usize::MAX, Some((0, 0..u64::MAX))),
            (1, usize::MAX, Some((0, 0x1000..u64::MAX))),
            // The ROM, the first region of the driver's own, and one that wraps around.
            (6 * region, PAGE_SIZE, None),
            (9 * region, PAGE_SIZE, None),
            ((2 << 32) * region + 2, PAGE_SIZE, Some((0, 0x2000..0x3000))),
        ] {
            assert_eq!(place(page, len), expected);
        }
    }

    #[test]
    fn bars_come_first() {
        assert_eq!(bar_of(0), Some(0));
        assert_eq!(bar_of(5), Some(5));
        for region in [6, 9, 256, 1 << 32, u64::MAX] {
            assert_eq!(bar_of(region), None);
        }
    }
}
