// SPDX-License-Identifier: GPL-2.0-only

//! A read or write call on a VFIO device, and the user memory that it moves.
//!
//! The values of registers are copied by `put_user()` and `get_user()`, and not by the kernel
//! crate's `UserSlice`, which copies any length: with it a trapped read takes 2 % more
//! instructions, and a trapped write 1 %.

use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader,
        UserSliceWriter, //
    }, //
};
use migration::device::Width;

use crate::bindings;

/// Bits of the file position that are the offset within a region.
const OFFSET_SHIFT: u32 = 40;

/// A read or write call: the place in the device's regions, and the user's buffer.
///
/// # Invariants
///
/// `ppos` is valid for reads and writes for the life of the object.
pub(crate) struct Call {
    /// The file position, advanced by what was moved.
    ppos: *mut kernel::bindings::loff_t,
    /// Start of the user's buffer.
    buf: UserPtr,
    /// Bytes in it.
    count: usize,
}

impl Call {
    /// Wraps the arguments that the VFIO core hands to a read or write operation.
    ///
    /// # Safety
    ///
    /// `ppos` must be valid for reads and writes for the life of the object.
    pub(crate) unsafe fn new(
        buf: *mut c_char,
        count: usize,
        ppos: *mut kernel::bindings::loff_t,
    ) -> Self {
        // INVARIANT: The caller vouches for `ppos`.
        Self {
            ppos,
            buf: UserPtr::from_ptr(buf.cast()),
            count,
        }
    }

    /// Returns the arguments of the operation.
    #[inline]
    pub(crate) fn into_raw(self) -> (*mut c_char, usize, *mut kernel::bindings::loff_t) {
        (self.buf.as_mut_ptr().cast(), self.count, self.ppos)
    }

    /// Returns the index of the region that the file position lies in.
    pub(crate) fn region(&self) -> u64 {
        self.position() >> OFFSET_SHIFT
    }

    /// Returns the offset within the region.
    pub(crate) fn offset(&self) -> u64 {
        self.position() & ((1 << OFFSET_SHIFT) - 1)
    }

    /// Returns how many bytes the user asks for.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Shortens the call to `len` bytes.
    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.count = self.count.min(len);
    }

    /// Takes the first `len` bytes, or all if there are no more, as a call of its own.
    ///
    /// Both begin at the file position. Once the returned call has moved all its bytes, `self` is
    /// the rest.
    #[inline]
    pub(crate) fn take(&mut self, len: u64) -> Self {
        let count = usize::try_from(len).unwrap_or(usize::MAX).min(self.count);
        let buf = self.buf;
        self.buf = buf.wrapping_byte_add(count);
        self.count -= count;
        // INVARIANT: By the type invariant of `self`.
        Self {
            ppos: self.ppos,
            buf,
            count,
        }
    }

    /// Returns the user's buffer, to move single values.
    pub(crate) fn user(&self) -> UserBuffer {
        UserBuffer(self.buf)
    }

    /// Returns a writer to the user's buffer.
    pub(crate) fn writer(&self) -> UserSliceWriter {
        UserSlice::new(self.buf, self.count).writer()
    }

    /// Returns a reader of the user's buffer.
    pub(crate) fn reader(&self) -> UserSliceReader {
        UserSlice::new(self.buf, self.count).reader()
    }

    /// Ends the call: advances the file position and returns what the operation returns.
    ///
    /// An error is returned only if nothing was moved.
    pub(crate) fn finish(self, moved: usize, result: Result) -> isize {
        if moved == 0 {
            if let Err(error) = result {
                // CAST: An errno fits any signed integer.
                return error.to_errno() as isize;
            }
        }
        // CAST: A call moves at most `MAX_RW_COUNT` bytes, less than `i32::MAX`.
        // SAFETY: `ppos` is valid by the type invariant.
        unsafe { *self.ppos = (*self.ppos).wrapping_add(moved as i64) };
        moved as isize
    }

    /// Returns the file position.
    fn position(&self) -> u64 {
        // CAST: The file position of a VFIO device is never negative; if it were, no region would
        // match.
        // SAFETY: `ppos` is valid by the type invariant.
        unsafe { *self.ppos as u64 }
    }
}

/// The buffer of a call that moves values of a register's width.
///
/// Copies of a constant size need fewer checks than copies of any size.
#[derive(Clone, Copy)]
pub(crate) struct UserBuffer(UserPtr);

