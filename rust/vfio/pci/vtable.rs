// SPDX-License-Identifier: GPL-2.0-only

//! The operations that the VFIO core calls on a variant device.

use core::marker::PhantomData;

use kernel::{
    error::from_result,
    ioctl::_IO,
    prelude::*,
    ModuleMetadata, //
};

use super::{
    flavour::VariantDevice,
    variant::Variant, //
};
use crate::{
    bindings,
    pins,
    user::Call, //
};

/// `VFIO_DEVICE_RESET` of the uAPI.
const VFIO_DEVICE_RESET: u32 = vfio_ioctl(11);

/// `VFIO_DEVICE_IOEVENTFD` of the uAPI.
const VFIO_DEVICE_IOEVENTFD: u32 = vfio_ioctl(16);

/// Returns the number of a VFIO ioctl.
const fn vfio_ioctl(number: u32) -> u32 {
    // CAST: Widening; `From` is not const.
    _IO(b';' as u32, bindings::VFIO_BASE + number)
}

/// Returns an error as the operations return it.
fn errno(error: Error) -> isize {
    // CAST: An errno fits any signed integer.
    error.to_errno() as isize
}

/// The vtable of a driver.
pub(super) struct VTable<T>(PhantomData<T>);

impl<T: Variant> VTable<T> {
    /// What the VFIO core calls.
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
        ops.device_feature = Some(bindings::vfio_pci_core_ioctl_feature);
        ops.get_region_info_caps = Some(bindings::vfio_pci_ioctl_get_region_info);
        ops.mmap = Some(bindings::vfio_pci_core_mmap);
        ops.dma_unmap = Some(Self::dma_unmap);
        ops.request = Some(bindings::vfio_pci_core_request);
        ops.match_ = Some(bindings::vfio_pci_core_match);
        ops.match_token_uuid = Some(bindings::vfio_pci_core_match_token_uuid);
        #[cfg(CONFIG_IOMMUFD)]
        {
            ops.bind_iommufd = Some(bindings::vfio_iommufd_physical_bind);
            ops.unbind_iommufd = Some(bindings::vfio_iommufd_physical_unbind);
            ops.attach_ioas = Some(bindings::vfio_iommufd_physical_attach_ioas);
            ops.detach_ioas = Some(bindings::vfio_iommufd_physical_detach_ioas);
        }
        ops
    };

    /// # Safety
    ///
    /// Called by the VFIO core with a new device of this driver.
    unsafe extern "C" fn init(vdev: *mut bindings::vfio_device) -> c_int {
        from_result(|| {
            // SAFETY: The VFIO core has allocated the device with the size of `VariantDevice<T>`.
            unsafe { VariantDevice::<T>::init_pci(vdev) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with the last reference to a device of this driver.
    unsafe extern "C" fn release(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe { VariantDevice::<T>::release_pci(vdev) }
    }

    /// # Safety
    ///
    /// Called by the VFIO core with a registered device of this driver.
    unsafe extern "C" fn open_device(vdev: *mut bindings::vfio_device) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device.
            unsafe { VariantDevice::<T>::from_vdev(vdev) }.open()?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn close_device(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe { VariantDevice::<T>::from_vdev(vdev) }.close();
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
        match VariantDevice::<T>::trapped_bar(call.region()) {
            Some(bar) if !VariantDevice::<T>::reads_through(bar, &call) => {
                // SAFETY: The caller vouches for the device.
                unsafe { VariantDevice::<T>::from_vdev(vdev) }.trapped_read(bar, call)
            }
            // SAFETY: The caller vouches for the arguments.
            _ => unsafe { bindings::vfio_pci_core_read(vdev, buf, count, ppos) },
        }
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
        match VariantDevice::<T>::trapped_bar(call.region()) {
            // SAFETY: The caller vouches for the device.
            Some(bar) => unsafe { VariantDevice::<T>::from_vdev(vdev) }.trapped_write(bar, call),
            // SAFETY: The caller vouches for the arguments.
            None => unsafe { bindings::vfio_pci_core_write(vdev, buf, count, ppos) },
        }
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn ioctl(
        vdev: *mut bindings::vfio_device,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        match cmd {
            // SAFETY: The caller vouches for the device.
            VFIO_DEVICE_RESET => unsafe { VariantDevice::<T>::from_vdev(vdev) }
                .reset()
                .map_or_else(errno, |()| 0),
            // An ioeventfd writes a register without passing the trap. Which one cannot be told
            // here: the user may change the arguments before the core reads them again.
            VFIO_DEVICE_IOEVENTFD => errno(ENOTTY),
            // SAFETY: The caller vouches for the arguments.
            _ => unsafe { bindings::vfio_pci_core_ioctl(vdev, cmd, arg) },
        }
    }
}

impl<T: Variant> VTable<T> {
    /// Nothing stays pinned, but a pin may not have ended yet.
    ///
    /// # Safety
    ///
    /// Called by a container without the lock that pinning takes.
    unsafe extern "C" fn dma_unmap(_vdev: *mut bindings::vfio_device, _iova: u64, _length: u64) {
        pins::drain();
    }
}
