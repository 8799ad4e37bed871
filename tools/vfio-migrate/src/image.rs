// SPDX-License-Identifier: GPL-2.0-only

//! Saved device states: what they hold, and whether they are right.

mod edu;

use kernel::error::Result as KernelResult;
use migration::image::format::End;
use migration::image::{Header, Identity as ImageIdentity, Reader, Section, Sink};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::pci::Identity;

pub use edu::Registers;

/// A saved state, as far as it could be read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Image {
    /// Bytes of the file.
    pub bytes: u64,
    /// The header.
    pub header: Option<HeaderInfo>,
    /// The sections in order.
    pub sections: Vec<SectionInfo>,
    /// The end section.
    pub end: Option<EndInfo>,
    /// What is wrong with it.
    pub refusal: Option<String>,
}

/// Header of an image.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HeaderInfo {
    /// Major version of the format.
    pub major: u16,
    /// Minor version of the format.
    pub minor: u16,
    /// Bytes of the header.
    pub length: u32,
    /// Vendor and device.
    pub identity: Identity,
    /// Vendor and device of the subsystem.
    pub subsystem: Identity,
    /// Revision of the device.
    pub revision: u8,
    /// Major version of the driver's sections.
    pub state_major: u16,
    /// Minor version of the driver's sections.
    pub state_minor: u16,
    /// Bytes of the whole image, where the writer knew them.
    pub total: Option<u64>,
}

/// Section of an image.
#[derive(Clone, Debug, Serialize)]
pub struct SectionInfo {
    /// Type.
    #[serde(rename = "type")]
    pub kind: u16,
    /// A name, for a type that is known.
    pub name: Option<&'static str>,
    /// A reader must know the type.
    pub mandatory: bool,
    /// Where in the object of the type the payload belongs, in bytes.
    pub offset: u64,
    /// Bytes of the payload.
    pub length: usize,
    /// Checksum of the payload (CRC-32C), which was found right.
    pub crc32c: u32,
    /// The payload's registers, for a section of registers that is known.
    pub registers: Option<Registers>,
    /// The payload.
    #[serde(skip)]
    pub payload: Vec<u8>,
}

/// End of an image.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EndInfo {
    /// Bytes of the whole image.
    pub total: u64,
    /// Sections before the end.
    pub sections: u32,
    /// Checksum of all before the end (CRC-32C), which was found right.
    pub crc32c: u32,
}

impl Image {
    /// Reads an image as far as it is right.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut image = Self {
            bytes: bytes.len() as u64,
            ..Self::default()
        };
        let mut reader = Reader::new(None)
            .map_err(|_| Error::BadImage("there is no memory to read the image".into()))?;
        let result = reader
            .feed(bytes, &mut image)
            .and_then(|()| reader.finish());
        image.refusal = result.err().map(|refusal| refusal.to_string());
        Ok(image)
    }
}

impl Sink for Image {
    fn header(&mut self, header: &Header) -> KernelResult {
        let ImageIdentity { vendor, device, .. } = header.identity;
        self.header = Some(HeaderInfo {
            major: header.major,
            minor: header.minor,
            length: header.length,
            identity: Identity { vendor, device },
            subsystem: Identity {
                vendor: header.identity.subsystem_vendor,
                device: header.identity.subsystem_device,
            },
            revision: header.identity.revision,
            state_major: header.identity.state_major,
            state_minor: header.identity.state_minor,
            total: header.total,
        });
        Ok(())
    }

    fn section(&mut self, section: &Section<'_>) -> KernelResult {
        let known = self.header.is_some_and(|header| {
            header.identity == crate::edu::IDENTITY && header.state_major == 1
        });
        let kind = section.head.kind;
        self.sections.push(SectionInfo {
            kind,
            name: known.then(|| edu::name(kind)).flatten(),
            mandatory: section.head.mandatory,
            offset: section.head.offset,
            length: section.payload.len(),
            crc32c: migration::crc32c::crc32c(section.payload),
            registers: known
                .then(|| Registers::decode(kind, section.payload))
                .flatten(),
            payload: section.payload.to_vec(),
        });
        Ok(())
    }

    fn end(&mut self, end: &End) -> KernelResult {
        self.end = Some(EndInfo {
            total: end.total,
            sections: end.sections,
            crc32c: end.crc,
        });
        Ok(())
    }
}

/// Says why an image is not right; with a device, also why it is not right for that.
pub fn check(bytes: &[u8], device: Option<Identity>) -> Result<()> {
    let image = Image::read(bytes)?;
    if let Some(refusal) = image.refusal {
        return Err(Error::BadImage(format!("the image is refused: {refusal}")));
    }
    match (image.header, device) {
        (Some(header), Some(device)) if header.identity != device => Err(Error::BadImage(format!(
            "the image is that of another device: {} instead of {device}",
            header.identity
        ))),
        _ => Ok(()),
    }
}
