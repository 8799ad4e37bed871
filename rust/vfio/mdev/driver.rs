// SPDX-License-Identifier: GPL-2.0-only

//! The driver of a module's mediated devices.
//!
//! C header: [`include/linux/mdev.h`](srctree/include/linux/mdev.h)

use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};

use kernel::{
    bindings::{
        dev_get_drvdata,
        dev_set_drvdata, //
    },
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    module::this_module,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    },
    types::Opaque,
    ModuleMetadata, //
};

use super::{
    flavour::{
        Mdev,
        MediatedDevice, //
    },
    mediated::Mediated,
    parent::Registration, //
};
use crate::{
    bindings,
    debugfs::Directory,
    device::VTable, //
};

/// A driver of mediated devices: a `static` of its module, since its parents refer to it.
///
/// # Invariants
///
/// `raw` is registered with the mdev bus, and `directory` is not changed, while `registered` is true
/// and a [`DriverRegistration`] exists.
pub struct Driver<T: Mediated> {
    raw: Opaque<bindings::mdev_driver>,
    /// The driver's directory in debugfs.
    directory: UnsafeCell<Option<Directory>>,
    registered: Atomic<bool>,
    _mediated: PhantomData<fn() -> T>,
}

// SAFETY: `directory` changes only as the type invariant says, `raw` is the mdev bus's own affair.
unsafe impl<T: Mediated> Sync for Driver<T> {}

impl<T: Mediated> Driver<T> {
    /// Returns a driver that is not registered.
    #[expect(clippy::new_without_default, reason = "for a `static` only")]
    pub const fn new() -> Self {
        let mut driver: bindings::mdev_driver = pin_init::zeroed();
        driver.device_api = bindings::VFIO_DEVICE_API_PCI_STRING.as_ptr().cast();
        driver.probe = Some(Self::probe);
        driver.remove = Some(Self::remove);
        driver.get_available = Some(Self::get_available);
        driver.show_description = Some(Self::show_description);
        driver.driver.name = <T::OwnerModule as ModuleMetadata>::NAME
            .to_bytes_with_nul()
            .as_ptr()
            .cast();
        driver.driver.owner = this_module::<T::OwnerModule>().as_ptr();
        driver.driver.mod_name = driver.driver.name;
        Self {
            raw: Opaque::new(driver),
            directory: UnsafeCell::new(None),
            registered: Atomic::new(false),
            _mediated: PhantomData,
        }
    }

    /// Registers the driver with the mdev bus; `EBUSY` where it is.
    pub fn register(&'static self) -> Result<DriverRegistration<T>> {
        let directory = Directory::new(<T::OwnerModule as ModuleMetadata>::NAME)?;
        if self.registered.xchg(true, Full) {
            return Err(EBUSY);
        }
        // INVARIANT: Nobody uses the directory before the driver is registered.
        // SAFETY: As above.
        unsafe { *self.directory.get() = Some(directory) };
        // SAFETY: The driver is static, and was not registered.
        let result = to_result(unsafe { bindings::mdev_register_driver(self.raw.get()) });
        match result {
            Ok(()) => Ok(DriverRegistration(self)),
            Err(error) => {
                self.unregistered();
                Err(error)
            }
        }
    }

    /// Undoes what registration did beside the bus.
    fn unregistered(&self) {
        // SAFETY: The driver is not registered, so nobody uses the directory.
        drop(unsafe { (*self.directory.get()).take() });
        self.registered.store(false, Release);
    }

    /// Returns the C structure; `ENODEV` where the driver is not registered.
    pub(super) fn as_raw(&self) -> Result<*mut bindings::mdev_driver> {
        if !self.registered.load(Acquire) {
            return Err(ENODEV);
        }
        Ok(self.raw.get())
    }

    /// # Safety
    ///
    /// Called by the mdev bus with a new device of the driver.
    unsafe extern "C" fn probe(mdev: *mut bindings::mdev_device) -> c_int {
        from_result(|| {
            // SAFETY: `mdev` is valid, and the operations are static and made for the size given.
            let vdev = from_err_ptr(unsafe {
                bindings::_vfio_alloc_device(
                    size_of::<MediatedDevice<T>>(),
                    &raw mut (*mdev).dev,
                    &VTable::<Mdev<T>>::OPS,
                )
            })?;
            // SAFETY: The device was just allocated, and `probe` owns a reference.
            let device = unsafe { MediatedDevice::<T>::from_vdev(vdev) };
            // SAFETY: By the type invariant: the driver is registered, since it is called.
            let directory = unsafe { (*T::driver().directory.get()).as_ref() };
            let result = directory
                .map_or(Ok(()), |directory| device.show_status(directory))
                .and_then(|()| {
                    // SAFETY: The device is valid.
                    to_result(unsafe {
                        dev_set_drvdata(&raw mut (*mdev).dev, vdev.cast());
                        bindings::vfio_register_emulated_iommu_dev(vdev)
                    })
                });
            if result.is_err() {
                device.hide_status();
                // SAFETY: The reference of the allocation is given up.
                unsafe { bindings::rvfio_put_device(vdev) };
            }
            result.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the mdev bus with a device that `probe` took.
    unsafe extern "C" fn remove(mdev: *mut bindings::mdev_device) {
        // SAFETY: `mdev` is valid, and `probe` has set the driver data.
        let vdev = unsafe { dev_get_drvdata(&raw mut (*mdev).dev) };
        let vdev: *mut bindings::vfio_device = vdev.cast();
        // SAFETY: `probe` has registered the device, and owns one reference.
        let device = unsafe {
            bindings::vfio_unregister_group_dev(vdev);
            MediatedDevice::<T>::from_vdev(vdev)
        };
        device.retire();
        T::removed(device.peek().engine_mut().device_mut());
        // SAFETY: The reference of the allocation is given up.
        unsafe { bindings::rvfio_put_device(vdev) };
    }

    /// # Safety
    ///
    /// Called by the mdev core with a type of a registered parent.
    unsafe extern "C" fn get_available(type_: *mut bindings::mdev_type) -> c_uint {
        // SAFETY: The caller vouches for the type.
        match unsafe { Registration::<T>::find(type_) } {
            Ok((parent, number)) => T::available(parent, number),
            Err(_) => 0,
        }
    }

    /// # Safety
    ///
    /// Called by the mdev core with a type of a registered parent and a page for the text.
    unsafe extern "C" fn show_description(
        type_: *mut bindings::mdev_type,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: The caller vouches for the type.
        let found = unsafe { Registration::<T>::find(type_) };
        match found.and_then(|(_, number)| T::TYPES.get(number).ok_or(ENODEV)) {
            // SAFETY: The caller vouches for the buffer.
            Ok(type_) => unsafe {
                bindings::rvfio_sysfs_emit(buf, type_.description.as_char_ptr())
            },
            // CAST: An errno fits any signed integer.
            Err(error) => error.to_errno() as isize,
        }
    }
}

/// A registered driver; unregistered when it goes.
///
/// Its parents must be gone before: a parent's driver is unregistered first.
pub struct DriverRegistration<T: Mediated>(&'static Driver<T>);

impl<T: Mediated> Drop for DriverRegistration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariant of `Driver`.
        unsafe { bindings::mdev_unregister_driver(self.0.raw.get()) };
        self.0.unregistered();
    }
}
