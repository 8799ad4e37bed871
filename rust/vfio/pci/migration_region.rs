// SPDX-License-Identifier: GPL-2.0-only

//! The migration regions as device-specific regions of vfio-pci.

use core::marker::PhantomData;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};
use migration::protocols::MigrationRegion;

use super::{
    operations::Operations,
    variant_device::VariantDevice, //
};
use crate::{
    bindings,
    device::{
        type_of,
        Call, //
    },
    DriverModule, //
};

impl<T: Operations> VariantDevice<T> {
    /// Adds the regions to a device that is being opened, and has no other regions of its own yet.
    pub(super) fn register_migration_regions(&self) -> Result {
        T::OwnerModule::protocols()
            .regions()
            .try_for_each(|region| self.register_migration_region(region))
    }

    /// Adds one region.
    fn register_migration_region(&self, region: MigrationRegion) -> Result {
        let (type_, subtype) = type_of(region);
        let size = self.region_size()?;
        // SAFETY: The device is being opened, and the operations are static.
        to_result(unsafe {
            bindings::vfio_pci_core_register_dev_region(
                self.host().as_raw(),
                type_,
                subtype,
                &RegionOps::<T>::OPS,
                size,
                bindings::VFIO_REGION_INFO_FLAG_READ
                    | bindings::VFIO_REGION_INFO_FLAG_WRITE
                    | bindings::VFIO_REGION_INFO_FLAG_MMAP,
                core::ptr::null_mut(),
            )
        })
    }
}

/// The operations of the regions.
struct RegionOps<T>(PhantomData<T>);

impl<T: Operations> RegionOps<T> {
    /// What vfio-pci calls.
    const OPS: bindings::vfio_pci_regops = bindings::vfio_pci_regops {
        rw: Some(Self::rw),
        release: Some(Self::release),
        mmap: Some(Self::mmap),
        add_capability: Some(Self::add_capability),
    };

    /// # Safety
    ///
    /// Called by vfio-pci with an open device of this driver.
    unsafe extern "C" fn rw(
        vdev: *mut bindings::vfio_pci_core_device,
        buf: *mut c_char,
        count: usize,
        ppos: *mut kernel::bindings::loff_t,
        iswrite: bool,
    ) -> isize {
        // SAFETY: The device is open.
        let this = unsafe { VariantDevice::<T>::from_vdev(vdev.cast()) };
        // SAFETY: vfio-pci passes the file position, which outlives the call.
        let call = unsafe { Call::new(buf, count, ppos) };
        match VariantDevice::<T>::migration_region(call.region()) {
            Ok(region) if iswrite => this.region_write(region, call),
            Ok(region) => this.region_read(region, call),
            Err(error) => call.finish(0, Err(error)),
        }
    }

    /// The region owns nothing: its memory is the device's.
    ///
    /// # Safety
    ///
    /// None.
    unsafe extern "C" fn release(
        _vdev: *mut bindings::vfio_pci_core_device,
        _region: *mut bindings::vfio_pci_region,
    ) {
    }

    /// # Safety
    ///
    /// Called by vfio-pci with an open device of this driver and an area that is being set up.
    unsafe extern "C" fn mmap(
        vdev: *mut bindings::vfio_pci_core_device,
        _region: *mut bindings::vfio_pci_region,
        vma: *mut kernel::bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: The device is open.
        let this = unsafe { VariantDevice::<T>::from_vdev(vdev.cast()) };
        from_result(|| {
            // SAFETY: The caller vouches for the area.
            unsafe { this.region_mmap(vma) }?;
            Ok(0)
        })
    }

    /// Adds the capability that says which part of the region can be mapped: all but the trapped
    /// header.
    ///
    /// # Safety
    ///
    /// Called by vfio-pci with an open device of this driver and a capability list.
    unsafe extern "C" fn add_capability(
        vdev: *mut bindings::vfio_pci_core_device,
        _region: *mut bindings::vfio_pci_region,
        caps: *mut bindings::vfio_info_cap,
    ) -> c_int {
        // SAFETY: The device is open.
        let this = unsafe { VariantDevice::<T>::from_vdev(vdev.cast()) };
        from_result(|| {
            // SAFETY: `caps` is the list that vfio-pci builds.
            unsafe { this.add_sparse_mmap(caps) }?;
            Ok(0)
        })
    }
}
