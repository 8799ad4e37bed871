// SPDX-License-Identifier: GPL-2.0-only

//! Waiting for files and eventfds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;

/// Waits until one of the files has something to read or is at its end, `broken` has no reader any
/// more, or the time is over.
pub fn wait(
    readable: &[BorrowedFd<'_>],
    broken: BorrowedFd<'_>,
    timeout: Duration,
) -> Result<Woken, Errno> {
    let timeout = rustix::event::Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
    let mut polled: Vec<PollFd<'_>> = readable
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    polled.push(PollFd::from_borrowed_fd(broken, PollFlags::empty()));
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    let mut seen = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(Woken {
        readable: seen.by_ref().take(readable.len()).collect(),
        broken: seen.next().unwrap_or_default(),
    })
}

/// Why [`wait`] returned.
#[derive(Debug)]
pub struct Woken {
    /// Whether each of the files can be read.
    pub readable: Vec<bool>,
    /// Whether nobody reads what is written.
    pub broken: bool,
}

/// Makes an eventfd whose reads do not block.
pub fn eventfd() -> Result<OwnedFd, Errno> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Waits for an eventfd and returns its count, or 0 if nothing came in time.
pub fn eventfd_wait(fd: BorrowedFd<'_>, timeout: Duration) -> Result<u64, Errno> {
    let timeout = rustix::event::Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
    let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    if rustix::event::poll(&mut polled, Some(&timeout))? == 0 {
        return Ok(0);
    }
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(8) => Ok(u64::from_ne_bytes(count)),
        Ok(_) => Err(Errno::IO),
        Err(Errno::AGAIN) => Ok(0),
        Err(errno) => Err(errno),
    }
}
