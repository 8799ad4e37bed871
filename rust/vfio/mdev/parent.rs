// SPDX-License-Identifier: GPL-2.0-only

//! Parents: physical devices on which virtual ones can be created.
//!
//! C header: [`include/linux/mdev.h`](srctree/include/linux/mdev.h)

use core::marker::PhantomPinned;

use kernel::{
    container_of,
    device::{
        Bound,
        Device, //
    },
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    },
    types::Opaque, //
};

use super::mediated::Mediated;
use crate::bindings;

/// A registered parent; when it goes, it is unregistered, unless it was before.
///
/// # Invariants
///
/// `raw` is registered with the mdev core while `registered`; `types` are the types of it, in the
/// order of [`Mediated::TYPES`], and do not move.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Mediated> {
    data: T::Parent,
    types: KVec<Opaque<bindings::mdev_type>>,
    /// What the mdev core takes the types from.
    pointers: KVec<*mut bindings::mdev_type>,
    #[pin]
    raw: Opaque<bindings::mdev_parent>,
    registered: Atomic<bool>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The mdev core may be called from any thread, and the data may be sent to others.
unsafe impl<T: Mediated> Send for Registration<T> {}

// SAFETY: There is nothing but the data to be done with a shared reference.
unsafe impl<T: Mediated> Sync for Registration<T> {}

impl<T: Mediated> Registration<T> {
    /// Registers a device as a parent.
    ///
    /// `ENODEV` where the driver is not registered, `ENOMEM`, errors of sysfs.
    pub fn new<'a>(
        device: &'a Device<Bound>,
        data: T::Parent,
    ) -> impl PinInit<Self, Error> + use<'a, T> {
        try_pin_init!(&this in Self {
            data,
            types: Self::types()?,
            pointers: KVec::with_capacity(T::TYPES.len(), GFP_KERNEL)?,
            raw: Opaque::zeroed(),
            registered: Atomic::new(true),
            _pin: PhantomPinned,
            _: {
                for type_ in types.iter() {
                    pointers.push(type_.get(), GFP_KERNEL)?;
                }
                let driver = T::driver().as_raw()?;
                // SAFETY: The parent and its types are initialised, pinned, and stay until `drop`,
                // which unregisters them. The driver is registered. The device outlives what is
                // registered while it is bound.
                to_result(unsafe {
                    bindings::mdev_register_parent(
                        Opaque::cast_into(&raw const (*this.as_ptr()).raw),
                        core::ptr::from_ref(device).cast_mut().cast(),
                        driver,
                        pointers.as_mut_ptr(),
                        u32::try_from(pointers.len())?,
                    )
                })?;
            },
        }? Error)
    }

    /// Removes the parent's virtual devices, and waits for those that are in use; no more can be
    /// created.
    ///
    /// To be called by [`pci::Driver::unbind`](kernel::pci::Driver::unbind): what comes after it, as
    /// the end of this object, finds a function that the bus no longer keeps awake.
    pub fn unregister(&self) {
        if self.registered.xchg(false, Full) {
            // SAFETY: Registered by the type invariant, and nobody else unregisters it.
            unsafe { bindings::mdev_unregister_parent(self.raw.get()) };
        }
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

#[pinned_drop]
impl<T: Mediated> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        self.unregister();
    }
}
