// SPDX-License-Identifier: GPL-2.0-only

//! The image format, major version 1, minor version 0: numbers, sizes and headers.
//!
//! An image is a header, any number of sections, and an end section. All numbers are little-endian,
//! checksums are CRC-32C ([`crate::crc32c`]). `Documentation/image-format.rst` has the layout, what
//! a reader refuses, and which image a device takes.

use crate::crc32c::crc32c;

/// First bytes of every image.
pub const MAGIC: [u8; 8] = *b"RVFIOIMG";

/// Format major version.
pub const MAJOR: u16 = 1;

/// Format minor version.
pub const MINOR: u16 = 0;

/// Bytes of the header as it is written.
pub const HEADER_LEN: usize = 64;

/// Bytes of the longest header that a reader takes.
pub const MAX_HEADER_LEN: usize = 4096;

/// Bytes at the start of a header that tell the version and the length.
pub const PREFIX_LEN: usize = 16;

/// Bytes of a section's head.
pub const HEAD_LEN: usize = 24;

/// Bytes of a checksum.
pub const CRC_LEN: usize = 4;

/// Bytes that a section has besides its payload.
pub const FRAMING: usize = HEAD_LEN + CRC_LEN;

/// Most bytes of payload in a section.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Bytes of the end section's payload.
pub const END_PAYLOAD: usize = 16;

/// Bytes of the end section.
pub const END_LEN: usize = FRAMING + END_PAYLOAD;

/// Type of the end section.
pub const TYPE_END: u16 = 0xffff;

/// Highest section type that a driver may use; the lowest is 1.
pub const TYPE_DRIVER_MAX: u16 = 0x7fff;

/// Flag of a section that a reader must understand.
const FLAG_MANDATORY: u16 = 1 << 0;

/// Whose state an image is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// PCI vendor id.
    pub vendor: u16,
    /// PCI device id.
    pub device: u16,
    /// PCI subsystem vendor id.
    pub subsystem_vendor: u16,
    /// PCI subsystem device id.
    pub subsystem_device: u16,
    /// PCI revision id.
    pub revision: u8,
    /// Version of the driver's sections that older readers cannot read.
    pub state_major: u16,
    /// Version of the driver's sections that older readers of the same major version can read.
    pub state_minor: u16,
}

impl Identity {
    /// Returns whether both are the same kind of device.
    pub fn same_device(&self, other: &Identity) -> bool {
        let ids = |id: &Identity| {
            (
                id.vendor,
                id.device,
                id.subsystem_vendor,
                id.subsystem_device,
            )
        };
        ids(self) == ids(other)
    }

    /// Returns whether this reader's driver understands the sections that `image` announces.
    pub fn reads_state_of(&self, image: &Identity) -> bool {
        self.state_major == image.state_major && image.state_minor <= self.state_minor
    }
}

/// The header of an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Format major version.
    pub major: u16,
    /// Format minor version.
    pub minor: u16,
    /// Length of the header in bytes.
    pub length: u32,
    /// Whose state it is.
    pub identity: Identity,
    /// Length of the whole image in bytes, if the writer knew it.
    pub total: Option<u64>,
}

impl Header {
    /// Returns the header of an image that this version writes.
    pub fn new(identity: Identity, total: Option<u64>) -> Self {
        Self {
            major: MAJOR,
            minor: MINOR,
            // CAST: a small constant.
            length: HEADER_LEN as u32,
            identity,
            total,
        }
    }

    /// Returns the header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let id = &self.identity;
        let mut bytes = [0; HEADER_LEN];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, self.major.to_le_bytes());
        put(&mut bytes, 10, self.minor.to_le_bytes());
        put(&mut bytes, 12, self.length.to_le_bytes());
        put(&mut bytes, 16, id.vendor.to_le_bytes());
        put(&mut bytes, 18, id.device.to_le_bytes());
        put(&mut bytes, 20, id.subsystem_vendor.to_le_bytes());
        put(&mut bytes, 22, id.subsystem_device.to_le_bytes());
        put(&mut bytes, 24, id.revision.to_le_bytes());
        put(&mut bytes, 26, id.state_major.to_le_bytes());
        put(&mut bytes, 28, id.state_minor.to_le_bytes());
        put(&mut bytes, 32, self.total.unwrap_or(0).to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// Decodes the bytes of a header; `None` if there are too few.
    ///
    /// Looks at neither the magic nor the checksum.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let total = u64::from_le_bytes(get(bytes, 32)?);
        Some(Self {
            major: u16::from_le_bytes(get(bytes, 8)?),
            minor: u16::from_le_bytes(get(bytes, 10)?),
            length: u32::from_le_bytes(get(bytes, 12)?),
            identity: Identity {
                vendor: u16::from_le_bytes(get(bytes, 16)?),
                device: u16::from_le_bytes(get(bytes, 18)?),
                subsystem_vendor: u16::from_le_bytes(get(bytes, 20)?),
                subsystem_device: u16::from_le_bytes(get(bytes, 22)?),
                revision: u8::from_le_bytes(get(bytes, 24)?),
                state_major: u16::from_le_bytes(get(bytes, 26)?),
                state_minor: u16::from_le_bytes(get(bytes, 28)?),
            },
            total: (total != 0).then_some(total),
        })
    }
}

