// SPDX-License-Identifier: GPL-2.0-only

//! Single calls on a file, whose results the caller looks at.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

/// Reads once, at the file's position.
pub fn read(fd: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::read(fd, bytes)
}

/// Writes once, at the file's position.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::write(fd, bytes)
}

/// Reads once, at an offset.
pub fn pread_some(fd: BorrowedFd<'_>, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::pread(fd, bytes, offset)
}

/// Writes once, at an offset.
pub fn pwrite_some(fd: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::pwrite(fd, bytes, offset)
}

/// Moves the file's position.
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
///
/// poll(2) looks at the file again when the time is over. What it finds only then has woken nobody,
/// so it does not count.
pub fn poll_within(fd: BorrowedFd<'_>, timeout: Duration) -> Result<Polled, Errno> {
    let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    let timespec = Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
    let start = Instant::now();
    rustix::event::poll(&mut polled, Some(&timespec))?;
    let late = !timeout.is_zero() && start.elapsed() >= timeout;
    let seen = polled[0].revents();
    Ok(Polled {
        woken: !seen.is_empty() && !late,
        readable: seen.contains(PollFlags::IN) && !late,
    })
}

/// Sets `O_NONBLOCK`.
pub fn do_not_block(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_there_is_polled_and_nothing_is_not() {
        let (file, mut peer) = UnixStream::pair().unwrap();
        let poll =
            |milliseconds| poll_within(file.as_fd(), Duration::from_millis(milliseconds)).unwrap();
        let (nothing, data) = (
            Polled {
                woken: false,
                readable: false,
            },
            Polled {
                woken: true,
                readable: true,
            },
        );
        assert_eq!(poll(0), nothing);
        assert_eq!(poll(5), nothing);
        peer.write_all(b"data").unwrap();
        assert_eq!(poll(0), data);
        assert_eq!(poll(60_000), data);
    }
}
