// SPDX-License-Identifier: GPL-2.0-only

//! Signals that ask the program to end.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Takes over the signals that would end the program, for the rest of its life.
///
/// The result becomes readable when one has come.
pub fn end_requests() -> Result<OwnedFd, Errno> {
    let to_errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (receiver, sender) = UnixStream::pair().map_err(to_errno)?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sender = sender.try_clone().map_err(to_errno)?;
        signal_hook::low_level::pipe::register(signal, sender).map_err(to_errno)?;
    }
    Ok(receiver.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;
    use crate::sys;

    #[test]
    fn a_signal_makes_it_readable() {
        let requests = end_requests().unwrap();
        let (output, _reader) = UnixStream::pair().unwrap();
        let wait = |timeout| {
            sys::wait(
                &[requests.as_fd()],
                output.as_fd(),
                Duration::from_millis(timeout),
            )
            .unwrap()
        };
        assert_eq!(wait(0).readable, [false]);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        let woken = wait(10_000);
        assert_eq!((woken.readable, woken.broken), (vec![true], false));
    }

    #[test]
    fn an_output_without_a_reader_is_seen() {
        let (output, reader) = UnixStream::pair().unwrap();
        drop(reader);
        let woken = sys::wait(&[], output.as_fd(), Duration::from_secs(10)).unwrap();
        assert!(woken.broken);
    }
}
