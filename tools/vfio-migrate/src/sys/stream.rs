// SPDX-License-Identifier: GPL-2.0-only

//! Calls on a file as they are, for those who want to see what they return.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Reads once, from where the file stands.
pub fn read(fd: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::read(fd, bytes)
}

/// Writes once, to where the file stands.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::write(fd, bytes)
}

/// Reads once from a place.
pub fn pread_some(fd: BorrowedFd<'_>, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::pread(fd, bytes, offset)
}

/// Writes once to a place.
pub fn pwrite_some(fd: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::pwrite(fd, bytes, offset)
}

/// Moves where the file stands.
pub fn seek(fd: BorrowedFd<'_>, offset: u64) -> Result<u64, Errno> {
    rustix::fs::seek(fd, SeekFrom::Start(offset))
}

/// Whether a read would not block, without waiting.
pub fn poll_now(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut polled, Some(&now))?;
    Ok(polled[0].revents().contains(PollFlags::IN))
}
