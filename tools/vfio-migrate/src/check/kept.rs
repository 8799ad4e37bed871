// SPDX-License-Identifier: GPL-2.0-only

//! Keeps the device's own stream, which is taken once for all checks although each is a process.
//!
//! The stream is in an unnamed file, which every check has as its standard input. The length is
//! written last, so a check that is killed meanwhile leaves nothing that looks like a stream.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use rustix::io::Errno;

use super::HELD;
use crate::sys;

/// Offset of the stream, after its length.
const START: u64 = 8;

/// A place for a stream.
#[derive(Debug)]
pub struct Kept(OwnedFd);

impl Kept {
    /// Makes a place that is empty.
    pub fn new() -> Result<Self, Errno> {
        sys::memory_file().map(Self)
    }

    /// Takes the place that the parent has handed over; without a parent it keeps nothing.
    pub fn inherited() -> io::Result<Self> {
        io::stdin().as_fd().try_clone_to_owned().map(Self)
    }

    /// Hands it to a child.
    pub fn hand_over(&self) -> io::Result<Stdio> {
        self.0.try_clone().map(Stdio::from)
    }

    /// Returns the stream, if one is kept.
    pub fn load(&self) -> Option<Vec<u8>> {
        let mut length = [0; 8];
        sys::pread(self.0.as_fd(), 0, &mut length).ok()?;
        let length = usize::try_from(u64::from_ne_bytes(length)).ok()?;
        if length == 0 || length > HELD {
            return None;
        }
        let mut stream = vec![0; length];
        sys::pread_all(self.0.as_fd(), START, &mut stream).ok()?;
        Some(stream)
    }

    /// Keeps a stream. If there is no room, the next check takes a stream of its own.
    pub fn store(&self, stream: &[u8]) {
        // CAST: widening.
        let length = (stream.len() as u64).to_ne_bytes();
        let _ = sys::pwrite_all(self.0.as_fd(), START, stream)
            .and_then(|()| sys::pwrite(self.0.as_fd(), 0, &length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_there_once_it_is_whole() {
        let kept = Kept::new().unwrap();
        assert_eq!(kept.load(), None);
        sys::pwrite(kept.0.as_fd(), START, b"half of").unwrap();
        assert_eq!(kept.load(), None);
        kept.store(b"a whole one");
        assert_eq!(kept.load().as_deref(), Some(&b"a whole one"[..]));
    }

    #[test]
    fn nothing_is_kept_where_nothing_can_be() {
        let (input, _output) = std::os::unix::net::UnixStream::pair().unwrap();
        let kept = Kept(input.into());
        kept.store(b"a stream");
        assert_eq!(kept.load(), None);
    }
}
