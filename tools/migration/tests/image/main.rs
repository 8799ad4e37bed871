// SPDX-License-Identifier: GPL-2.0-only

//! The image format: round trips, and everything that a reader refuses.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod format;
mod random;
mod sections;
mod versions;
mod writer;

use crate::common::IDENTITY;
use kernel::error::{code::*, Error, Result};
use migration::{
    crc32c::crc32c,
    image::{
        format::{Header, END_LEN, FRAMING, HEADER_LEN, HEAD_LEN},
        Reader, Reason, Refusal, Section, SectionHead, Sink, Writer,
    },
};

/// A section, owned.
type Owned = (SectionHead, Vec<u8>);

/// Keeps what a reader hands out.
#[derive(Default)]
struct Keep {
    header: Option<Header>,
    sections: Vec<Owned>,
    ended: bool,
    /// Types that are not known.
    unknown: Vec<u16>,
    /// What each section is answered by, if not by `Ok`.
    refuse: Option<Error>,
    refuse_end: Option<Error>,
}

impl Sink for Keep {
    fn header(&mut self, header: &Header) -> Result {
        assert!(self.header.replace(*header).is_none());
        Ok(())
    }

    fn section(&mut self, section: &Section<'_>) -> Result {
        assert!(!self.ended);
        if let Some(error) = self.refuse {
            return Err(error);
        }
        if self.unknown.contains(&section.head.kind) {
            return Err(EOPNOTSUPP);
        }
        self.sections.push((section.head, section.payload.to_vec()));
        Ok(())
    }

    fn end(&mut self, _: &migration::image::format::End) -> Result {
        self.refuse_end.map_or(Ok(()), Err)?;
        self.ended = true;
        Ok(())
    }
}

/// Writes an image, drained in pieces of `piece` bytes.
fn write_pieces(sections: &[Owned], total: Option<u64>, piece: usize) -> Vec<u8> {
    let mut writer = Writer::new(IDENTITY, total).unwrap();
    let mut image = Vec::new();
    let drain = |writer: &mut Writer, image: &mut Vec<u8>| {
        while !writer.staged().is_empty() {
            let count = piece.min(writer.staged().len());
            image.extend_from_slice(&writer.staged()[..count]);
            writer.drain(count);
        }
    };
    for (head, payload) in sections {
        drain(&mut writer, &mut image);
        let staged = writer.section(|out| {
            out.put_slice(payload)?;
            Ok(Some(*head))
        });
        assert_eq!(staged, Ok(true));
    }
    drain(&mut writer, &mut image);
    writer.end().unwrap();
    assert!(!writer.finished());
    drain(&mut writer, &mut image);
    assert!(writer.finished());
    image
}

fn write(sections: &[Owned]) -> Vec<u8> {
    write_pieces(sections, None, usize::MAX)
}

/// Two mandatory sections and an optional one.
fn sample() -> Vec<Owned> {
    vec![
        (SectionHead::mandatory(1, 0), (0..40).collect()),
        (SectionHead::optional(3, 7), Vec::new()),
        (SectionHead::mandatory(2, 1 << 40), vec![9; 5]),
    ]
}

/// Reads an image for the device of the tests.
fn read(image: &[u8], piece: usize) -> (Keep, Result<(), Refusal>) {
    let mut reader = Reader::new(Some(IDENTITY)).unwrap();
    let mut keep = Keep::default();
    for chunk in image.chunks(piece) {
        if let Err(refusal) = reader.feed(chunk, &mut keep) {
            // It stays refused, in the same way.
            assert_eq!(reader.feed(&[0], &mut keep), Err(refusal));
            assert_eq!(reader.feed(&[], &mut keep), Err(refusal));
            assert_eq!(reader.finish(), Err(refusal));
            assert_eq!(reader.refusal(), Some(refusal));
            return (keep, Err(refusal));
        }
    }
    let finished = reader.finish();
    (keep, finished)
}

fn reason(image: &[u8]) -> Reason {
    let whole = read(image, image.len().max(1)).1.unwrap_err();
    let single = read(image, 1).1.unwrap_err();
    assert_eq!(whole, single, "segmentation does not matter");
    assert!(whole.offset <= image.len() as u64);
    whole.reason
}

/// Makes the last four bytes of a part the right checksum again.
fn reseal(part: &mut [u8]) {
    let body = part.len() - 4;
    let crc = crc32c(&part[..body]).to_le_bytes();
    part[body..].copy_from_slice(&crc);
}

/// The parts of an image: header, then each section with its checksum.
fn parts(image: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![image[..HEADER_LEN].to_vec()];
    let mut at = HEADER_LEN;
    while at < image.len() {
        let length = u32::from_le_bytes(image[at + 16..at + 20].try_into().unwrap());
        let end = at + FRAMING + length as usize;
        parts.push(image[at..end].to_vec());
        at = end;
    }
    parts
}

/// The checksum of the checksums of an image without its end section.
fn checksums(image: &[u8]) -> u32 {
    let mut all = Vec::new();
    for (index, part) in parts(image).iter().enumerate() {
        if index > 0 {
            all.extend_from_slice(&part[HEAD_LEN - 4..HEAD_LEN]);
        }
        all.extend_from_slice(&part[part.len() - 4..]);
    }
    ::crc32c::crc32c(&all)
}

/// The sample with another header.
fn with_header(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new(IDENTITY, None);
    change(&mut header);
    let mut image = write(&sample());
    image[..HEADER_LEN].copy_from_slice(&header.encode());
    let end = image.len() - END_LEN;
    let crc = checksums(&image[..end]).to_le_bytes();
    image[end + HEAD_LEN + 12..end + HEAD_LEN + 16].copy_from_slice(&crc);
    reseal(&mut image[end + HEAD_LEN..]);
    image
}
