// SPDX-License-Identifier: GPL-2.0-only

//! Migration regions: device-specific regions with a trapped header and a data section.
//!
//! The two region protocols differ in the header only, see [`MigrationRegion`]. Their regions share
//! the data section: one protocol at a time owns the device.
//!
//! uAPI: `include/uapi/linux/vfio_migration_region.h` and `struct vfio_device_migration_info` in
//! [`include/uapi/linux/vfio.h`](srctree/include/uapi/linux/vfio.h)

use core::{
    iter,
    mem::size_of, //
};

use kernel::{
    mm::virt::VmaNew,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};
use migration::protocols::{
    region_2018,
    region_v1,
    window::{
        DataWindow,
        Progress, //
    },
    MigrationRegion, //
};

use super::{
    data_section::DataSection,
    sparse_mmap::add_sparse_mmap,
    Call,
    Flavour,
    VfioDevice, //
};
use crate::{
    bindings,
    DriverModule, //
};

/// Bytes of the longest header.
const MAX_HEADER: usize = region_2018::layout::HEADER_LEN;

/// Returns the type and the subtype that the type capability of a region carries.
pub(crate) const fn type_of(region: MigrationRegion) -> (u32, u32) {
    match region {
        MigrationRegion::Region2018 => (
            bindings::VFIO_REGION_TYPE_MIGRATION_2018,
            bindings::VFIO_REGION_SUBTYPE_MIGRATION_2018,
        ),
        MigrationRegion::RegionV1 => (
            bindings::VFIO_REGION_TYPE_MIGRATION_DEPRECATED,
            bindings::VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED,
        ),
    }
}

impl<F: Flavour> VfioDevice<F> {
    /// Returns the migration region of an index; `EINVAL` if there is none.
    ///
    /// The migration regions come right after the regions of vfio-pci.
    #[inline]
    pub(crate) fn migration_region(index: u64) -> Result<MigrationRegion> {
        let number = index
            .checked_sub(bindings::VFIO_PCI_NUM_REGIONS.into())
            .ok_or(EINVAL)?;
        F::OwnerModule::protocols()
            .regions()
            .nth(usize::try_from(number)?)
            .ok_or(EINVAL)
    }

    /// Reads from the region.
    pub(crate) fn region_read(&self, region: MigrationRegion, mut call: Call) -> isize {
        let result = self.locate(region, &mut call).and_then(|part| match part {
            Part::Header(offset) => {
                let mut header = [0; MAX_HEADER];
                let fields = header.get_mut(..call.len()).ok_or(EINVAL)?;
                // A read may use up what an earlier one has staged. So memory that cannot be
                // written is found before the read has an effect.
                call.writer().write_slice(fields)?;
                self.state()?
                    .region_read(region, self.host(), self.section(), offset, fields)?;
                call.writer().write_slice(fields)?;
                Ok(call.len())
            }
            Part::Data(offset) => {
                let mut to = call.writer();
                self.for_each_page(offset, call.len(), |section, at, bounce| {
                    section.read(at, bounce)?;
                    to.write_slice(bounce)
                })
            }
        });
        finish(call, result)
    }

    /// Writes to the region.
    pub(crate) fn region_write(&self, region: MigrationRegion, mut call: Call) -> isize {
        let result = self.locate(region, &mut call).and_then(|part| match part {
            Part::Header(offset) => {
                let mut header = [0; MAX_HEADER];
                let fields = header.get_mut(..call.len()).ok_or(EINVAL)?;
                call.reader().read_slice(fields)?;
                self.header_write(region, offset, fields)?;
                Ok(call.len())
            }
            Part::Data(offset) => {
                let mut from = call.reader();
                self.for_each_page(offset, call.len(), |section, at, bounce| {
                    from.read_slice(bounce)?;
                    section.write(at, bounce)
                })
            }
        });
        finish(call, result)
    }

    /// Writes to the header. An image is loaded one section at a time, so that others can take the
    /// state lock in between.
    ///
    /// `EINVAL` if another caller has ended the load meanwhile.
    fn header_write(&self, region: MigrationRegion, offset: usize, fields: &[u8]) -> Result {
        let mut session = None;
        loop {
            let progress = self.load(|state| {
                let now = state.engine().session();
                if *session.get_or_insert(now) != now {
                    return Err(EINVAL);
                }
                state.region_write(region, self.host(), self.section(), offset, fields)
            })?;
            if progress == Progress::Done {
                return Ok(());
            }
        }
    }

