// SPDX-License-Identifier: GPL-2.0-only

//! Memory that is shared with a device or with the kernel.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes of a page of this machine.
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// A mapping of memory that others may read and write at any time.
///
/// # Invariants
///
/// `base` is the start of `len` bytes, mapped readable and writable until the value is dropped, and
/// no reference into them exists.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process and not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: the methods copy with volatile accesses and make no reference into the memory; what they
// read while another thread or a device writes is one of the bytes written.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps zeroed memory of that many bytes, rounded up to pages.
    pub fn anonymous(len: usize) -> Result<Self, Errno> {
        let len = len
            .checked_next_multiple_of(page_size())
            .ok_or(Errno::NOMEM)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )
        }?;
        Self::new(base.cast(), len)
    }

    /// Maps a part of a file or device.
    pub fn of(fd: BorrowedFd<'_>, offset: u64, len: usize) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                offset,
            )
        }?;
        Self::new(base.cast(), len)
    }

    fn new(base: *mut u8, len: usize) -> Result<Self, Errno> {
        let base = NonNull::new(base).ok_or(Errno::NOMEM)?;
        // INVARIANT: both callers just mapped `len` bytes at `base`.
        Ok(Self { base, len })
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where the memory lies in this process, for the kernel's use.
    pub fn address(&self) -> u64 {
        // CAST: addresses have at most 64 bits.
        self.base.as_ptr().addr() as u64
    }

    /// Copies out of the memory.
    ///
    /// # Panics
    ///
    /// If the range does not lie in the mapping.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.check(offset, bytes.len());
        let head = self.unaligned_head(offset, bytes.len());
        let (head, rest) = bytes.split_at_mut(head);
        let mut at = offset;
        for byte in head {
            *byte = self.load(at);
            at += 1;
        }
        let mut words = rest.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.load::<u64>(at).to_ne_bytes());
            at += 8;
        }
        for byte in words.into_remainder() {
            *byte = self.load(at);
            at += 1;
        }
    }

    /// Copies into the memory.
    ///
    /// # Panics
    ///
    /// Where the range does not lie in the mapping.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        let (head, rest) = bytes.split_at(self.unaligned_head(offset, bytes.len()));
        let mut at = offset;
        for byte in head {
            self.store(at, *byte);
            at += 1;
        }
        let words = rest.chunks_exact(8);
        let tail = words.remainder();
        for word in words {
            self.store(
                at,
                u64::from_ne_bytes(word.try_into().expect("eight bytes")),
            );
            at += 8;
        }
        for byte in tail {
            self.store(at, *byte);
            at += 1;
        }
    }

    /// Panics if a range does not lie in the mapping.
    fn check(&self, offset: usize, len: usize) {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} bytes at {offset} lie outside a mapping of {}",
            self.len
        );
    }

    /// How many bytes precede the first aligned word of a range; the base is page aligned.
    fn unaligned_head(&self, offset: usize, len: usize) -> usize {
        (offset.wrapping_neg() % 8).min(len)
    }

    fn load<T: Copy>(&self, at: usize) -> T {
        debug_assert!(at % size_of::<T>() == 0 && at + size_of::<T>() <= self.len);
        // SAFETY: `check` ran on the range that `at` belongs to, so the type's invariant makes the
        // bytes readable; `at` is a multiple of the size of `T`, a byte or a word.
        unsafe { self.base.as_ptr().add(at).cast::<T>().read_volatile() }
    }

    fn store<T: Copy>(&self, at: usize, value: T) {
        debug_assert!(at % size_of::<T>() == 0 && at + size_of::<T>() <= self.len);
        // SAFETY: as in `load`, and the type's invariant makes the bytes writable.
        unsafe { self.base.as_ptr().add(at).cast::<T>().write_volatile(value) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant these bytes are this value's mapping and no reference
        // into them exists. A failure leaves them mapped, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// How [`try_map`] maps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// Shared, for reading and writing.
    Shared,
    /// Shared, for reading.
    ReadOnly,
    /// A private copy, for reading and writing.
    Private,
    /// Shared, for reading and executing.
    Executable,
}

/// Maps a part of a file and unmaps it again, to see whether that is allowed.
pub fn try_map(fd: BorrowedFd<'_>, offset: u64, len: usize, how: How) -> Result<(), Errno> {
    let (prot, flags) = match how {
        How::Shared => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
        How::ReadOnly => (ProtFlags::READ, MapFlags::SHARED),
        How::Private => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE),
        How::Executable => (ProtFlags::READ | ProtFlags::EXEC, MapFlags::SHARED),
    };
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, flags, fd, offset) }?;
    // SAFETY: the mapping was just made, and nothing has its address.
    unsafe { rustix::mm::munmap(base, len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_at_every_alignment() {
        let mapping = Mapping::anonymous(100).unwrap();
        assert_eq!(mapping.len(), page_size());
        for offset in 0..9 {
            for len in 0..40 {
                let bytes: Vec<u8> = (0..len).map(|n| n as u8 + 1).collect();
                mapping.write(offset, &bytes);
                let mut back = vec![0; len];
                mapping.read(offset, &mut back);
                assert_eq!(back, bytes);
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside a mapping")]
    fn refuses_what_lies_outside() {
        Mapping::anonymous(1)
            .unwrap()
            .read(page_size() - 1, &mut [0; 2]);
    }
}
