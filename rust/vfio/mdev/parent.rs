// SPDX-License-Identifier: GPL-2.0-only

//! Parents: physical devices on which virtual ones can be created.
//!
//! C header: [`include/linux/mdev.h`](srctree/include/linux/mdev.h)

use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::operations::Operations;
use crate::bindings;

/// What the mdev core knows of a parent, and the data of its driver.
///
/// # Invariants
///
/// `types` are the types of the parent, in the order of [`Operations::TYPES`], and do not move.
#[pin_data]
pub(super) struct Parent<T: Operations> {
    data: T::Parent,
    types: KVec<Opaque<bindings::mdev_type>>,
    /// What the mdev core takes the types from.
    pointers: KVec<*mut bindings::mdev_type>,
    #[pin]
    raw: Opaque<bindings::mdev_parent>,
}

// SAFETY: The mdev core may be called from any thread, and the data may be sent to others.
unsafe impl<T: Operations> Send for Parent<T> {}

// SAFETY: Of what a shared reference leads to, only the data can be used, and they are `Sync`.
unsafe impl<T: Operations> Sync for Parent<T> {}

impl<T: Operations> Parent<T> {
    /// Returns an initialiser of a parent that is not registered.
    pub(super) fn new(data: T::Parent) -> Result<impl PinInit<Self, Error>> {
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

    /// Registers a device as this parent, for virtual devices of `driver`.
    ///
    /// # Safety
    ///
    /// The parent must be pinned and not registered, and must stay until it is unregistered; so
    /// must the driver's registration. The device must be bound until then.
    pub(super) unsafe fn register(
        &self,
        device: *mut kernel::bindings::device,
        driver: *mut bindings::mdev_driver,
    ) -> Result {
        // SAFETY: The parent and its types are initialised; the rest is the caller's promise.
        to_result(unsafe {
            bindings::mdev_register_parent(
                self.raw.get(),
                device,
                driver,
                self.pointers.as_ptr().cast_mut(),
                u32::try_from(self.pointers.len())?,
            )
        })
    }

    /// Removes the parent's virtual devices, waits for those that are in use, and unregisters it.
    ///
    /// # Safety
    ///
    /// The parent must be registered, and nobody else may unregister it.
    pub(super) unsafe fn unregister(&self) {
        // SAFETY: The caller vouches for the registration.
        unsafe { bindings::mdev_unregister_parent(self.raw.get()) };
    }

    /// Returns the data of a type's parent, and the type's number in [`Operations::TYPES`].
    ///
    /// # Safety
    ///
    /// `type_` must be a type of a parent of this driver that is registered, or being registered,
    /// for `'a`.
    pub(super) unsafe fn find<'a>(
        type_: *mut bindings::mdev_type,
    ) -> Result<(&'a T::Parent, usize)> {
        // SAFETY: The caller vouches for the type; its parent is embedded in a `Self` whose data
        // and types were initialised before it was registered.
        let (data, pointers) = unsafe {
            let raw: *mut Opaque<bindings::mdev_parent> = (*type_).parent.cast();
            let this = container_of!(raw, Self, raw);
            (&(*this).data, &(*this).pointers)
        };
        let number = pointers.iter().position(|pointer| *pointer == type_);
        Ok((data, number.ok_or(ENODEV)?))
    }
}
