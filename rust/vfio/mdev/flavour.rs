// SPDX-License-Identifier: GPL-2.0-only

//! A mediated device: the life of a virtual device between the VFIO core and its driver.

use core::marker::PhantomData;

use kernel::prelude::*;

use super::{
    mediated::Mediated,
    parent::Registration,
    VirtualDevice, //
};
use crate::{
    bindings,
    device::{
        Flavour,
        Protocols,
        VfioDevice, //
    }, //
};

/// The flavour of mediated devices.
pub(super) struct Mdev<T>(PhantomData<T>);

/// A virtual device of a driver.
pub(super) type MediatedDevice<T> = VfioDevice<Mdev<T>>;

impl<T: Mediated> Flavour for Mdev<T> {
    type Host = VirtualDevice;
    type Device = T::Device;
    type OwnerModule = T::OwnerModule;

    const IS_RESET_BY_OTHERS: bool = false;

    fn protocols() -> Protocols {
        if T::HAS_PROTOCOLS {
            T::protocols()
        } else {
            Protocols::ALL
        }
    }
}

const _: () = assert!(core::mem::offset_of!(bindings::mdev_device, dev) == 0);

impl<T: Mediated> MediatedDevice<T> {
    /// Initialises the device: the `init` operation.
    ///
    /// # Safety
    ///
    /// `vdev` must be embedded in an allocation of the size of `Self` that is being initialised, for
    /// a mediated device of the driver.
    pub(super) unsafe fn init_mdev(vdev: *mut bindings::vfio_device) -> Result {
        // SAFETY: The device is that of an `mdev_device`, whose parent is registered as long as
        // mediated devices are created.
        let (parent, type_) = unsafe {
            let mdev: *mut bindings::mdev_device = (*vdev).dev.cast();
            Registration::<T>::find((*mdev).type_)
        }?;
        // SAFETY: The caller vouches for the allocation, which begins with the host.
        unsafe { VirtualDevice::init(vdev, T::function(parent)) }?;
        let result = T::new(parent, type_).and_then(|device| {
            // SAFETY: The caller vouches for the allocation, and the host is initialised.
            unsafe { Self::init(vdev, device, T::data_section_size()) }
        });
        if result.is_err() {
            // SAFETY: Undoes `VirtualDevice::init()`; nobody else knows the device.
            unsafe { VirtualDevice::release(vdev) };
        }
        result
    }

    /// Ends the device: the `release` operation.
    ///
    /// # Safety
    ///
    /// As for [`Self::from_vdev`]; nobody else may use the device any more.
    pub(super) unsafe fn release_mdev(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe {
            Self::release(vdev);
            VirtualDevice::release(vdev);
        }
    }

    /// Opens the device for a user.
    pub(super) fn open(&self) -> Result {
        self.host().clear();
        self.begin_use().inspect_err(|_| self.section().free())
    }

    /// Closes the device: scrubs it so that nothing is left for the next user.
    pub(super) fn close(&self) {
        self.end_use();
        self.host().clear();
        self.section().free();
    }
}
