// SPDX-License-Identifier: GPL-2.0-only

//! Calls on a file as they are, for those who want to see what they return.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{OFlags, SeekFrom};
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

/// What poll(2) has said of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Polled {
    /// It said anything before the time was over.
    pub woken: bool,
    /// It said `POLLIN`.
    pub readable: bool,
}

/// Waits some time for a file to be readable or in error.
pub fn poll_within(fd: BorrowedFd<'_>, timeout: Duration) -> Result<Polled, Errno> {
    let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
    rustix::event::poll(&mut polled, Some(&timeout))?;
    let seen = polled[0].revents();
    Ok(Polled {
        woken: !seen.is_empty(),
        readable: seen.contains(PollFlags::IN),
    })
}

/// Sets `O_NONBLOCK`.
pub fn do_not_block(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}
