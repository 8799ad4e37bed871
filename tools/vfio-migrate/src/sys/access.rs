// SPDX-License-Identifier: GPL-2.0-only

//! Opening files, and accesses that are whole or an error.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Opens a file for reading and writing.
pub fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a file for reading; reads do not block if there is nothing to read yet.
pub fn open_nonblocking(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Reads what there is from a file that does not block; 0 if there is nothing.
pub fn read_available(fd: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
    match rustix::io::read(fd, bytes) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        result => result,
    }
}

/// Reads in one call; a short read is `EIO`.
pub fn pread(fd: BorrowedFd<'_>, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
    match rustix::io::pread(fd, &mut *bytes, offset)? {
        n if n == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Writes in one call; a short write is `EIO`.
pub fn pwrite(fd: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    match rustix::io::pwrite(fd, bytes, offset)? {
        n if n == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Reads a whole range, in as many calls as it takes; `EIO` if the file ends before.
pub fn pread_all(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &mut [u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pread(fd, &mut *bytes, offset)? {
            0 => return Err(Errno::IO),
            n => {
                bytes = &mut bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// Writes a whole range, in as many calls as it takes.
pub fn pwrite_all(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset)? {
            0 => return Err(Errno::IO),
            n => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
