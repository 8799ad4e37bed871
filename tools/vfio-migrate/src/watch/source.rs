// SPDX-License-Identifier: GPL-2.0-only

//! Where the driver shows a device, and what is missing if it does not.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::snapshot::Snapshot;
use super::status::Status;
use crate::error::{Error, Result};
use crate::pci::{Address, Bus};
use crate::sys;

/// How often a device is read again if its driver shows nothing, and the pause before each try.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

const DEBUGFS: &str = "/sys/kernel/debug";
/// `DEBUGFS_MAGIC`
const DEBUGFS_TYPE: u64 = 0x6462_6720;

/// Whether there is a file system of that type.
pub fn is_mounted(path: &Path, kind: u64) -> bool {
    sys::file_system(path) == Ok(kind)
}

/// The error of a file that only root may use, or may not even see.
pub fn failed(path: PathBuf, error: io::Error) -> Error {
    match (error.kind(), Errno::from_io_error(&error)) {
        (ErrorKind::PermissionDenied, Some(errno)) => Error::NotRoot { path, errno },
        _ => Error::file(path)(error),
    }
}

/// A device, seen through sysfs and debugfs.
#[derive(Debug)]
pub struct Source {
    address: Address,
    bus: Bus,
    debugfs: PathBuf,
}

/// What is seen at one time.
#[derive(Debug)]
pub struct Reading {
    /// Name of the driver.
    pub driver: String,
    /// What it shows.
    pub status: Status,
}

impl Source {
    /// The device at an address.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            bus: Bus::default(),
            debugfs: DEBUGFS.into(),
        }
    }

    /// Reads the device's status.
    pub fn read(&self) -> Result<Reading> {
        let (driver, text) = self.file("migration")?;
        Ok(Reading {
            driver,
            status: text.parse()?,
        })
    }

    /// Reads the device's dirty pages; returns the driver's name, too.
    pub fn dirty(&self) -> Result<(String, Snapshot)> {
        let (driver, text) = self.file("dirty")?;
        Ok((driver, text.parse()?))
    }

    /// Returns the name of the device's driver, and what one of its files says.
    ///
    /// A driver that is unbound removes its files first, so a device without files is read again.
    fn file(&self, name: &str) -> Result<(String, String)> {
        for _ in 0..LOOKS {
            match self.file_now(name) {
                Err(Error::NoStatus { .. }) => thread::sleep(PAUSE),
                result => return result,
            }
        }
        self.file_now(name)
    }

    /// Does so in one try.
    ///
    /// It looks the driver up each time, so that it finds a device that was bound again meanwhile
    /// and names the cause if there is none.
    fn file_now(&self, name: &str) -> Result<(String, String)> {
        let address = self.address;
        let function = self.bus.function(address).ok_or(Error::NoDevice(address))?;
        let driver = match function.driver() {
            Some(driver) if function.is_vfio() => driver,
            driver => {
                return Err(Error::NotBound {
                    address,
                    driver,
                    identity: function.identity(),
                });
            }
        };
        let path = self
            .debugfs
            .join(&driver)
            .join(address.to_string())
            .join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok((driver, text)),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, error)),
            Err(_) if is_mounted(&self.debugfs, DEBUGFS_TYPE) => Err(Error::NoStatus {
                address,
                driver,
                identity: function.identity(),
            }),
            Err(_) => Err(Error::NotMounted {
                name: "debugfs",
                path: self.debugfs.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::status::SAMPLE;
    use super::*;

    struct Machine {
        root: tempfile::TempDir,
        source: Source,
    }

    impl Machine {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let source = Source {
                address: "00:04.0".parse().unwrap(),
                bus: Bus::new(root.path().join("devices")),
                debugfs: root.path().join("debug"),
            };
            Self { root, source }
        }

        fn add_device(&self) -> PathBuf {
            let device = self.root.path().join("devices/0000:00:04.0");
            fs::create_dir_all(&device).unwrap();
            device
        }

        fn show(&self, driver: &str, text: &str) {
            let path = self.source.debugfs.join(driver).join("0000:00:04.0");
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("migration"), text).unwrap();
        }

        fn error(&self) -> String {
            let error = self.source.read().unwrap_err();
            assert_eq!(error.exit_code(), 3);
            format!("{error}; {}", error.remedy().unwrap())
        }
    }

    #[test]
    fn each_thing_that_is_missing_is_said() {
        let machine = Machine::new();
        assert!(machine.error().contains("no device 0000:00:04.0"));
        let device = machine.add_device();
        assert!(machine.error().contains("no driver has it"));
        symlink("../../drivers/e1000", device.join("driver")).unwrap();
        assert!(machine.error().contains("'e1000' has it"));
        fs::create_dir(device.join("vfio-dev")).unwrap();
        let error = machine.error();
        assert!(error.contains("debugfs is not mounted"), "{error}");
        assert!(error.contains("mount -t debugfs debugfs /"), "{error}");
        machine.show("e1000", SAMPLE);
        let reading = machine.source.read().unwrap();
        assert_eq!(reading.driver, "e1000");
        assert_eq!(reading.status, SAMPLE.parse().unwrap());
        // A driver that does not have the other file.
        assert_eq!(machine.source.dirty().unwrap_err().exit_code(), 3);
        machine.show("e1000", "something else\n");
        assert_eq!(machine.source.read().unwrap_err().exit_code(), 1);
    }

    #[test]
    fn rights_are_told_from_other_errors() {
        let error = |errno: Errno| failed("/f".into(), errno.into());
        assert!(matches!(
            error(Errno::ACCESS),
            Error::NotRoot {
                errno: Errno::ACCESS,
                ..
            }
        ));
        assert!(matches!(error(Errno::IO), Error::File { .. }));
    }

    #[test]
    fn a_file_system_is_told_by_its_type() {
        // PROC_SUPER_MAGIC
        assert!(is_mounted(Path::new("/proc"), 0x9fa0));
        assert!(!is_mounted(Path::new("/proc"), DEBUGFS_TYPE));
        assert!(!is_mounted(Path::new("/proc/none"), DEBUGFS_TYPE));
    }
}
