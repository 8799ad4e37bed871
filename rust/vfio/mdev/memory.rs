// SPDX-License-Identifier: GPL-2.0-only

//! The user's memory, as a virtual device's DMA reaches it.
//!
//! The container finds what is mapped, and takes what is written for dirty. So its bitmap is exact
//! for a virtual device, and nothing has to be pinned.

use kernel::{
    error::to_result,
    prelude::*, //
};
use migration::iova::IovaRange;

use super::VirtualDevice;
use crate::{
    bindings,
    device::{
        trace,
        Host, //
    }, //
};

impl VirtualDevice {
    /// Emits the trace event that the device is about to write `range`.
    pub fn mark_writing(&self, range: IovaRange) {
        trace::dirty(self.as_ref(), range);
    }

    /// Reads the user's memory at an I/O virtual address.
    ///
    /// `EINVAL` if the address is not mapped, `EPERM` if it must not be read, `EFAULT` if the
    /// user's memory is gone. Bytes before that may have been read. The caller must hold no lock
    /// that a page fault takes.
    ///
    /// Nothing is read if no user has the device open (`ENODEV`), if the caller is no kernel
    /// thread, which alone can be called off (`EOPNOTSUPP`), or if another thread copies the
    /// device's memory (`EBUSY`).
    ///
    /// `EINTR`, or any of the first errors, if the copy is called off, see
    /// [`Self::call_off_copies`].
    pub fn read_memory(&self, iova: u64, to: &mut [u8]) -> Result {
        self.copy(|| {
            // SAFETY: The device is valid and open, and `to` is valid for writes of its length.
            to_result(unsafe {
                bindings::vfio_dma_rw(self.vdev(), iova, to.as_mut_ptr().cast(), to.len(), false)
            })
        })
    }

    /// Writes the user's memory at an I/O virtual address.
    ///
    /// Rules and errors are those of [`Self::read_memory`].
    pub fn write_memory(&self, iova: u64, from: &[u8]) -> Result {
        self.copy(|| {
            let data = from.as_ptr().cast_mut().cast();
            // SAFETY: The device is valid and open, and `from` is valid for reads of its length; a
            // write to the user's memory only reads it.
            to_result(unsafe { bindings::vfio_dma_rw(self.vdev(), iova, data, from.len(), true) })
        })
    }

    /// Runs `copy` if the device is open; it stays open meanwhile.
    ///
    /// The caller is either a callback of the driver, with the state lock, without which the device
    /// cannot be closed; or a handle has led it here, and closing waits for it.
    fn copy(&self, copy: impl FnOnce() -> Result) -> Result {
        if !self.is_open() {
            return Err(ENODEV);
        }
        self.copies().run(copy)
    }

    /// Has a copy that waits for the user's memory end with an error, and lets none begin.
    ///
    /// For whoever must wait for the device's commands, whatever the memory is: a userfaultfd that
    /// nobody serves keeps a copy waiting for ever.
    pub fn call_off_copies(&self) {
        self.copies().call_off();
    }

    /// Lets copies begin again.
    pub fn allow_copies(&self) {
        self.copies().allow();
    }
}
