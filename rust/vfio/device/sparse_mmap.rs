// SPDX-License-Identifier: GPL-2.0-only

//! The capability that says which parts of a region can be mapped.
//!
//! uAPI: `struct vfio_region_info_cap_sparse_mmap` in
//! [`include/uapi/linux/vfio.h`](srctree/include/uapi/linux/vfio.h)

use core::{
    mem::size_of,
    ops::Range, //
};

use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use crate::bindings::{
    self,
    vfio_region_info_cap_sparse_mmap,
    vfio_region_sparse_mmap_area, //
};

/// Adds the capability with these areas, offsets in bytes within the region.
///
/// `ENOMEM` without memory.
///
/// # Safety
///
/// `caps` must be a list of capabilities that is being built.
pub(crate) unsafe fn add_sparse_mmap(
    caps: *mut bindings::vfio_info_cap,
    areas: impl Iterator<Item = Range<u64>> + Clone,
) -> Result {
    let count = areas.clone().count();
    let size = count
        .checked_mul(size_of::<vfio_region_sparse_mmap_area>())
        .and_then(|size| size.checked_add(size_of::<vfio_region_info_cap_sparse_mmap>()))
        .ok_or(EOVERFLOW)?;
    // CAST: The constant is small.
    let id = bindings::VFIO_REGION_INFO_CAP_SPARSE_MMAP as u16;
    // SAFETY: The caller vouches for the list.
    let header = from_err_ptr(unsafe { bindings::vfio_info_cap_add(caps, size, id, 1) })?;
    let capability: *mut vfio_region_info_cap_sparse_mmap = header.cast();
    // SAFETY: The list has `size` bytes for the capability, aligned as u64: its fixed fields and
    // `count` areas.
    unsafe {
        (*capability).nr_areas = u32::try_from(count)?;
        let first = (&raw mut (*capability).areas).cast::<vfio_region_sparse_mmap_area>();
        for (at, area) in areas.take(count).enumerate() {
            first.add(at).write(vfio_region_sparse_mmap_area {
                offset: area.start,
                size: area.end.saturating_sub(area.start),
            });
        }
    }
    Ok(())
}
