// SPDX-License-Identifier: GPL-2.0-only

//! The regions of a mediated device: BAR 0, the configuration space, and the migration regions.

use core::mem::size_of;

use kernel::{
    error::to_result,
    mm::virt::{
        flags,
        VmaNew, //
    },
    prelude::*, //
};

use super::{
    config_space,
    mediated_device::MediatedDevice,
    operations::Operations, //
};
use crate::{
    bindings::{
        self,
        VFIO_PCI_BAR0_REGION_INDEX,
        VFIO_PCI_CONFIG_REGION_INDEX,
        VFIO_PCI_NUM_REGIONS,
        VFIO_PCI_OFFSET_SHIFT,
        VFIO_PCI_ROM_REGION_INDEX,
        VFIO_REGION_INFO_FLAG_MMAP,
        VFIO_REGION_INFO_FLAG_READ,
        VFIO_REGION_INFO_FLAG_WRITE, //
    },
    device::{
        type_of,
        Call,
        Host, //
    },
    DriverModule, //
};

/// The only BAR.
const BAR: u8 = 0;

/// The region that an index stands for.
enum Region {
    /// BAR 0.
    Bar,
    /// The configuration space.
    Config,
    /// A migration region.
    Migration(migration::protocols::MigrationRegion),
    /// A region of vfio-pci that the device does not have.
    Absent,
}

impl<T: Operations> MediatedDevice<T> {
    /// Returns the number of regions.
    pub(super) fn regions() -> u32 {
        T::OwnerModule::protocols()
            .regions()
            .fold(VFIO_PCI_NUM_REGIONS, |count, _| count + 1)
    }

    /// Returns the region of an index; `EINVAL` if there is none.
    #[inline]
    fn region(index: u64) -> Result<Region> {
        match u32::try_from(index)? {
            VFIO_PCI_BAR0_REGION_INDEX => Ok(Region::Bar),
            VFIO_PCI_CONFIG_REGION_INDEX => Ok(Region::Config),
            index if index <= VFIO_PCI_ROM_REGION_INDEX => Ok(Region::Absent),
            index => Self::migration_region(index.into()).map(Region::Migration),
        }
    }

    /// Fills in what `VFIO_DEVICE_GET_REGION_INFO` returns; `EINVAL` if the index has no region.
    ///
    /// # Safety
    ///
    /// `caps` must be a list of capabilities that is being built.
    pub(super) unsafe fn region_info(
        &self,
        info: &mut bindings::vfio_region_info,
        caps: *mut bindings::vfio_info_cap,
    ) -> Result {
        let region = Self::region(info.index.into())?;
        info.offset = u64::from(info.index) << VFIO_PCI_OFFSET_SHIFT;
        info.size = match region {
            Region::Bar => self.host().bar_len(BAR),
            // CAST: A small constant.
            Region::Config => config_space::SIZE as u64,
            Region::Absent => 0,
            // CAST: A size in memory fits.
            Region::Migration(_) => self.region_size()? as u64,
        };
        info.flags = 0;
        if info.size != 0 {
            info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        }
        if let Region::Migration(region) = region {
            info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
            let (type_, subtype) = type_of(region);
            // SAFETY: The caller vouches for the list.
            unsafe {
                self.add_sparse_mmap(caps)?;
                add_type(caps, type_, subtype)?;
            }
        }
        Ok(())
    }

    /// Answers a read of the user.
    pub(super) fn user_read(&self, call: Call) -> isize {
        if call.len() == 0 {
            return 0;
        }
        match Self::region(call.region()) {
            Ok(Region::Bar) if self.host().is_memory_enabled() => self.trapped_read(BAR, call),
            Ok(Region::Bar) => call.finish(0, Err(EIO)),
            Ok(Region::Config) => self.config_read(call),
            Ok(Region::Migration(region)) => self.region_read(region, call),
            Ok(Region::Absent) | Err(_) => call.finish(0, Err(EINVAL)),
        }
    }

