// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel crate's locks lack.
//!
//! Names, for lockdep: the module of each driver has a copy of generic code, with the literals in
//! it; the key of a lock's class is a static of this module, and there is one. lockdep tells names
//! apart by their addresses and warns when a class has two. So the name comes from a function of
//! this module.
//!
//! And a wait that a killed task gives up.
//!
//! C header: [`include/linux/mutex.h`](srctree/include/linux/mutex.h)

use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        lock::{
            mutex::MutexGuard,
            Guard, //
        },
        Mutex, //
    }, //
};

use crate::bindings;

/// Returns the name of a lock's class, at the same address for all modules.
macro_rules! lock_name {
    ($name:literal) => {{
        // Not generic, and not inlined: it is compiled once.
        #[inline(never)]
        fn name() -> &'static ::kernel::str::CStr {
            ::kernel::c_str!($name)
        }
        name()
    }};
}

pub(crate) use lock_name;

/// Takes a mutex; `EINTR` if the caller is killed while it waits.
///
/// For one that is held for long: for as long as a device takes, or someone's user memory.
#[inline]
pub(crate) fn lock_killable<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    if let Some(guard) = mutex.try_lock() {
        return Ok(guard);
    }
    // CAST: A `Mutex` begins with its `struct mutex`: it is `#[repr(C)]`, and that is its first
    // field.
    let raw = core::ptr::from_ref(mutex).cast_mut().cast();
    // SAFETY: The mutex is initialised, as there is no other.
    to_result(unsafe { bindings::rvfio_mutex_lock_killable(raw) })?;
    // SAFETY: The mutex was just taken.
    Ok(unsafe { Guard::new(mutex, ()) })
}
