// SPDX-License-Identifier: GPL-2.0-only

//! Why an image was refused.

use core::fmt;

use kernel::prelude::*;

use super::format::{
    Identity,
    MAJOR,
    MAX_PAYLOAD, //
};

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The first bytes are not those of an image.
    Magic,
    /// The format has another major version.
    Major(u16),
    /// The header's length is out of range.
    HeaderLength(u32),
    /// The header's checksum is wrong.
    HeaderChecksum,
    /// The image is that of another kind of device.
    Device(Identity),
    /// The driver's sections have a version that this driver does not read.
    State {
        /// Major version in the image.
        major: u16,
        /// Minor version in the image.
        minor: u16,
    },
    /// The checksum of a section's head is wrong.
    HeadChecksum,
    /// A section is missing, repeated or out of order.
    Sequence {
        /// Number that comes next.
        expected: u32,
        /// Number in the image.
        found: u32,
    },
    /// A section's length is out of range.
    Length(u32),
    /// The checksum of a section's payload is wrong.
    PayloadChecksum,
    /// A mandatory section has a type that this driver does not know.
    Unknown(u16),
    /// The device did not take a section of this type.
    Section(u16, Error),
    /// The device did not take the state as a whole.
    Apply(Error),
    /// The end section does not fit what came before.
    End,
    /// The image ends before its end section.
    Truncated,
    /// There are bytes after the end section.
    Trailing,
    /// The bytes could not be brought into the reader's buffer.
    Transport(Error),
}

/// A reason, and its place in the image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What is wrong.
    pub reason: Reason,
    /// Bytes of the image before the part that was refused.
    pub offset: u64,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Magic => f.write_str("this is not an image of a device's state"),
            Reason::Major(found) => {
                write!(
                    f,
                    "the image has format version {found}, only {MAJOR} is understood"
                )
            }
            Reason::HeaderLength(found) => write!(f, "the header's length {found} is out of range"),
            Reason::HeaderChecksum => f.write_str("the header's checksum is wrong"),
            Reason::Device(id) => write!(
                f,
                "the image is that of another device, {:04x}:{:04x} (subsystem {:04x}:{:04x})",
                id.vendor, id.device, id.subsystem_vendor, id.subsystem_device
            ),
            Reason::State { major, minor } => write!(
                f,
                "the device state has version {major}.{minor}, which this driver does not read"
            ),
            Reason::HeadChecksum => f.write_str("the checksum of a section's head is wrong"),
            Reason::Sequence { expected, found } => {
                write!(
                    f,
                    "section {expected} comes next, but the image has section {found}"
                )
            }
            Reason::Length(found) => write!(
                f,
                "a section's length {found} is out of range, the most are {MAX_PAYLOAD} bytes"
            ),
            Reason::PayloadChecksum => f.write_str("the checksum of a section's payload is wrong"),
            Reason::Unknown(kind) => write!(f, "a mandatory section has the unknown type {kind}"),
            Reason::Section(kind, error) => write!(
                f,
                "the device refused a section of type {kind} (error {})",
                error.to_errno()
            ),
            Reason::Apply(error) => {
                write!(
                    f,
                    "the device refused the state (error {})",
                    error.to_errno()
                )
            }
            Reason::End => f.write_str("the end section does not fit the image before it"),
            Reason::Truncated => f.write_str("the image is incomplete"),
            Reason::Trailing => f.write_str("there are bytes after the end of the image"),
            Reason::Transport(error) => {
                write!(
                    f,
                    "the image could not be fetched (error {})",
                    error.to_errno()
                )
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.reason, self.offset)
    }
}

impl From<Refusal> for Error {
    /// Returns the errno that the client gets.
    ///
    /// `EINVAL` for everything that is wrong with the image itself, even if it is another device's
    /// (`ENODEV` would say that this device is gone). If the device or the client's memory failed,
    /// that error.
    fn from(refusal: Refusal) -> Error {
        match refusal.reason {
            Reason::Section(_, error) | Reason::Apply(error) | Reason::Transport(error) => error,
            _ => EINVAL,
        }
    }
}
