// SPDX-License-Identifier: GPL-2.0-only

//! What can go wrong, what to do about it, and the exit code that says so.

mod errno;
mod remedy;

use std::path::PathBuf;

use rustix::io::Errno;
use serde_json::{json, Value};

use crate::pci::{Address, Identity};

use errno::errno_name;
pub use errno::explain;

/// Result of an operation of this program.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user may not open a VFIO device.
    #[error("{path} cannot be opened: {}", explain(*errno))]
    NotRoot {
        /// File that needs the rights.
        path: PathBuf,
        /// `EACCES` or `EPERM`.
        errno: Errno,
    },
    /// There is no device at that address.
    #[error("no device {0}")]
    NoDevice(Address),
    /// The device's driver is not a VFIO driver.
    #[error("{address} is not bound to a VFIO driver: {}", driver_in_words(driver.as_deref()))]
    NotBound {
        /// Device.
        address: Address,
        /// Driver that has it, if any.
        driver: Option<String>,
        /// What it is, if that is known.
        identity: Option<Identity>,
    },
    /// The VFIO core or its container interface is missing.
    #[error("/dev/vfio/vfio cannot be opened: {}", explain(*.0))]
    NoVfio(Errno),
    /// The machine or its kernel has no IOMMU in use.
    #[error("{0} is in no IOMMU group: there is no IOMMU, or the kernel does not use it")]
    NoIommu(Address),
    /// The kernel has no iommufd, or no file for this device.
    #[error(
        "{0} cannot be opened through an iommufd: the kernel has none, or no file for the device"
    )]
    NoIommufd(Address),
    /// Another device of the group is in a driver's hands.
    #[error("IOMMU group {group} is not viable: {}", group_in_words(others))]
    GroupNotViable {
        /// Number of the group.
        group: u32,
        /// Devices of the group that no VFIO driver has, and their drivers.
        others: Vec<(Address, String)>,
    },
    /// Another process has the group.
    #[error("IOMMU group {group} of {address} is in use by another process (EBUSY)")]
    Busy {
        /// Device.
        address: Address,
        /// Number of the group.
        group: u32,
    },
    /// The container has no type1 IOMMU backend.
    #[error("the VFIO container offers no type1 IOMMU")]
    NoType1,
    /// The type1 backend refused the group.
    #[error("the type1 IOMMU refused the group: {}", explain(*.0))]
    IommuRefused(Errno),
    /// The device offers no protocol that this program speaks.
    #[error("{0} has no migration region of a kind that this program speaks")]
    NoMigration(Address),
    /// The device is not the one that a command needs.
    #[error("{0}")]
    WrongDevice(String),
    /// A file system of the kernel is needed and not there.
    #[error("{name} is not mounted at {}", path.display())]
    NotMounted {
        /// Name of the file system.
        name: &'static str,
        /// Where it belongs.
        path: PathBuf,
    },
    /// The device's driver is a VFIO driver, but none that shows its migration.
    #[error("the driver '{driver}' of {address} does not show a migration in debugfs")]
    NoStatus {
        /// Device.
        address: Address,
        /// Its driver.
        driver: String,
        /// What it is, if that is known.
        identity: Option<Identity>,
    },
    /// The kernel knows none of the driver's trace events.
    #[error("the kernel shows no rvfio trace events")]
    NoEvents,
    /// A system call failed.
    #[error("{step}: {}", explain(*errno))]
    Step {
        /// What was being done.
        step: String,
        /// The call's error.
        errno: Errno,
    },
    /// Mapping memory for a device exceeds the user's limit of locked memory.
    #[error("{step}: {}", explain(Errno::NOMEM))]
    Memlock {
        /// What was being done.
        step: String,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that the process may lock, if there is a limit.
        limit: Option<u64>,
    },
    /// A file could not be written, or one of the kernel's could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// A file that the user named could not be read.
    #[error("{}: {source}", path.display())]
    Input {
        /// File.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// The directory of a file to be written is missing.
    #[error("there is no directory {}", .0.display())]
    NoDirectory(PathBuf),
    /// A file that belongs to somebody else cannot be replaced without becoming this user's.
    #[error("{} belongs to another user or group, and would not any more", .0.display())]
    OwnerLost(PathBuf),
    /// Nobody reads standard output any more; nothing more is said.
    #[error("standard output has no reader any more")]
    NoReader,
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// The connection failed.
    #[error("{step}: {source}")]
    Network {
        /// What was being done.
        step: String,
        /// The error.
        source: std::io::Error,
    },
    /// The driver refused a state or an image.
    #[error("{step} refused by the driver: {}{}", explain(*errno), reason(because.as_deref()))]
    Refused {
        /// What was asked of the driver.
        step: String,
        /// The driver's error.
        errno: Errno,
        /// What this program found wrong itself.
        because: Option<String>,
    },
    /// The image is damaged, or of another device or format.
    #[error("{0}")]
    BadImage(String),
    /// The image is damaged; the command has printed what is left of it.
    #[error("{0}")]
    Damaged(String),
    /// What has connected does not begin a migration.
    #[error("no source of a migration: {0}")]
    Stranger(String),
    /// The peer said no.
    #[error("the other side: {0}")]
    Peer(String),
    /// The connection ended after the target was told to start.
    #[error("the connection ended before the target said that it runs; the source stays stopped")]
    TargetUnknown,
    /// The peer or the driver does not keep to the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// What arrived differs from what was sent; the command has printed its result.
    #[error("{0}")]
    Differs(String),
    /// No check has such a name.
    #[error("no check has a name like '{0}'")]
    NoCheck(String),
    /// The device does not keep to the rules; the command has printed which.
    #[error("{0} checks failed")]
    Nonconforming(usize),
    /// The user has ended the checks; the command has printed which ran.
    #[error("{0} checks were not run")]
    Unfinished(usize),
}

