// SPDX-License-Identifier: GPL-2.0-only

//! The operations that the VFIO core calls on a mediated device.

use core::marker::PhantomData;

use kernel::{
    error::from_result,
    prelude::*,
    uaccess::UserPtr,
    ModuleMetadata, //
};

use super::{
    flavour::MediatedDevice,
    mediated::Mediated, //
};
use crate::{
    bindings,
    user::Call, //
};

/// The vtable of a driver.
pub(super) struct VTable<T>(PhantomData<T>);

impl<T: Mediated> VTable<T> {
    /// What the VFIO core calls.
    ///
    /// Nothing of the user's is ever pinned, so there is no `dma_unmap`.
    pub(super) const OPS: bindings::vfio_device_ops = {
        let mut ops: bindings::vfio_device_ops = pin_init::zeroed();
        ops.name = <T::OwnerModule as ModuleMetadata>::NAME
            .to_bytes_with_nul()
            .as_ptr()
            .cast_mut();
        ops.init = Some(Self::init);
        ops.release = Some(Self::release);
        ops.open_device = Some(Self::open_device);
        ops.close_device = Some(Self::close_device);
        ops.read = Some(Self::read);
        ops.write = Some(Self::write);
        ops.ioctl = Some(Self::ioctl);
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
    /// Called by the VFIO core with a new device of this driver.
    unsafe extern "C" fn init(vdev: *mut bindings::vfio_device) -> c_int {
        from_result(|| {
            // SAFETY: The VFIO core has allocated the device with the size of `MediatedDevice<T>`.
            unsafe { MediatedDevice::<T>::init_mdev(vdev) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with the last reference to a device of this driver.
    unsafe extern "C" fn release(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe { MediatedDevice::<T>::release_mdev(vdev) }
    }

    /// # Safety
    ///
    /// Called by the VFIO core with a registered device of this driver.
    unsafe extern "C" fn open_device(vdev: *mut bindings::vfio_device) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device.
            unsafe { MediatedDevice::<T>::from_vdev(vdev) }.open()?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn close_device(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe { MediatedDevice::<T>::from_vdev(vdev) }.close();
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn read(
        vdev: *mut bindings::vfio_device,
        buf: *mut c_char,
        count: usize,
        ppos: *mut kernel::bindings::loff_t,
    ) -> isize {
        // SAFETY: The VFIO core passes the file position, which outlives the call.
        let call = unsafe { Call::new(buf, count, ppos) };
        // SAFETY: The caller vouches for the device.
        unsafe { MediatedDevice::<T>::from_vdev(vdev) }.user_read(call)
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn write(
        vdev: *mut bindings::vfio_device,
        buf: *const c_char,
        count: usize,
        ppos: *mut kernel::bindings::loff_t,
    ) -> isize {
        // SAFETY: The VFIO core passes the file position, which outlives the call.
        let call = unsafe { Call::new(buf.cast_mut(), count, ppos) };
        // SAFETY: The caller vouches for the device.
        unsafe { MediatedDevice::<T>::from_vdev(vdev) }.user_write(call)
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn ioctl(
        vdev: *mut bindings::vfio_device,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: The caller vouches for the device.
        let this = unsafe { MediatedDevice::<T>::from_vdev(vdev) };
        match this.user_ioctl(cmd, UserPtr::from_addr(arg)) {
            Ok(()) => 0,
            // CAST: An errno fits any signed integer.
            Err(error) => error.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver, what the user asks and a list of
    /// capabilities.
    unsafe extern "C" fn get_region_info_caps(
        vdev: *mut bindings::vfio_device,
        info: *mut bindings::vfio_region_info,
        caps: *mut bindings::vfio_info_cap,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device, the question and the list.
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
    /// Called by the VFIO core with a device of this driver, again and again until it is closed.
    unsafe extern "C" fn request(vdev: *mut bindings::vfio_device, count: c_uint) {
        // SAFETY: The caller vouches for the device.
        let host = unsafe { MediatedDevice::<T>::from_vdev(vdev) }.host();
        if count == 0 {
            dev_notice!(host.as_ref(), "waits for its user to give it up\n");
        }
        host.request();
    }
}
