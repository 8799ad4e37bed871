// SPDX-License-Identifier: GPL-2.0-only

//! A data file of v2, for a client that does as little as possible on its own.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::check::sum::Sum;
use crate::check::{ensure, succeeds, Verdict, HELD};
use crate::sys::{self, Polled};

/// Bytes that go in small pieces; the rest goes in large ones, so that a large stream does not take
/// hours.
const CUT: usize = 1 << 16;

/// A data file.
#[derive(Debug)]
pub struct Stream(OwnedFd);

impl Stream {
    /// Takes the file that a change of state has returned.
    pub fn new(file: OwnedFd) -> Self {
        Self(file)
    }

    /// Reads once.
    pub fn read(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        sys::read(self.0.as_fd(), bytes)
    }

    /// Writes once.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        sys::write(self.0.as_fd(), bytes)
    }

    /// The file itself.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// `VFIO_MIG_GET_PRECOPY_INFO`: initial and dirty bytes.
    pub fn precopy_info(&self, argsz: u32) -> Result<(u64, u64), Errno> {
        let (_, initial, dirty) = self.precopy_info_with_flags(argsz, 0)?;
        Ok((initial, dirty))
    }

    /// `VFIO_MIG_GET_PRECOPY_INFO` with flags; returns the flags, initial and dirty bytes.
    pub fn precopy_info_with_flags(
        &self,
        argsz: u32,
        flags: u32,
    ) -> Result<(u32, u64, u64), Errno> {
        let mut bytes = [0; 24];
        bytes[..4].copy_from_slice(&argsz.to_ne_bytes());
        bytes[4..8].copy_from_slice(&flags.to_ne_bytes());
        sys::precopy_info(self.0.as_fd(), &mut bytes)?;
        let word =
            |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let flags = u32::from_ne_bytes(bytes[4..8].try_into().expect("four bytes"));
        Ok((flags, word(8), word(16)))
    }

    /// Demands that all was read, and that the end is permanent.
    pub fn is_at_its_end(&self) -> Verdict {
        for _ in 0..3 {
            let found = succeeds(self.read(&mut [0; 16]), "reading at the end")?;
            ensure(found == 0, || format!("{found} bytes come after the end"))?;
            let readable = self.poll(Duration::ZERO)?.readable;
            ensure(readable, || "poll does not say readable at the end".into())?;
        }
        Ok(())
    }

    /// What poll(2) says within some time.
    pub fn poll(&self, timeout: Duration) -> Verdict<Polled> {
        succeeds(sys::poll_within(self.0.as_fd(), timeout), "poll()")
    }

    /// Reads to the end of the stream, in calls of that many bytes at most.
    pub fn drain(&self, segment: usize) -> Verdict<Vec<u8>> {
        let mut stream = Vec::new();
        self.hand_on(segment, |bytes| {
            stream.extend_from_slice(bytes);
            ensure(stream.len() <= HELD, || {
                format!("the stream has no end within {HELD} bytes")
            })
        })?;
        Ok(stream)
    }

    /// Reads to the end of the stream and returns only its length and digest.
    pub fn sum_up(&self) -> Verdict<Sum> {
        let mut sum = Sum::default();
        self.hand_on(1 << 20, |bytes| {
            sum.update(bytes);
            Ok(())
        })?;
        Ok(sum)
    }

    /// Reads to the end of the stream, and hands on what each call has read.
    pub fn hand_on(&self, segment: usize, mut take: impl FnMut(&[u8]) -> Verdict) -> Verdict {
        let (mut done, mut bytes) = (0_usize, vec![0; segment]);
        loop {
            if done >= CUT && segment < CUT {
                bytes.resize(1 << 20, 0);
            }
            match succeeds(self.read(&mut bytes), "reading the stream")? {
                0 => return Ok(()),
                n => {
                    take(&bytes[..n])?;
                    done = done.saturating_add(n);
                }
            }
        }
    }

    /// Writes all of a stream, in calls of that many bytes at most.
    pub fn fill(&self, bytes: &[u8], segment: usize) -> Result<(), Errno> {
        self.fill_counting(bytes, segment, &mut 0)
    }

    /// Does the same and counts the bytes taken in `done`, also if it fails.
    pub fn fill_counting(
        &self,
        mut bytes: &[u8],
        segment: usize,
        done: &mut usize,
    ) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let most = if *done >= CUT {
                segment.max(1 << 20)
            } else {
                segment
            };
            match self.write(&bytes[..most.min(bytes.len())])? {
                0 => return Err(Errno::IO),
                n => {
                    bytes = &bytes[n..];
                    *done += n;
                }
            }
        }
        Ok(())
    }
}
