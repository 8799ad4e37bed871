// SPDX-License-Identifier: GPL-2.0-only

//! Calls with memory that is only partly mapped, so that the kernel meets a fault midway.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use super::page_size;

/// A page of memory followed by one that cannot be accessed.
///
/// # Invariants
///
/// `base` is the start of two pages, mapped until the value is dropped, of which the first can be
/// read and written and the second cannot be accessed. No reference into them exists.
#[derive(Debug)]
pub struct Torn {
    base: NonNull<u8>,
}

impl Torn {
    /// Maps the page.
    pub fn new() -> Result<Self, Errno> {
        let page = page_size();
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                2 * page,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        // INVARIANT: two pages were just mapped; the second loses its access below, or the value is
        // dropped before anybody has it.
        let torn = Self { base };
        // SAFETY: the second page is of this mapping, and no reference into it exists.
        unsafe {
            rustix::mm::mprotect(
                torn.base.as_ptr().add(page).cast(),
                page,
                MprotectFlags::empty(),
            )
        }?;
        Ok(torn)
    }

    /// Returns where the last `there` bytes of the page begin.
    ///
    /// # Panics
    ///
    /// If `there` is more than a page.
    fn last(&self, there: usize) -> *mut u8 {
        assert!(there <= page_size());
        // SAFETY: by the type's invariant a page begins at `base`, and no more is subtracted from
        // its end than it has.
        unsafe { self.base.as_ptr().add(page_size() - there) }
    }

    /// Reads once into memory of which only the first `there` bytes can be accessed; returns the
    /// call's result and those bytes.
    pub fn read(&self, fd: BorrowedFd<'_>, there: usize) -> (Result<usize, Errno>, Vec<u8>) {
        let start = self.last(there);
        // SAFETY: by the type's invariant the kernel writes to the first page or faults on the
        // second, and no reference into either exists.
        let result = unsafe { libc::read(fd.as_raw_fd(), start.cast(), there + page_size()) };
        let mut bytes = vec![0; there];
        // SAFETY: by the type's invariant the page has `there` bytes from `start` on, and the
        // vector does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(start, bytes.as_mut_ptr(), there) };
        (returned(result), bytes)
    }

    /// Writes once from memory: `bytes`, which can be accessed, and `gone` more bytes, which
    /// cannot.
    ///
    /// # Panics
    ///
    /// If either are more than a page.
    pub fn write(&self, fd: BorrowedFd<'_>, bytes: &[u8], gone: usize) -> Result<usize, Errno> {
        assert!(gone <= page_size());
        let start = self.last(bytes.len());
        // SAFETY: by the type's invariant the page has room for the bytes, and the slice does not
        // overlap it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
        let length = bytes.len() + gone;
        // SAFETY: by the type's invariant the kernel reads the first page or faults on the second.
        returned(unsafe { libc::write(fd.as_raw_fd(), start.cast(), length) })
    }
}

impl Drop for Torn {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant these pages are this value's mapping and no reference
        // into them exists. A failure leaves them mapped, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), 2 * page_size()) };
    }
}

/// What a call of the C library has returned.
fn returned(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_kernel_finds_no_memory() {
        let torn = Torn::new().unwrap();
        let (mut here, mut there) = UnixStream::pair().unwrap();
        assert_eq!(torn.write(here.as_fd(), &[], 1), Err(Errno::FAULT));
        there.write_all(b"some bytes").unwrap();
        let (result, bytes) = torn.read(here.as_fd(), 4);
        assert!(matches!(result, Err(Errno::FAULT) | Ok(4)), "{result:?}");
        assert_eq!(bytes.len(), 4);
        drop(there);
        here.read_to_end(&mut Vec::new()).unwrap();
    }

    #[test]
    fn what_is_there_is_read_and_written() {
        let torn = Torn::new().unwrap();
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(b"four").unwrap();
        assert_eq!(
            torn.read(here.as_fd(), 8),
            (Ok(4), b"four\0\0\0\0".to_vec())
        );
    }
}
