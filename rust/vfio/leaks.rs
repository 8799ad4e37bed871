// SPDX-License-Identifier: GPL-2.0-only

//! Registrations of drivers that their modules leak.
//!
//! Safe code can leak any object: its `drop` never runs. A driver's registration that is leaked
//! would have its bus call a module that was unloaded. So `rvfio.ko` has a list of them
//! (`leaks.c`), and ends those that are left when a module has ended itself.

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

// SAFETY: There is nothing to be done with a shared reference.
unsafe impl Sync for Listed {}

impl Listed {
    /// Returns an initialiser that lists a registration of a module.
    ///
    /// # Safety
    ///
    /// `end` must be sound to call with a pointer to this object, once, when nothing of the module
    /// runs any more, if the object was not dropped until then.
    pub(crate) unsafe fn new(
        module: &'static ThisModule,
        end: unsafe extern "C" fn(*mut bindings::rvfio_registration),
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|raw: *mut bindings::rvfio_registration| {
                // SAFETY: The memory is pinned until `drop`, which takes it from the list. The
                // caller vouches for `end`.
                unsafe {
                    bindings::rvfio_registration_add(raw, module.as_ptr(), Some(end));
                }
            }),
        })
    }

    /// Returns the object that the C structure is.
    pub(crate) fn from_raw(raw: *mut bindings::rvfio_registration) -> *mut Self {
        // CAST: The structure is the only field, and `Opaque` is transparent.
        raw.cast()
    }
}

#[pinned_drop]
impl PinnedDrop for Listed {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The registration was added by `new`; it does not matter if it was taken out
        // since.
        unsafe { bindings::rvfio_registration_remove(self.raw.get()) };
    }
}

const _: () = assert!(core::mem::offset_of!(Listed, raw) == 0);