/// What a driver decides about one of its sections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SectionHead {
    /// Type of the section, from 1 to [`TYPE_DRIVER_MAX`].
    pub kind: u16,
    /// A reader that does not know the type must refuse the image.
    pub mandatory: bool,
    /// Where in the object of that type the payload belongs, in bytes.
    pub offset: u64,
}

impl SectionHead {
    /// Returns the head of a section that a reader must understand.
    pub const fn mandatory(kind: u16, offset: u64) -> Self {
        Self {
            kind,
            mandatory: true,
            offset,
        }
    }

    /// Returns the head of a section that a reader may skip.
    pub const fn optional(kind: u16, offset: u64) -> Self {
        Self {
            kind,
            mandatory: false,
            offset,
        }
    }
}

/// One section as a reader hands it out, with its checksums verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Section<'a> {
    /// What the section is.
    pub head: SectionHead,
    /// Its bytes, at most [`MAX_PAYLOAD`].
    pub payload: &'a [u8],
}

/// A section's head as it stands in the image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frame {
    /// The driver's part.
    pub(super) head: SectionHead,
    /// Sequence number.
    pub(super) sequence: u32,
    /// Payload length in bytes.
    pub(super) length: u32,
}

impl Frame {
    /// Returns the head's bytes.
    pub(super) fn encode(&self) -> [u8; HEAD_LEN] {
        let flags = if self.head.mandatory {
            FLAG_MANDATORY
        } else {
            0
        };
        let mut bytes = [0; HEAD_LEN];
        put(&mut bytes, 0, self.head.kind.to_le_bytes());
        put(&mut bytes, 2, flags.to_le_bytes());
        put(&mut bytes, 4, self.sequence.to_le_bytes());
        put(&mut bytes, 8, self.head.offset.to_le_bytes());
        put(&mut bytes, 16, self.length.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// Decodes the bytes of a head; `None` if there are too few.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let flags = u16::from_le_bytes(get(bytes, 2)?);
        Some(Self {
            head: SectionHead {
                kind: u16::from_le_bytes(get(bytes, 0)?),
                mandatory: flags & FLAG_MANDATORY != 0,
                offset: u64::from_le_bytes(get(bytes, 8)?),
            },
            sequence: u32::from_le_bytes(get(bytes, 4)?),
            length: u32::from_le_bytes(get(bytes, 16)?),
        })
    }
}

/// The payload of the end section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// Length of the whole image in bytes.
    pub total: u64,
    /// Number of sections before the end section.
    pub sections: u32,
    /// Checksum of all checksums before the end section.
    pub crc: u32,
}

impl End {
    /// Returns the payload's bytes.
    pub(super) fn encode(&self) -> [u8; END_PAYLOAD] {
        let mut bytes = [0; END_PAYLOAD];
        put(&mut bytes, 0, self.total.to_le_bytes());
        put(&mut bytes, 8, self.sections.to_le_bytes());
        put(&mut bytes, 12, self.crc.to_le_bytes());
        bytes
    }

    /// Decodes the bytes of the payload; `None` if there are too few.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            total: u64::from_le_bytes(get(bytes, 0)?),
            sections: u32::from_le_bytes(get(bytes, 8)?),
            crc: u32::from_le_bytes(get(bytes, 12)?),
        })
    }
}

/// Returns the last four of `bytes`, if they are the checksum of those before.
pub(super) fn seal_of(bytes: &[u8]) -> Option<[u8; CRC_LEN]> {
    let (body, crc) = bytes.split_last_chunk::<CRC_LEN>()?;
    (u32::from_le_bytes(*crc) == crc32c(body)).then_some(*crc)
}

/// Makes the last four of `bytes` the checksum of those before.
fn seal(bytes: &mut [u8]) {
    if let Some((body, crc)) = bytes.split_last_chunk_mut::<CRC_LEN>() {
        *crc = crc32c(body).to_le_bytes();
    }
}

/// Puts `field` at `offset`, at which `bytes` has room for it.
fn put<const N: usize>(bytes: &mut [u8], offset: usize, field: [u8; N]) {
    if let Some(place) = bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut) {
        *place = field;
    }
}

/// Returns the `N` bytes at `offset`; `None` if `bytes` has too few.
pub(super) fn get<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}