    /// Answers a write of the user.
    pub(super) fn user_write(&self, call: Call) -> isize {
        if call.len() == 0 {
            return 0;
        }
        match Self::region(call.region()) {
            Ok(Region::Bar) if self.host().is_memory_enabled() => self.trapped_write(BAR, call),
            Ok(Region::Bar) => call.finish(0, Err(EIO)),
            Ok(Region::Config) => self.config_write(call),
            Ok(Region::Migration(region)) => self.region_write(region, call),
            Ok(Region::Absent) | Err(_) => call.finish(0, Err(EINVAL)),
        }
    }

    /// Maps a part of a data section for the user; `EINVAL` for other regions, and for private
    /// mappings.
    ///
    /// # Safety
    ///
    /// `vma` must be an area that is being set up in an mmap operation of the device.
    pub(super) unsafe fn user_mmap(&self, vma: *mut kernel::bindings::vm_area_struct) -> Result {
        let shift = VFIO_PCI_OFFSET_SHIFT - kernel::page::PAGE_SHIFT as u32;
        // SAFETY: The caller vouches for the area.
        // CAST: Both are 64 bits wide.
        let index = unsafe { (*vma).vm_pgoff } as u64 >> shift;
        // SAFETY: As above.
        if unsafe { VmaNew::from_raw(vma) }.flags() & flags::SHARED == 0 {
            return Err(EINVAL);
        }
        match Self::region(index)? {
            // SAFETY: The caller vouches for the area.
            Region::Migration(_) => unsafe { self.region_mmap(vma) },
            _ => Err(EINVAL),
        }
    }

    /// Returns the offset in the configuration space at which a call begins, and shortens a call
    /// that goes beyond the end.
    fn config_offset(call: &mut Call) -> Result<usize> {
        let offset = usize::try_from(call.offset())?;
        let room = config_space::SIZE
            .checked_sub(offset)
            .filter(|room| *room > 0)
            .ok_or(EINVAL)?;
        call.truncate(room);
        Ok(offset)
    }

    /// Answers a read of the configuration space.
    fn config_read(&self, mut call: Call) -> isize {
        let mut bytes = [0; config_space::SIZE];
        let result = Self::config_offset(&mut call).and_then(|offset| {
            let part = bytes.get_mut(..call.len()).ok_or(EINVAL)?;
            self.host().config_read(offset, part);
            call.writer().write_slice(part)
        });
        let moved = result.map_or(0, |()| call.len());
        call.finish(moved, result)
    }

    /// Answers a write to the configuration space.
    fn config_write(&self, mut call: Call) -> isize {
        let mut bytes = [0; config_space::SIZE];
        let result = Self::config_offset(&mut call).and_then(|offset| {
            let part = bytes.get_mut(..call.len()).ok_or(EINVAL)?;
            call.reader().read_slice(part)?;
            self.host().config_write(offset, part);
            Ok(())
        });
        let moved = result.map_or(0, |()| call.len());
        call.finish(moved, result)
    }
}

/// Adds the capability with the type of a device-specific region; `ENOMEM` without memory.
///
/// # Safety
///
/// `caps` must be a list of capabilities that is being built.
unsafe fn add_type(caps: *mut bindings::vfio_info_cap, type_: u32, subtype: u32) -> Result {
    let mut capability = bindings::vfio_region_info_cap_type {
        header: bindings::vfio_info_cap_header {
            // CAST: A small constant.
            id: bindings::VFIO_REGION_INFO_CAP_TYPE as u16,
            version: 1,
            next: 0,
        },
        type_,
        subtype,
    };
    // SAFETY: The caller vouches for the list, and the capability is of the size given.
    to_result(unsafe {
        bindings::vfio_info_add_capability(
            caps,
            &raw mut capability.header,
            size_of::<bindings::vfio_region_info_cap_type>(),
        )
    })
}
