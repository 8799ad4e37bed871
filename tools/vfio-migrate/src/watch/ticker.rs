// SPDX-License-Identifier: GPL-2.0-only

//! When to take the next sample, and when to end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::clock::Clock;
use crate::error::{Error, Result};
use crate::sys;

/// Waits from one sample to the next.
#[derive(Debug)]
pub struct Ticker {
    clock: Clock,
    interval: Duration,
    /// When the next sample is due.
    next: Duration,
    /// When to end.
    until: Option<Duration>,
    /// Readable when the user wants it to end.
    end: OwnedFd,
}

/// Why the wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// The next sample is due.
    Due,
    /// There may be something to read; the sample is not due yet.
    Readable,
    /// The user has seen enough, or nobody reads any more.
    End,
}

impl Ticker {
    /// Starts now and takes over Ctrl-C and SIGTERM. With a `length`, the last sample is due after
    /// that time.
    pub fn start(interval: Duration, length: Option<Duration>) -> Result<Self> {
        Ok(Self {
            end: sys::end_requests().map_err(Error::step("taking over signals"))?,
            clock: Clock::start(),
            interval,
            next: Duration::ZERO,
            until: length,
        })
    }

    /// Starts anew, so that the time for the set-up does not count.
    pub fn restart(&mut self) {
        self.clock = Clock::start();
    }

    /// Returns the clock that started with it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Puts the next sample one interval after this one; false if this one was the last.
    pub fn advance(&mut self) -> bool {
        let now = self.clock.now().elapsed;
        // A reading may wait for the driver longer than the interval.
        self.next = now.max(self.next + self.interval);
        if let Some(until) = self.until {
            self.next = self.next.min(until);
            return now < until;
        }
        true
    }

    /// Waits until the next sample is due, or until `readable` may have something.
    pub fn wait(&self, readable: Option<BorrowedFd<'_>>) -> Result<Wake> {
        let timeout = self.next.saturating_sub(self.clock.now().elapsed);
        let mut files = vec![self.end.as_fd()];
        files.extend(readable);
        let woken =
            sys::wait(&files, io::stdout().as_fd(), timeout).map_err(Error::step("waiting"))?;
        if woken.readable[0] || woken.broken {
            return Ok(Wake::End);
        }
        if self.clock.now().elapsed >= self.next {
            return Ok(Wake::Due);
        }
        Ok(Wake::Readable)
    }
}
