// SPDX-License-Identifier: GPL-2.0-only

//! The operations that the VFIO core calls on a mediated device and not on every device.

use kernel::{
    error::from_result,
    prelude::*, //
};

use super::{
    mediated_device::{
        Mdev,
        MediatedDevice, //
    },
    operations::Operations, //
};
use crate::{
    bindings,
    device::Host, //
};

impl<T: Operations> Mdev<T> {
    /// What the VFIO core calls.
    ///
    /// No memory of the user is ever pinned, so there is no `dma_unmap`.
    pub(super) const OPERATIONS: bindings::vfio_device_ops = {
        let mut ops: bindings::vfio_device_ops = pin_init::zeroed();
        ops.get_region_info_caps = Some(Self::get_region_info_caps);
        ops.mmap = Some(Self::mmap);
        ops.request = Some(Self::request);
        #[cfg(CONFIG_IOMMUFD)]
        {
            ops.bind_iommufd = Some(bindings::vfio_iommufd_emulated_bind);
            ops.unbind_iommufd = Some(bindings::vfio_iommufd_emulated_unbind);
            ops.attach_ioas = Some(bindings::vfio_iommufd_emulated_attach_ioas);
            ops.detach_ioas = Some(bindings::vfio_iommufd_emulated_detach_ioas);
        }
        ops
    };

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver, the information to fill in and a
    /// list of capabilities.
    unsafe extern "C" fn get_region_info_caps(
        vdev: *mut bindings::vfio_device,
        info: *mut bindings::vfio_region_info,
        caps: *mut bindings::vfio_info_cap,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device, the information and the list.
            unsafe { MediatedDevice::<T>::from_vdev(vdev).region_info(&mut *info, caps) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver and an area that is being set up.
    unsafe extern "C" fn mmap(
        vdev: *mut bindings::vfio_device,
        vma: *mut kernel::bindings::vm_area_struct,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device and the area.
            unsafe { MediatedDevice::<T>::from_vdev(vdev).user_mmap(vma) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with a device of this driver, repeatedly until it is closed.
    unsafe extern "C" fn request(vdev: *mut bindings::vfio_device, count: c_uint) {
        // SAFETY: The caller vouches for the device.
        let host = unsafe { MediatedDevice::<T>::from_vdev(vdev) }.host();
        if count == 0 {
            dev_notice!(host.as_ref(), "waits for its user to give it up\n");
        }
        host.request();
    }
}
