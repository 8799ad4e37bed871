// SPDX-License-Identifier: GPL-2.0-only

//! A mediated device: the life of a virtual device between the VFIO core and its driver.

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

use super::{
    operations::Operations,
    parent::Parent,
    VirtualDevice, //
};
use crate::{
    bindings,
    device::{
        Call,
        Flavour,
        VfioDevice, //
    }, //
};

/// The flavour of mediated devices.
pub(super) struct Mdev<T>(PhantomData<T>);

/// A virtual device of a driver.
pub(super) type MediatedDevice<T> = VfioDevice<Mdev<T>>;

impl<T: Operations> Flavour for Mdev<T> {
    type Host = VirtualDevice;
    type Device = T::Device;
    type OwnerModule = T::OwnerModule;

    const OPS: bindings::vfio_device_ops = Self::OPERATIONS;
    const IS_RESET_BY_OTHERS: bool = false;

    unsafe fn init(vdev: *mut bindings::vfio_device) -> Result {
        // SAFETY: The caller vouches for the device, which is a mediated device's.
        let (parent, _) = unsafe { parent_of::<T>(vdev) }?;
        // SAFETY: The caller vouches for the allocation, which begins with the host.
        unsafe { VirtualDevice::init(vdev, T::function(parent)) }
    }

    unsafe fn release(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe { VirtualDevice::release(vdev) }
    }

    unsafe fn new_device(vdev: *mut bindings::vfio_device) -> Result<T::Device> {
        // SAFETY: The caller vouches for the device, which is a mediated device's.
        let (parent, type_) = unsafe { parent_of::<T>(vdev) }?;
        T::new(parent, type_)
    }

    fn open(device: &MediatedDevice<T>) -> Result {
        device.host().clear();
        device.begin_use().inspect_err(|_| {
            device.host().wait_for_handles();
            device.section().free();
        })
    }

    fn close(device: &MediatedDevice<T>) {
        device.end_use();
        device.host().wait_for_handles();
        device.host().clear();
        device.section().free();
    }

    #[inline]
    fn read(device: &MediatedDevice<T>, call: Call) -> isize {
        device.user_read(call)
    }

    #[inline]
    fn write(device: &MediatedDevice<T>, call: Call) -> isize {
        device.user_write(call)
    }

    fn ioctl(device: &MediatedDevice<T>, cmd: u32, arg: usize) -> Result<c_long> {
        device.user_ioctl(cmd, UserPtr::from_addr(arg)).map(|()| 0)
    }
}

const _: () = assert!(core::mem::offset_of!(bindings::mdev_device, dev) == 0);

/// Returns the parent of a virtual device, and the number of its type.
///
/// # Safety
///
/// `vdev` must be that of a mediated device of the driver that is being created.
unsafe fn parent_of<'a, T: Operations>(
    vdev: *mut bindings::vfio_device,
) -> Result<(&'a T::Parent, usize)> {
    // SAFETY: The VFIO device's `dev` is that of an `mdev_device`, whose parent is registered as
    // long as mediated devices are created.
    unsafe {
        let mdev: *mut bindings::mdev_device = (*vdev).dev.cast();
        Parent::<T>::find((*mdev).type_)
    }
}
