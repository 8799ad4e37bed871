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
    container_of,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    module::this_module,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    types::Opaque,
    ModuleMetadata, //
};

use super::{
    mediated_device::{
        Mdev,
        MediatedDevice, //
    },
    operations::Operations,
    parent::Parent, //
};
use crate::{
    bindings,
    debugfs::Directory,
    device::VTable,
    DriverModule, //
};

/// [`Driver::uses`] of a driver that is not registered.
const UNREGISTERED: i32 = 0;

/// [`Driver::uses`] of a driver that is being registered or unregistered.
const CHANGING: i32 = -1;

/// A driver of mediated devices: a `static` of its module, since its parents refer to it.
///
/// # Invariants
///
/// `uses` is [`UNREGISTERED`], [`CHANGING`], or the number of [`Registered`] that exist. In the
/// last case `raw` is registered with the mdev bus and `directory` does not change.
pub struct Driver<T: Operations> {
    raw: Opaque<bindings::mdev_driver>,
    /// The driver's directory in debugfs.
    directory: UnsafeCell<Option<Directory>>,
    uses: Atomic<i32>,
    /// The entry by which `rvfio.ko` finds a driver whose registration was leaked.
    listed: Opaque<bindings::rvfio_registration>,
    _mediated: PhantomData<fn() -> T>,
}

// SAFETY: `directory` changes only as the type invariant says, and only the mdev bus uses `raw`.
unsafe impl<T: Operations> Sync for Driver<T> {}

impl<T: Operations> Driver<T> {
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
            uses: Atomic::new(UNREGISTERED),
            listed: Opaque::zeroed(),
            _mediated: PhantomData,
        }
    }

    /// Registers the driver with the mdev bus; `EBUSY` if it is registered, or a parent still is.
    ///
    /// `EINVAL`, with a message, if a parameter of the module is out of its range.
    pub fn register(&'static self) -> Result<DriverRegistration<T>> {
        T::OwnerModule::check_parameters()?;
        self.uses
            .cmpxchg(UNREGISTERED, CHANGING, Full)
            .map_err(|_| EBUSY)?;
        let result = self.change_to_registered();
        let uses = match result {
            Ok(()) => 1,
            Err(_) => UNREGISTERED,
        };
        // INVARIANT: If this is 1, the driver is registered.
        self.uses.store(uses, Release);
        result.map(|()| DriverRegistration(Registered(self)))
    }

    /// Registers the driver; the caller has set `uses` to [`CHANGING`].
    fn change_to_registered(&'static self) -> Result {
        let directory = Directory::new(<T::OwnerModule as ModuleMetadata>::NAME)?;
        // SAFETY: Nobody uses the directory of a driver that is not registered, by the type
        // invariant.
        unsafe { *self.directory.get() = Some(directory) };
        // SAFETY: The driver is static, and was not registered.
        to_result(unsafe { bindings::mdev_register_driver(self.raw.get()) }).inspect_err(|_| {
            // SAFETY: As above.
            drop(unsafe { (*self.directory.get()).take() });
        })?;
        let module = this_module::<T::OwnerModule>();
        // SAFETY: The driver is static, and removed from the list before it is unregistered.
        // `end_leaked` is for a `listed` in a `Self`.
        unsafe {
            bindings::rvfio_registration_add(
                self.listed.get(),
                module.as_ptr(),
                Some(Self::end_leaked),
            );
        }
        Ok(())
    }

    /// Undoes [`Self::change_to_registered`].
    ///
    /// # Safety
    ///
    /// The driver must be registered, and nobody else may unregister it.
    unsafe fn unregister(&self) {
        // SAFETY: The caller vouches for the registration.
        unsafe {
            bindings::rvfio_registration_remove(self.listed.get());
            bindings::mdev_unregister_driver(self.raw.get());
        }
        // SAFETY: Nobody uses the directory of a driver that is not registered.
        drop(unsafe { (*self.directory.get()).take() });
        self.uses.store(UNREGISTERED, Release);
    }

    /// Unregisters a driver whose module has leaked its registration.
    ///
    /// # Safety
    ///
    /// `listed` must be in a `Self` that nobody will ever use again.
    unsafe extern "C" fn end_leaked(listed: *mut bindings::rvfio_registration) {
        let listed: *mut Opaque<bindings::rvfio_registration> = listed.cast();
        // SAFETY: The caller vouches for the object. It is registered, since it is in the list.
        unsafe { (*container_of!(listed, Self, listed)).unregister() };
    }

    /// Keeps the driver registered as long as the returned object exists; `ENODEV` if it is not
    /// registered.
    pub(super) fn registered(&'static self) -> Result<Registered<T>> {
        let mut uses = self.uses.load(Relaxed);
        while uses > 0 {
            let more = uses.checked_add(1).ok_or(EBUSY)?;
            match self.uses.cmpxchg(uses, more, Full) {
                // INVARIANT: `uses` counts one more.
                Ok(_) => return Ok(Registered(self)),
                Err(now) => uses = now,
            }
        }
        Err(ENODEV)
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
            // SAFETY: The mdev bus calls `probe` for a registered driver, which is the one in a
            // `Self`.
            let directory = unsafe {
                let driver: *mut kernel::bindings::device_driver = (*mdev).dev.driver;
                let driver = container_of!(driver, bindings::mdev_driver, driver);
                let raw: *mut Opaque<bindings::mdev_driver> = driver.cast();
                (*(*container_of!(raw, Self, raw)).directory.get()).as_ref()
            };
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
        match unsafe { Parent::<T>::find(type_) } {
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
        let found = unsafe { Parent::<T>::find(type_) };
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

/// A registered driver. The drop of this object unregisters it, or the drop of its last parent,
/// whichever comes later. If this is leaked, the end of the module unregisters the driver.
pub struct DriverRegistration<T: Operations>(
    #[expect(dead_code, reason = "dropped only")] Registered<T>,
);

/// What keeps a driver registered: its [`DriverRegistration`], and each parent.
///
/// # Invariants
///
/// The driver's `uses` counts it.
pub(super) struct Registered<T: Operations>(&'static Driver<T>);

impl<T: Operations> Registered<T> {
    /// Returns the C structure of the driver, which is registered as long as `self` exists.
    pub(super) fn as_raw(&self) -> *mut bindings::mdev_driver {
        self.0.raw.get()
    }
}

impl<T: Operations> Drop for Registered<T> {
    fn drop(&mut self) {
        let driver = self.0;
        let mut uses = driver.uses.load(Relaxed);
        loop {
            let less = match uses {
                1 => CHANGING,
                // No underflow: this one is counted.
                uses => uses - 1,
            };
            match driver.uses.cmpxchg(uses, less, Full) {
                Ok(_) if less == CHANGING => break,
                Ok(_) => return,
                Err(now) => uses = now,
            }
        }
        // SAFETY: The driver is registered by its type invariant, and this was the last use.
        unsafe { driver.unregister() };
    }
}