impl UserBuffer {
    /// Stores a value at byte `at` of the buffer; `EFAULT` if that cannot be written.
    #[inline]
    pub(crate) fn put(self, at: usize, width: Width, value: u64) -> Result {
        let to = self.0.wrapping_byte_add(at).as_mut_ptr();
        // CAST: The enum's values are the widths in bytes.
        // SAFETY: The function checks the address and catches faults.
        match unsafe { bindings::rvfio_put_user(to, value, width as u32) } {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }

    /// Loads the value at byte `at` of the buffer; `EFAULT` if that cannot be read.
    #[inline]
    pub(crate) fn get(self, at: usize, width: Width) -> Result<u64> {
        let from = self.0.wrapping_byte_add(at).as_const_ptr();
        let mut value = 0;
        // CAST: The enum's values are the widths in bytes.
        // SAFETY: The function checks the address and catches faults; `value` is valid.
        match unsafe { bindings::rvfio_get_user(from, &mut value, width as u32) } {
            0 => Ok(value),
            _ => Err(EFAULT),
        }
    }
}

const _: () = assert!(
    bindings::VFIO_PCI_OFFSET_SHIFT == OFFSET_SHIFT,
    "the split of the file position differs from vfio-pci's"
);

#[kernel::macros::kunit_tests(rvfio_call)]
mod tests {
    use super::*;

    /// A call that moves nothing.
    fn call(position: &mut i64) -> Call {
        // SAFETY: Each test drops the call before the position.
        unsafe { Call::new(core::ptr::null_mut(), 4, position) }
    }

    #[test]
    fn a_position_is_a_region_and_an_offset() {
        for (mut position, region, offset) in [
            (0, 0, 0),
            ((1 << OFFSET_SHIFT) - 1, 0, (1 << OFFSET_SHIFT) - 1),
            ((7 << OFFSET_SHIFT) + 0x1234, 7, 0x1234),
            (i64::MAX, (1 << 23) - 1, (1 << OFFSET_SHIFT) - 1),
            (-1, (1 << 24) - 1, (1 << OFFSET_SHIFT) - 1),
        ] {
            let call = call(&mut position);
            assert_eq!(call.region(), region);
            assert_eq!(call.offset(), offset);
        }
    }

    #[test]
    fn an_error_is_returned_only_if_nothing_was_moved() {
        let mut position = 0x1000;
        assert_eq!(call(&mut position).finish(0, Err(EFAULT)), -14);
        assert_eq!(position, 0x1000);
        assert_eq!(call(&mut position).finish(3, Err(EFAULT)), 3);
        assert_eq!(position, 0x1003);
        assert_eq!(call(&mut position).finish(0, Ok(())), 0);
        assert_eq!(call(&mut position).finish(4, Ok(())), 4);
        assert_eq!(position, 0x1007);
    }

    #[test]
    fn a_call_only_gets_shorter() {
        let mut position = 0;
        let mut call = call(&mut position);
        call.truncate(8);
        assert_eq!(call.len(), 4);
        call.truncate(3);
        assert_eq!(call.len(), 3);
        call.truncate(4);
        assert_eq!(call.len(), 3);
    }

    #[test]
    fn a_call_is_taken_apart() {
        let mut position = 0x1000;
        let mut call = call(&mut position);
        let piece = call.take(3);
        assert_eq!((piece.len(), piece.offset(), call.len()), (3, 0x1000, 1));
        assert_eq!(piece.finish(3, Ok(())), 3);
        assert_eq!(call.offset(), 0x1003);
        assert_eq!(call.buf.as_mut_ptr().addr(), 3);
        let piece = call.take(u64::MAX);
        assert_eq!((piece.len(), call.len()), (1, 0));
    }

    #[test]
    fn kernel_memory_cannot_be_accessed() {
        let mut value = 0x0123_4567_89ab_cdef_u64;
        let buffer = UserBuffer(UserPtr::from_ptr((&raw mut value).cast()));
        for width in [Width::B1, Width::B2, Width::B4, Width::B8] {
            assert_eq!(buffer.get(0, width), Err(EFAULT));
            assert_eq!(buffer.put(0, width, 0), Err(EFAULT));
        }
        assert_eq!(value, 0x0123_4567_89ab_cdef);
    }
}
