// SPDX-License-Identifier: GPL-2.0-only

//! A trace of one device's events, apart from what others trace.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::event::Line;
use super::source::{failed, is_mounted};
use crate::error::{Error, Result};
use crate::pci::Address;
use crate::sys;

const TRACEFS: &str = "/sys/kernel/tracing";
/// `TRACEFS_MAGIC`
const TRACEFS_TYPE: u64 = 0x7472_6163;

/// All events of the driver.
pub const ALL: &str = "rvfio";
/// Events that tell which guest memory the device writes.
pub const DIRTY: &str = "rvfio/rvfio_dirty";

/// Bytes that are read at once; the kernel hands out at most a page.
const CHUNK: usize = 4096;

/// The events of a device, from a tracefs instance that is removed at the end.
#[derive(Debug)]
pub struct Trace {
    /// Closed before the instance goes.
    pipe: OwnedFd,
    /// Start of a line whose end has not been read.
    partial: Vec<u8>,
    _instance: Instance,
}

impl Trace {
    /// Begins to trace a device: [`ALL`] events of the driver, or one of them.
    pub fn start(address: Address, events: &str) -> Result<Self> {
        Self::start_in(Path::new(TRACEFS), address, events)
    }

    fn start_in(tracefs: &Path, address: Address, events: &str) -> Result<Self> {
        let instance = Instance::make(tracefs)?;
        let events = format!("events/{events}");
        instance.write("trace_clock", "mono")?;
        instance.write(
            &format!("{events}/filter"),
            &format!("dev == \"{address}\""),
        )?;
        instance.write(&format!("{events}/enable"), "1")?;
        let path = instance.path.join("trace_pipe");
        let pipe = sys::open_nonblocking(&path).map_err(|errno| failed(path, errno.into()))?;
        Ok(Self {
            pipe,
            partial: Vec::new(),
            _instance: instance,
        })
    }

    /// Takes the lines that have come.
    pub fn lines(&mut self) -> Result<Vec<Line>> {
        let mut chunk = [0; CHUNK];
        loop {
            match sys::read_available(self.pipe.as_fd(), &mut chunk)
                .map_err(Error::step("reading the trace"))?
            {
                0 => return Ok(whole_lines(&mut self.partial)),
                n => self.partial.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

impl AsFd for Trace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Takes the lines from bytes and leaves what comes after the last one.
fn whole_lines(bytes: &mut Vec<u8>) -> Vec<Line> {
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let whole: Vec<u8> = bytes.drain(..end).collect();
    String::from_utf8_lossy(&whole)
        .lines()
        .map(Line::parse)
        .collect()
}

/// A directory of tracefs with settings and a buffer of its own.
#[derive(Debug)]
struct Instance {
    path: PathBuf,
}

impl Instance {
    fn make(tracefs: &Path) -> Result<Self> {
        let path = tracefs
            .join("instances")
            .join(format!("vfio-migrate-{}", std::process::id()));
        // A killed process with the same number may have left its instance behind.
        let made = fs::create_dir(&path).or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                fs::remove_dir(&path)?;
                fs::create_dir(&path)
            }
            _ => Err(error),
        });
        match made {
            Ok(()) => Ok(Self { path }),
            Err(error)
                if error.kind() == ErrorKind::NotFound && !is_mounted(tracefs, TRACEFS_TYPE) =>
            {
                Err(Error::NotMounted {
                    name: "tracefs",
                    path: tracefs.into(),
                })
            }
            Err(error) => Err(failed(path, error)),
        }
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, text).map_err(|error| {
            if error.kind() == ErrorKind::NotFound && file.starts_with("events") {
                Error::NoEvents
            } else {
                failed(path, error)
            }
        })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!(
                "vfio-migrate: {} is left behind: {error}",
                self.path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_when_they_are_whole() {
        let mut bytes = b"one\ntw".to_vec();
        assert_eq!(whole_lines(&mut bytes), [Line::Other("one".into())]);
        assert_eq!(bytes, b"tw");
        assert_eq!(whole_lines(&mut bytes), []);
        bytes.extend(b"o\nth\xffree\n");
        assert_eq!(
            whole_lines(&mut bytes),
            [
                Line::Other("two".into()),
                Line::Other("th\u{fffd}ree".into())
            ]
        );
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_trace_without_tracefs_says_so() {
        let root = tempfile::tempdir().unwrap();
        let error = Trace::start_in(root.path(), "00:04.0".parse().unwrap(), ALL).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.remedy().unwrap().contains("mount -t tracefs tracefs"));
    }

    #[test]
    fn an_instance_goes_when_it_is_not_needed() {
        let root = tempfile::tempdir().unwrap();
        let instances = root.path().join("instances");
        fs::create_dir(&instances).unwrap();
        {
            let instance = Instance::make(root.path()).unwrap();
            let name = format!("vfio-migrate-{}", std::process::id());
            assert_eq!(instance.path, instances.join(name));
            // The kernel fills a new directory; this one has no events.
            assert!(matches!(
                instance.write("events/rvfio/enable", "1"),
                Err(Error::NoEvents)
            ));
            // One that a killed process left behind is taken over.
            std::mem::forget(instance);
            Instance::make(root.path()).unwrap();
        }
        assert_eq!(fs::read_dir(&instances).unwrap().count(), 0);
    }
}