    /// Finds the part of the region that a call addresses, and shortens a call that goes beyond the
    /// end of the region.
    ///
    /// `EINVAL` if the call begins beyond the end, touches bytes between the header and the data
    /// section, or begins in the header and goes beyond it.
    fn locate(&self, region: MigrationRegion, call: &mut Call) -> Result<Part> {
        let offset = usize::try_from(call.offset())?;
        if let Some(offset) = offset.checked_sub(DataSection::OFFSET) {
            let room = self
                .section()
                .size()
                .checked_sub(offset)
                .filter(|room| *room > 0)
                .ok_or(EINVAL)?;
            call.truncate(room);
            return Ok(Part::Data(offset));
        }
        match offset.checked_add(call.len()) {
            Some(end) if end <= region.header_len() => Ok(Part::Header(offset)),
            _ => Err(EINVAL),
        }
    }

    /// Moves `len` bytes of the data section from `offset` on, a page at a time.
    ///
    /// No lock is held: the section is only memory. If the user changes it through a mapping
    /// meanwhile, that is the user's own affair.
    fn for_each_page(
        &self,
        offset: usize,
        len: usize,
        mut copy: impl FnMut(&dyn DataWindow, usize, &mut [u8]) -> Result,
    ) -> Result<usize> {
        let mut bounce = KVec::from_elem(0u8, len.min(PAGE_SIZE), GFP_KERNEL)?;
        let mut moved = 0;
        while moved < len {
            let part = bounce.get_mut(..PAGE_SIZE.min(len - moved)).ok_or(EINVAL)?;
            let size = part.len();
            if let Err(error) = copy(self.section(), offset + moved, part) {
                if moved == 0 {
                    return Err(error);
                }
                break;
            }
            moved += size;
        }
        Ok(moved)
    }

    /// Returns the size of the regions in bytes.
    pub(crate) fn region_size(&self) -> Result<usize> {
        DataSection::OFFSET
            .checked_add(self.section().size())
            .ok_or(EINVAL)
    }

    /// Maps a part of the data section; `EINVAL` if the area goes beyond it.
    ///
    /// # Safety
    ///
    /// `vma` must be an area that is being set up in an mmap operation of the device.
    pub(crate) unsafe fn region_mmap(&self, vma: *mut kernel::bindings::vm_area_struct) -> Result {
        // SAFETY: The caller vouches for the area.
        let area = unsafe { VmaNew::from_raw(vma) };
        // SAFETY: As above.
        let page = unsafe { (*vma).vm_pgoff };
        // The upper bits of the page offset are the region's index.
        let first = (page & REGION_PAGES_MASK)
            .checked_sub(DataSection::OFFSET / PAGE_SIZE)
            .ok_or(EINVAL)?;
        self.section().map(area, first)
    }

    /// Adds the capability that says which part of a region can be mapped: all but the trapped
    /// header.
    ///
    /// `ENOMEM` without memory.
    ///
    /// # Safety
    ///
    /// `caps` must be a list of capabilities that is being built.
    pub(crate) unsafe fn add_sparse_mmap(&self, caps: *mut bindings::vfio_info_cap) -> Result {
        // CAST: Both are sizes in memory.
        let start = DataSection::OFFSET as u64;
        let end = start + self.section().size() as u64;
        // SAFETY: The caller vouches for the list.
        unsafe { add_sparse_mmap(caps, iter::once(start..end)) }
    }
}

/// Bits of a page offset that are the offset within a region.
const REGION_PAGES_MASK: usize = (1 << (bindings::VFIO_PCI_OFFSET_SHIFT as usize - PAGE_SHIFT)) - 1;

/// The part of a region that a call addresses.
enum Part {
    /// Fields of the header, from this offset on.
    Header(usize),
    /// Bytes of the data section, from this offset in it on.
    Data(usize),
}

/// Ends a call to the region.
fn finish(call: Call, result: Result<usize>) -> isize {
    match result {
        Ok(moved) => call.finish(moved, Ok(())),
        Err(error) => call.finish(0, Err(error)),
    }
}

const _: () = {
    assert!(
        size_of::<bindings::vfio_migration_region_header>() == region_2018::layout::HEADER_LEN,
        "the header of 2018 is not laid out as in the uAPI"
    );
    assert!(
        size_of::<bindings::vfio_device_migration_info>() == region_v1::HEADER_LEN,
        "the header of v1 is not laid out as in the uAPI"
    );
};
