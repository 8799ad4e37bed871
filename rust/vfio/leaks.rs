// SPDX-License-Identifier: GPL-2.0-only

//! Registrations of drivers that their modules leak.
//!
//! Safe code can leak any object, whose `drop` then never runs. If a driver's registration were
//! leaked, its bus would call a module that was unloaded. So `rvfio.ko` lists the registrations
//! (`leaks.c`), and ends those that are left when a module's exit has returned.

use kernel::{
    prelude::*,
    types::Opaque,
    ThisModule, //
};

use crate::bindings;

/// A registration's place in the list, until this is dropped.
#[pin_data(PinnedDrop)]
pub(crate) struct Listed {
    #[pin]
    raw: Opaque<bindings::rvfio_registration>,
}

// SAFETY: The list has a lock of its own.
unsafe impl Send for Listed {}

// SAFETY: Nothing can be done with a shared reference.
unsafe impl Sync for Listed {}

impl Listed {
    /// Returns an initialiser that lists a registration of a module.
    ///
    /// # Safety
    ///
    /// If the object is never dropped, `end` must be sound to call with a pointer to it, once, when
    /// no code of the module runs any more.
    pub(crate) unsafe fn new(
        module: &'static ThisModule,
        end: unsafe extern "C" fn(*mut bindings::rvfio_registration),
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|raw: *mut bindings::rvfio_registration| {
                // SAFETY: The memory is pinned until `drop`, which removes it from the list. The
                // caller vouches for `end`.
                unsafe {
                    bindings::rvfio_registration_add(raw, module.as_ptr(), Some(end));
                }
            }),
        })
    }

    /// Returns the object that a C structure belongs to.
    pub(crate) fn from_raw(raw: *mut bindings::rvfio_registration) -> *mut Self {
        // CAST: The structure is the only field, and `Opaque` is transparent.
        raw.cast()
    }
}

#[pinned_drop]
impl PinnedDrop for Listed {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The registration was added by `new`. It may have been removed since, which does
        // no harm.
        unsafe { bindings::rvfio_registration_remove(self.raw.get()) };
    }
}

const _: () = assert!(core::mem::offset_of!(Listed, raw) == 0);
