// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel crate's locks lack: a class name that all modules share, and a wait that ends
//! when the caller is killed.
//!
//! lockdep compares the names of a class by their addresses, and warns if a class has two. The key
//! of a class is a static of this module, so it exists once. Generic code is compiled into the
//! module of each driver, with the literals in it, so a literal has an address in each of them. A
//! function of this module returns the same name to all.
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
        // Neither generic nor inlined, so it is compiled once.
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
/// For a mutex that is held for as long as a device takes, or a copy of user memory.
#[inline]
pub(crate) fn lock_killable<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    if let Some(guard) = mutex.try_lock() {
        return Ok(guard);
    }
    // CAST: A `Mutex` begins with its `struct mutex`: it is `#[repr(C)]`, and that is its first
    // field.
    let raw = core::ptr::from_ref(mutex).cast_mut().cast();
    // SAFETY: The mutex is initialised, as every `Mutex` is.
    to_result(unsafe { bindings::rvfio_mutex_lock_killable(raw) })?;
    // SAFETY: The mutex was just taken.
    Ok(unsafe { Guard::new(mutex, ()) })
}
