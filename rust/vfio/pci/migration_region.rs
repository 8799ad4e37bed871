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

use super::{
    flavour::{
        Pci,
        VariantDevice, //
    },
    variant::Variant, //
};
use crate::{
    bindings,
    device::{
        Flavour,
        Kabi2018,
        RegionKind,
        RegionV1, //
    },
    user::Call, //
};

impl<T: Variant> VariantDevice<T> {
    /// Adds the regions to the device that is being opened.
    pub(super) fn register_migration_regions(&self) -> Result {
        if Pci::<T>::protocols().region_2018 {
            self.register_migration_region::<Kabi2018>()?;
        }
        if Pci::<T>::protocols().region_v1 {
            self.register_migration_region::<RegionV1>()?;
        }
        Ok(())
    }

    /// Adds one region.
    fn register_migration_region<K: RegionKind<Pci<T>>>(&self) -> Result {
        let (type_, subtype) = K::TYPE;
        let size = self.region_size()?;
        // SAFETY: The device is being opened, and the operations are static.
        to_result(unsafe {
            bindings::vfio_pci_core_register_dev_region(
                self.host().as_raw(),
                type_,
                subtype,
                &RegionOps::<T, K>::OPS,
                size,
                bindings::VFIO_REGION_INFO_FLAG_READ
                    | bindings::VFIO_REGION_INFO_FLAG_WRITE
                    | bindings::VFIO_REGION_INFO_FLAG_MMAP,
                core::ptr::null_mut(),
            )
        })
    }
}

/// The operations of the region.
struct RegionOps<T, K>(PhantomData<(T, K)>);

impl<T: Variant, K: RegionKind<Pci<T>>> RegionOps<T, K> {
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
        if iswrite {
            this.region_write::<K>(call)
        } else {
            this.region_read::<K>(call)
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

    /// Tells which part of the region can be mapped: all but the trapped header.
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
