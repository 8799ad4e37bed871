// SPDX-License-Identifier: GPL-2.0-only

//! Registration of a physical device as a parent of virtual ones.
//!
//! C header: [`include/linux/mdev.h`](srctree/include/linux/mdev.h)

use kernel::{
    device::{
        Bound,
        Device, //
    },
    devres,
    module::this_module,
    prelude::*,
    sync::{
        static_lock_class,
        Arc,
        Mutex, //
    }, //
};

use super::{
    driver::Registered,
    operations::Operations,
    parent::Parent, //
};
use crate::lock::lock_name;

/// A registered parent; it is unregistered when this is dropped, unless it was before.
///
/// At the latest it is unregistered when the device is unbound, even if the driver leaks this
/// object or keeps it for longer.
pub struct Registration<T: Operations>(Arc<Shared<T>>);

/// What a [`Registration`] shares with the end of the device's binding.
///
/// # Invariants
///
/// `parent` is registered with the mdev core while `driver` is there.
#[pin_data]
struct Shared<T: Operations> {
    #[pin]
    parent: Parent<T>,
    /// The driver of the virtual devices, as long as the parent is registered. Locked while the
    /// parent is registered and unregistered: whoever comes second finds it done.
    #[pin]
    driver: Mutex<Option<Registered<T>>>,
}

impl<T: Operations> Registration<T> {
    /// Registers a device, bound to a driver of the same module, as a parent.
    ///
    /// `ENODEV` if the driver of the virtual devices is not registered, `EINVAL` if the device is
    /// bound to a driver of another module, which may outlive this one's code; `ENOMEM`, errors of
    /// sysfs.
    pub fn new(device: &Device<Bound>, data: T::Parent) -> Result<Self> {
        let driver = T::driver().registered()?;
        let raw: *mut kernel::bindings::device = core::ptr::from_ref(device).cast_mut().cast();
        // SAFETY: The device is bound, so it has a driver.
        if unsafe { (*(*raw).driver).owner } != this_module::<T::OwnerModule>().as_ptr() {
            return Err(EINVAL);
        }
        let parent = Parent::new(data)?;
        let shared = Arc::pin_init(
            try_pin_init!(Shared {
                parent <- parent,
                driver <- Mutex::new(None, lock_name!("rvfio_parent"), static_lock_class!()),
            }? Error),
            GFP_KERNEL,
        )?;
        devres::register(device, Unregister(shared.clone()), GFP_KERNEL)?;
        shared.register(raw, driver)?;
        Ok(Self(shared))
    }

    /// Removes the parent's virtual devices, and waits for those that are in use; no more can be
    /// created.
    ///
    /// To be called by [`pci::Driver::unbind`](kernel::pci::Driver::unbind): whatever runs later,
    /// such as the drop of this object, finds a function that the bus no longer keeps awake. Must
    /// not be called by what this waits for: a method of [`Operations`] or of a virtual device.
    pub fn unregister(&self) {
        self.0.unregister();
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// Unregisters the parent when devres drops it, at the end of the device's binding.
struct Unregister<T: Operations>(Arc<Shared<T>>);

impl<T: Operations> Drop for Unregister<T> {
    fn drop(&mut self) {
        self.0.unregister();
    }
}

impl<T: Operations> Shared<T> {
    /// Registers a device, which is bound and has an [`Unregister`] of this object.
    fn register(&self, device: *mut kernel::bindings::device, driver: Registered<T>) -> Result {
        let mut registered = self.driver.lock();
        // SAFETY: The object is pinned, and kept by the `Unregister` until the parent is
        // unregistered. The driver is registered as long as `driver` is there. The device is bound,
        // and its binding does not end before the `Unregister` is dropped.
        unsafe { self.parent.register(device, driver.as_raw()) }?;
        // INVARIANT: The parent was just registered.
        *registered = Some(driver);
        Ok(())
    }

    /// Unregisters the parent, unless somebody has.
    fn unregister(&self) {
        let mut registered = self.driver.lock();
        if let Some(driver) = registered.take() {
            // SAFETY: The parent is registered by the type invariant. The lock keeps others from
            // unregistering it.
            unsafe { self.parent.unregister() };
            drop(driver);
        }
    }
}