impl Error {
    /// Makes the conversion of a system call's error.
    pub fn step(step: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let step = step.into();
        move |errno| Self::Step { step, errno }
    }

    /// Makes the conversion of a file's error.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Makes the conversion of the error of a file that the user named.
    pub fn input(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Input { path, source }
    }

    /// Makes the conversion of a connection's error.
    pub fn network(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let step = step.into();
        move |source| Self::Network { step, source }
    }

    /// Whether the command's result says it already.
    pub fn is_told(&self) -> bool {
        matches!(
            self,
            Self::Differs(_) | Self::Damaged(_) | Self::Nonconforming(_) | Self::Unfinished(_)
        )
    }

    /// Adds what this program found wrong itself to a driver's refusal.
    pub fn because(mut self, reason: impl FnOnce() -> String) -> Self {
        if let Self::Refused { because, .. } = &mut self {
            because.get_or_insert_with(reason);
        }
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotRoot { .. }
            | Self::NoDevice(_)
            | Self::NotBound { .. }
            | Self::NoVfio(_)
            | Self::NoIommu(_)
            | Self::NoIommufd(_)
            | Self::GroupNotViable { .. }
            | Self::Busy { .. }
            | Self::NoType1
            | Self::IommuRefused(_)
            | Self::NoMigration(_)
            | Self::WrongDevice(_)
            | Self::NotMounted { .. }
            | Self::NoStatus { .. }
            | Self::Memlock { .. }
            | Self::NoEvents => 3,
            Self::Refused { .. } | Self::BadImage(_) | Self::Damaged(_) | Self::Peer(_) => 4,
            Self::Differs(_) | Self::Nonconforming(_) => 5,
            Self::NoCheck(_) | Self::Usage(_) => 2,
            Self::Step { .. }
            | Self::File { .. }
            | Self::Input { .. }
            | Self::NoDirectory(_)
            | Self::OwnerLost(_)
            | Self::NoReader
            | Self::Stranger(_)
            | Self::Network { .. }
            | Self::TargetUnknown
            | Self::Protocol(_)
            | Self::Timeout { .. }
            | Self::Unfinished(_) => 1,
        }
    }

    /// The error as a JSON object.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "message": self.to_string(),
            "exit_code": self.exit_code(),
        });
        if let Some(remedy) = self.remedy() {
            object["remedy"] = remedy.into();
        }
        if let Some(errno) = self.errno() {
            object["errno"] = errno_name(errno).into();
        }
        json!({ "error": object })
    }

    fn errno(&self) -> Option<Errno> {
        match self {
            Self::NotRoot { errno, .. }
            | Self::Step { errno, .. }
            | Self::Refused { errno, .. }
            | Self::NoVfio(errno)
            | Self::IommuRefused(errno) => Some(*errno),
            Self::Busy { .. } => Some(Errno::BUSY),
            Self::Memlock { .. } => Some(Errno::NOMEM),
            _ => None,
        }
    }
}

fn driver_in_words(driver: Option<&str>) -> String {
    match driver {
        Some(driver) => format!("the driver '{driver}' has it"),
        None => "no driver has it".into(),
    }
}

fn group_in_words(others: &[(Address, String)]) -> String {
    if others.is_empty() {
        return "a device of the group is in a driver's hands".into();
    }
    let named: Vec<String> = others
        .iter()
        .map(|(address, driver)| format!("{address} belongs to '{driver}'"))
        .collect();
    named.join(", ")
}

fn reason(because: Option<&str>) -> String {
    because.map_or_else(String::new, |reason| format!("; {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_the_errno_and_the_reason() {
        let error = Error::Refused {
            step: "writing data.size".into(),
            errno: Errno::INVAL,
            because: Some("the checksum is wrong".into()),
        };
        assert_eq!(error.exit_code(), 4);
        assert_eq!(
            error.to_string(),
            "writing data.size refused by the driver: EINVAL (Invalid argument); the checksum is \
             wrong"
        );
        assert_eq!(error.to_json()["error"]["errno"], "EINVAL");
    }
}
