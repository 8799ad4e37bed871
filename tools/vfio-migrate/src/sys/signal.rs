// SPDX-License-Identifier: GPL-2.0-only

//! Signals that ask the program to end.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;
use rustix::process::{getpid, kill_process, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level;

/// Takes over the signals that would end the program, for the rest of its life.
///
/// The result becomes readable when one has come.
pub fn end_requests() -> Result<OwnedFd, Errno> {
    let (receiver, sender) = UnixStream::pair().map_err(to_errno)?;
    for signal in would_end() {
        let sender = sender.try_clone().map_err(to_errno)?;
        low_level::pipe::register(signal, sender).map_err(to_errno)?;
    }
    Ok(receiver.into())
}

/// Makes signals that would end the program run `action` first, for the rest of its life.
///
/// `action` runs in a thread of its own; when it returns, the program ends as the signal would have
/// ended it.
pub fn before_signals_end(action: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    let (mut receiver, sender) = UnixStream::pair().map_err(to_errno)?;
    let number = Arc::new(AtomicUsize::new(0));
    for signal in would_end() {
        // CAST: signals have small numbers.
        let value = signal as usize;
        signal_hook::flag::register_usize(signal, number.clone(), value).map_err(to_errno)?;
        let sender = sender.try_clone().map_err(to_errno)?;
        low_level::pipe::register(signal, sender).map_err(to_errno)?;
    }
    let wait = move || {
        // An interrupted read goes on; no other fails while `sender` is there.
        if receiver.read_exact(&mut [0]).is_ok() {
            action();
            // CAST: as above.
            let _ = low_level::emulate_default_handler(number.load(Ordering::SeqCst) as i32);
        }
        drop(sender);
    };
    let thread = thread::Builder::new().spawn(wait);
    thread.map(drop).map_err(to_errno)
}

fn to_errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// The signals that would end the program, without those that the parent made it ignore, as
/// nohup(1) does.
fn would_end() -> impl Iterator<Item = i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    let is_ignored = move |signal: &i32| (ignored >> (signal - 1)) & 1 != 0;
    [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(move |signal| !is_ignored(signal))
}

/// The mask of ignored signals in proc(5)'s `status`; 0 if there is none.
fn ignored(status: &str) -> u64 {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or_default()
}

/// Takes SIGUSR1 over, which then does no more than interrupt a call.
pub fn catch_interruptions() -> Result<(), Errno> {
    signal_hook::flag::register(SIGUSR1, Arc::default())
        .map(drop)
        .map_err(to_errno)
}

/// Interrupts a call of this process: of its first thread if that one is in a call.
///
/// [`catch_interruptions`] must have been called before, or the signal ends the process.
pub fn interrupt() -> Result<(), Errno> {
    kill_process(getpid(), Signal::USR1)
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

    #[test]
    fn ignored_signals_are_left_alone() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status), 0x1001);
        assert_eq!(ignored(""), 0);
        // Rust ignores SIGPIPE, 13.
        let own = fs::read_to_string("/proc/self/status").unwrap();
        assert_ne!(ignored(&own) & (1 << 12), 0);
    }
}
