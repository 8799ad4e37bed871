// SPDX-License-Identifier: GPL-2.0-only

//! Parents: physical devices on which virtual ones can be created.
//!
//! C header: [`include/linux/mdev.h`](srctree/include/linux/mdev.h)

use kernel::{
    container_of,
    device::{
        Bound,
        Device, //
    },
    devres,
    error::to_result,
    module::this_module,
    prelude::*,
    sync::{
        static_lock_class,
        Arc,
        Mutex, //
    },
    types::Opaque, //
};

use super::{
    driver::Registered,
    operations::Operations, //
};
use crate::{
    bindings,
    lock::lock_name, //
};

/// A registered parent; when it goes, it is unregistered, unless it was before.
///
/// It is at the latest when the device is unbound, whatever the driver does with this object: leaks
/// it, or keeps it for longer.
pub struct Registration<T: Operations>(Arc<Parent<T>>);

/// What the mdev core knows of a parent, and the data of its driver.
///
/// # Invariants
///
/// `raw` is registered with the mdev core while `driver` is there; `types` are the types of it, in
/// the order of [`Operations::TYPES`], and do not move.
#[pin_data]
pub(super) struct Parent<T: Operations> {
    data: T::Parent,
    types: KVec<Opaque<bindings::mdev_type>>,
    /// What the mdev core takes the types from.
    pointers: KVec<*mut bindings::mdev_type>,
    #[pin]
    raw: Opaque<bindings::mdev_parent>,
    /// The driver of the virtual devices, as long as the parent is registered. Held while it is
    /// registered and unregistered: who comes second finds it done.
    #[pin]
    driver: Mutex<Option<Registered<T>>>,
}

// SAFETY: The mdev core may be called from any thread, and the data may be sent to others.
unsafe impl<T: Operations> Send for Parent<T> {}

// SAFETY: There is nothing but the data to be done with a shared reference.
unsafe impl<T: Operations> Sync for Parent<T> {}

impl<T: Operations> Registration<T> {
    /// Registers a device, bound to a driver of the same module, as a parent.
    ///
    /// `ENODEV` if the driver of the virtual devices is not registered, `EINVAL` if the device is
    /// bound to a driver of another module, which may outlive this one's code; `ENOMEM`, errors of
    /// sysfs.
    pub fn new(device: &Device<Bound>, data: T::Parent) -> Result<Self> {
        let driver = T::driver().registered()?;
        let raw: *mut kernel::bindings::device = core::ptr::from_ref(device).cast_mut().cast();
        // SAFETY: The device is bound, so its driver is there.
        if unsafe { (*(*raw).driver).owner } != this_module::<T::OwnerModule>().as_ptr() {
            return Err(EINVAL);
        }
        let parent = Arc::pin_init(Parent::new(data)?, GFP_KERNEL)?;
        devres::register(device, Unregister(parent.clone()), GFP_KERNEL)?;
        parent.register(raw, driver)?;
        Ok(Self(parent))
    }

    /// Removes the parent's virtual devices, and waits for those that are in use; no more can be
    /// created.
    ///
    /// To be called by [`pci::Driver::unbind`](kernel::pci::Driver::unbind): what comes after it,
    /// as the end of this object, finds a function that the bus no longer keeps awake. Not to be
    /// called by what the parent waits for: a method of [`Operations`] or of a virtual device.
    pub fn unregister(&self) {
        self.0.unregister();
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// What the device's end drops.
struct Unregister<T: Operations>(Arc<Parent<T>>);

impl<T: Operations> Drop for Unregister<T> {
    fn drop(&mut self) {
        self.0.unregister();
    }
}

impl<T: Operations> Parent<T> {
    /// Returns an initialiser of a parent that is not registered.
    fn new(data: T::Parent) -> Result<impl PinInit<Self, Error>> {
        let types = Self::types()?;
        let mut pointers = KVec::with_capacity(types.len(), GFP_KERNEL)?;
        for type_ in types.iter() {
            pointers.push(type_.get(), GFP_KERNEL)?;
        }
        Ok(try_pin_init!(Self {
            data,
            types,
            pointers,
            raw: Opaque::zeroed(),
            driver <- Mutex::new(None, lock_name!("rvfio_parent"), static_lock_class!()),
        }? Error))
    }

    /// Describes the types to the mdev core.
    fn types() -> Result<KVec<Opaque<bindings::mdev_type>>> {
        let mut types = KVec::with_capacity(T::TYPES.len(), GFP_KERNEL)?;
        for described in T::TYPES {
            let mut type_: bindings::mdev_type = pin_init::zeroed();
            type_.sysfs_name = described.name.as_char_ptr();
            type_.pretty_name = described.pretty_name.as_char_ptr();
            types.push(Opaque::new(type_), GFP_KERNEL)?;
        }
        Ok(types)
    }

    /// Registers a device, which is bound, and has an [`Unregister`] of this parent.
    fn register(&self, device: *mut kernel::bindings::device, driver: Registered<T>) -> Result {
        let mut registered = self.driver.lock();
        // SAFETY: The parent and its types are initialised, pinned, and stay until `unregister`.
        // The driver is registered as long as `driver` is there. The device is bound, and before it
        // is not any more `Unregister` is dropped.
        to_result(unsafe {
            bindings::mdev_register_parent(
                self.raw.get(),
                device,
                driver.as_raw(),
                self.pointers.as_ptr().cast_mut(),
                u32::try_from(self.pointers.len())?,
            )
        })?;
        // INVARIANT: The parent was just registered.
        *registered = Some(driver);
        Ok(())
    }

    /// Does [`Registration::unregister`].
    fn unregister(&self) {
        let mut registered = self.driver.lock();
        if let Some(driver) = registered.take() {
            // SAFETY: Registered by the type invariant, and nobody else unregisters it: the lock is
            // held.
            unsafe { bindings::mdev_unregister_parent(self.raw.get()) };
            drop(driver);
        }
    }

    /// Returns the data of a type's parent, and the type's number.
    ///
    /// # Safety
    ///
    /// `type_` must be a type of a parent of this driver that is registered, or being so, for `'a`.
    pub(super) unsafe fn find<'a>(
        type_: *mut bindings::mdev_type,
    ) -> Result<(&'a T::Parent, usize)> {
        // SAFETY: The caller vouches for the type; its parent is embedded in a `Self` whose data and
        // types were initialised before it was registered.
        let (data, pointers) = unsafe {
            let raw: *mut Opaque<bindings::mdev_parent> = (*type_).parent.cast();
            let this = container_of!(raw, Self, raw);
            (&(*this).data, &(*this).pointers)
        };
        let number = pointers.iter().position(|pointer| *pointer == type_);
        Ok((data, number.ok_or(ENODEV)?))
    }
}
