// SPDX-License-Identifier: GPL-2.0-only

//! Saved device states: what they hold, and whether they are right.

mod edu;

use kernel::error::{code::EIO, Result as KernelResult};
use migration::image::format::End;
use migration::image::{Header, Identity as ImageIdentity, Reader, Section, Sink};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files::input::{Input, PIECE};
use crate::pci::Identity;

pub use edu::Registers;

/// Receives the parts of an image, as far as it is valid.
///
/// An error ends the reading.
pub trait Show {
    /// The header.
    fn header(&mut self, header: &HeaderInfo) -> Result<()> {
        let _ = header;
        Ok(())
    }

    /// The next section and its payload.
    fn section(&mut self, section: &SectionInfo, payload: &[u8]) -> Result<()> {
        let _ = (section, payload);
        Ok(())
    }

    /// The end section.
    fn end(&mut self, end: &EndInfo) -> Result<()> {
        let _ = end;
        Ok(())
    }
}

/// Shows nothing.
pub struct Unseen;

impl Show for Unseen {}

/// A saved state that is read in pieces; at most one section is kept in memory.
pub struct Image {
    reader: Reader,
    header: Option<HeaderInfo>,
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
    /// Bytes of the whole image, if the writer knew them.
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
    /// Verified checksum of the payload (CRC-32C).
    pub crc32c: u32,
    /// The payload's registers, for a section of registers that is known.
    pub registers: Option<Registers>,
}

/// End of an image.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EndInfo {
    /// Bytes of the whole image.
    pub total: u64,
    /// Sections before the end.
    pub sections: u32,
    /// Verified checksum of all before the end (CRC-32C).
    pub crc32c: u32,
}

impl Image {
    /// Begins to read.
    pub fn new() -> Result<Self> {
        let reader = Reader::new(None)
            .map_err(|_| Error::BadImage("there is no memory to read the image".into()))?;
        Ok(Self {
            reader,
            header: None,
        })
    }

    /// Takes the next bytes, unless the image is already refused. Fails only if `show` fails.
    pub fn feed(&mut self, bytes: &[u8], show: &mut dyn Show) -> Result<()> {
        let mut parts = Parts {
            header: &mut self.header,
            show,
            error: None,
        };
        // The reader remembers what it found wrong.
        let _ = self.reader.feed(bytes, &mut parts);
        parts.error.map_or(Ok(()), Err)
    }

    /// Reads the rest of a file, up to the first error in the image.
    pub fn read(&mut self, input: &mut Input, show: &mut dyn Show) -> Result<()> {
        let mut bytes = vec![0; PIECE];
        while self.reader.refusal().is_none() {
            match input.read(&mut bytes)? {
                0 => break,
                count => self.feed(&bytes[..count], show)?,
            }
        }
        Ok(())
    }

    /// Returns the bytes of the image that were taken.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Returns whether the header was read.
    pub fn has_header(&self) -> bool {
        self.header.is_some()
    }

    /// Says what is wrong with the bytes so far, if they cannot begin an image.
    pub fn refusal(&self) -> Option<String> {
        self.reader.refusal().map(|refusal| refusal.to_string())
    }

    /// Says what is wrong with the image if no more bytes follow.
    pub fn final_refusal(&self) -> Option<String> {
        let result = self.reader.finish();
        result.err().map(|refusal| refusal.to_string())
    }

    /// Refuses bytes that do not begin a valid image of that device.
    pub fn check_begin(&self, device: Option<Identity>) -> Result<()> {
        if let Some(refusal) = self.refusal() {
            return Err(Error::BadImage(format!("the image is refused: {refusal}")));
        }
        match (self.header, device) {
            (Some(header), Some(device)) if header.identity != device => {
                Err(Error::BadImage(format!(
                    "the image is that of another device: {} instead of {device}",
                    header.identity
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses an image that is not complete and valid, or of another device.
    pub fn check(&self, device: Option<Identity>) -> Result<()> {
        if let Some(refusal) = self.final_refusal() {
            return Err(Error::BadImage(format!("the image is refused: {refusal}")));
        }
        self.check_begin(device)
    }
}

/// Turns what the reader hands out into what [`Show`] takes.
struct Parts<'a> {
    header: &'a mut Option<HeaderInfo>,
    show: &'a mut dyn Show,
    /// The error of [`Show`], after which nothing more is shown.
    error: Option<Error>,
}

impl Parts<'_> {
    /// Makes the reader stop if showing failed.
    fn shown(&mut self, result: Result<()>) -> KernelResult {
        result.map_err(|error| {
            self.error = Some(error);
            EIO
        })
    }
}

impl Sink for Parts<'_> {
    fn header(&mut self, header: &Header) -> KernelResult {
        let ImageIdentity { vendor, device, .. } = header.identity;
        let header = HeaderInfo {
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
        };
        *self.header = Some(header);
        let shown = self.show.header(&header);
        self.shown(shown)
    }

    fn section(&mut self, section: &Section<'_>) -> KernelResult {
        let known = self
            .header
            .is_some_and(|header| header.identity == Identity::EDU && header.state_major == 1);
        let kind = section.head.kind;
        let info = SectionInfo {
            kind,
            name: known.then(|| edu::name(kind)).flatten(),
            mandatory: section.head.mandatory,
            offset: section.head.offset,
            length: section.payload.len(),
            crc32c: migration::crc32c::crc32c(section.payload),
            registers: known
                .then(|| Registers::decode(kind, section.payload))
                .flatten(),
        };
        let shown = self.show.section(&info, section.payload);
        self.shown(shown)
    }

    fn end(&mut self, end: &End) -> KernelResult {
        let shown = self.show.end(&EndInfo {
            total: end.total,
            sections: end.sections,
            crc32c: end.crc,
        });
        self.shown(shown)
    }
}
