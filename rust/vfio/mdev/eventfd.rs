// SPDX-License-Identifier: GPL-2.0-only

//! Eventfds, by which interrupts reach user space.
//!
//! C header: [`include/linux/eventfd.h`](srctree/include/linux/eventfd.h)

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use crate::bindings;

/// A reference to an eventfd.
///
/// # Invariants
///
/// The pointer owns a reference to an eventfd context.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: Eventfds may be used from any thread.
unsafe impl Send for EventFd {}

impl EventFd {
    /// Gets the eventfd behind a file descriptor of the calling process.
    ///
    /// `EBADF` if there is no such file, `EINVAL` if it is no eventfd.
    pub(crate) fn new(fd: i32) -> Result<Self> {
        // SAFETY: The function checks the number.
        let context = from_err_ptr(unsafe { bindings::rvfio_eventfd_get(fd) })?;
        // INVARIANT: A reference was just taken.
        NonNull::new(context).map(Self).ok_or(EINVAL)
    }

    /// Adds one to the counter.
    pub(crate) fn signal(&self) {
        // SAFETY: The context is valid by the type invariant.
        unsafe { bindings::rvfio_eventfd_signal(self.0.as_ptr()) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: The reference is owned by the type invariant.
        unsafe { bindings::rvfio_eventfd_put(self.0.as_ptr()) };
    }
}

#[kernel::macros::kunit_tests(rvfio_eventfd)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_file_is_refused() {
        for fd in [-1, i32::MIN, i32::MAX] {
            assert_eq!(EventFd::new(fd).err(), Some(EBADF));
        }
    }
}
