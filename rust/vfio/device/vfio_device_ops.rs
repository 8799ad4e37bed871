// SPDX-License-Identifier: GPL-2.0-only

//! The operations that the VFIO core calls on a device.
//!
//! C header: `struct vfio_device_ops` in
//! [`include/linux/vfio.h`](srctree/include/linux/vfio.h)

use core::marker::PhantomData;

use kernel::{
    error::from_result,
    ioctl::_IO,
    prelude::*,
    ModuleMetadata, //
};

use super::{
    sleep,
    Call,
    Flavour,
    VfioDevice, //
};
use crate::bindings;

/// `VFIO_DEVICE_RESET` of the uAPI.
const VFIO_DEVICE_RESET: u32 = vfio_ioctl(11);

/// Returns the number of a VFIO ioctl.
pub(crate) const fn vfio_ioctl(number: u32) -> u32 {
    // CAST: Widening; `From` is not const.
    _IO(b';' as u32, bindings::VFIO_BASE + number)
}

/// The vtable of a driver.
pub(crate) struct VTable<F>(PhantomData<F>);

impl<F: Flavour> VTable<F> {
    /// What the VFIO core calls: the operations of the flavour, and those that every device has.
    pub(crate) const OPS: bindings::vfio_device_ops = {
        let mut ops = F::OPS;
        ops.name = <F::OwnerModule as ModuleMetadata>::NAME
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
        ops
    };

    /// # Safety
    ///
    /// Called by the VFIO core with a new device of this driver.
    unsafe extern "C" fn init(vdev: *mut bindings::vfio_device) -> c_int {
        from_result(|| {
            // SAFETY: The VFIO core has allocated the device with the size of `VfioDevice<F>`.
            unsafe { VfioDevice::<F>::init(vdev) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with the last reference to a device of this driver.
    unsafe extern "C" fn release(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe { VfioDevice::<F>::release(vdev) }
    }

    /// # Safety
    ///
    /// Called by the VFIO core with a registered device of this driver.
    unsafe extern "C" fn open_device(vdev: *mut bindings::vfio_device) -> c_int {
        from_result(|| {
            // First, since the host could go to sleep while the device is being enabled.
            sleep::exclude()?;
            // SAFETY: The caller vouches for the device.
            F::open(unsafe { VfioDevice::from_vdev(vdev) }).inspect_err(|_| sleep::allow())?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn close_device(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        F::close(unsafe { VfioDevice::from_vdev(vdev) });
        sleep::allow();
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
        F::read(unsafe { VfioDevice::from_vdev(vdev) }, call)
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
        F::write(unsafe { VfioDevice::from_vdev(vdev) }, call)
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
        let this = unsafe { VfioDevice::<F>::from_vdev(vdev) };
        let result = match cmd {
            VFIO_DEVICE_RESET => this.reset().map(|()| 0),
            _ => F::ioctl(this, cmd, arg),
        };
        // CAST: An errno fits any signed integer.
        result.unwrap_or_else(|error| error.to_errno() as c_long)
    }
}
