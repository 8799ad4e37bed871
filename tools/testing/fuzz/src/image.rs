// SPDX-License-Identifier: GPL-2.0-only

//! The image reader, fed with anything in pieces of any size.
//!
//! The first byte of an input tells how it is read, the second how long the pieces are; the rest is
//! the image. No mutation gets a checksum right, so with [`RESEAL`] the target corrects them.

use kernel::{
    alloc,
    error::{code::*, Result},
};
use migration::{
    crc32c::{crc32c, Crc32c},
    image::{
        format::{Header, CRC_LEN, END_PAYLOAD, FRAMING, HEADER_LEN, HEAD_LEN, TYPE_END},
        Reader, Refusal, Section, SectionHead, Sink, Writer, MAX_PAYLOAD,
    },
};

use crate::common::IDENTITY;

/// The image must be that of the tests' device.
pub const OWN_DEVICE: u8 = 1 << 0;
/// The target corrects the checksums.
pub const RESEAL: u8 = 1 << 1;
/// The target corrects the numbers in the end section, too.
pub const RECOUNT: u8 = 1 << 2;

/// Highest section type that is known.
const KNOWN: u16 = 3;

/// Keeps what the reader hands out.
#[derive(Debug, Default, PartialEq)]
struct Keep {
    /// The header, once it was read.
    header: Option<Header>,
    /// The sections of a type that is known.
    sections: Vec<(SectionHead, Vec<u8>)>,
    /// The image was complete.
    ended: bool,
    /// The image has a section of another type.
    skipped: bool,
}

impl Sink for Keep {
    fn header(&mut self, header: &Header) -> Result {
        assert!(self.header.replace(*header).is_none());
        Ok(())
    }

    fn section(&mut self, section: &Section<'_>) -> Result {
        assert!(self.header.is_some() && !self.ended);
        assert!(section.payload.len() <= MAX_PAYLOAD);
        if !(1..=KNOWN).contains(&section.head.kind) {
            self.skipped = true;
            return Err(EOPNOTSUPP);
        }
        let mut fields = section.fields();
        let first = (fields.take_u8(), fields.take_u16(), fields.take_u64());
        assert_eq!(first.0.is_ok(), !section.payload.is_empty());
        let left = fields.len();
        assert_eq!(fields.take_slice(left).unwrap().len(), left);
        fields.finish().unwrap();
        self.sections.push((section.head, section.payload.to_vec()));
        Ok(())
    }

    fn end(&mut self, end: &migration::image::format::End) -> Result {
        assert!(!self.ended);
        self.ended = true;
        let sections = usize::try_from(end.sections)?;
        assert!(self.skipped || sections == self.sections.len());
        Ok(())
    }
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let [how, piece, image @ ..] = data else {
        return;
    };
    let mut image = image.to_vec();
    if how & RESEAL != 0 {
        reseal(&mut image, how & RECOUNT != 0);
    }
    let whole = read(&image, how & OWN_DEVICE != 0, usize::MAX);
    let pieces = read(&image, how & OWN_DEVICE != 0, usize::from(*piece).max(1));
    assert_eq!(whole, pieces, "segmentation does not matter");
    let (keep, result) = whole;
    assert_eq!(keep.ended, result.is_ok() || is_trailing(&result));
    if result.is_ok() {
        resave(&image, &keep);
    }
}

/// Returns inputs to begin with: their names, and images that are accepted and read in each way.
pub fn seeds() -> [(&'static str, Vec<u8>); 3] {
    let sections = [
        (SectionHead::optional(3, 0), vec![b'!'; 3]),
        (SectionHead::mandatory(1, 64), (0..40).collect()),
        (SectionHead::optional(77, 7), Vec::new()),
        (SectionHead::mandatory(2, 1 << 40), vec![9; 24]),
    ];
    let input = |how, sections: &[(SectionHead, Vec<u8>)], total| {
        let mut writer = Writer::new(IDENTITY, total).unwrap();
        let mut image = vec![how, 7];
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
        drain(&mut writer, &mut image);
        image
    };
    let all = OWN_DEVICE | RESEAL | RECOUNT;
    [
        ("seed-empty", input(0, &[], None)),
        ("seed-sections", input(OWN_DEVICE, &sections, None)),
        ("seed-resealed", input(all, &sections, Some(1))),
    ]
}

/// Returns whether the image was refused for bytes that follow it.
fn is_trailing(result: &Result<(), Refusal>) -> bool {
    matches!(result, Err(refusal) if refusal.reason == migration::image::Reason::Trailing)
}

/// Reads an image and checks what holds for any image.
fn read(image: &[u8], own: bool, piece: usize) -> (Keep, Result<(), Refusal>) {
    let mut keep = Keep::default();
    let mut reader = Reader::new(own.then_some(IDENTITY)).unwrap();
    let allocated = alloc::total();
    let mut fed = 0;
    for chunk in image.chunks(piece) {
        fed += chunk.len();
        let result = reader.feed(chunk, &mut keep);
        assert!(reader.position() <= fed as u64);
        if let Err(refusal) = result {
            assert!(refusal.offset <= fed as u64);
            assert!(!refusal.to_string().is_empty());
            assert_eq!(reader.feed(&[0], &mut keep), Err(refusal));
            assert_eq!(reader.feed(&[], &mut keep), Err(refusal));
            assert_eq!(reader.finish(), Err(refusal));
            assert_eq!(reader.refusal(), Some(refusal));
            break;
        }
        assert_eq!(reader.position(), fed as u64);
    }
    assert_eq!(alloc::total(), allocated, "nothing is allocated later");
    let result = reader.finish();
    (keep, result)
}

/// Writes an accepted image again.
fn resave(image: &[u8], keep: &Keep) {
    let header = keep.header.unwrap();
    if let Some(total) = header.total {
        assert_eq!(total, image.len() as u64);
    }
    let mut writer = Writer::new(header.identity, header.total).unwrap();
    let allocated = alloc::total();
    let mut again = Vec::new();
    for (head, payload) in &keep.sections {
        drain(&mut writer, &mut again);
        let staged = writer.section(|out| {
            out.put_slice(payload)?;
            Ok(Some(*head))
        });
        assert_eq!(staged, Ok(true));
    }
    drain(&mut writer, &mut again);
    writer.end().unwrap();
    drain(&mut writer, &mut again);
    assert!(writer.finished());
    assert_eq!(alloc::total(), allocated, "nothing is allocated later");
    if is_plain(image, keep) {
        assert_eq!(again, image);
    } else if header.total.is_none() {
        let (read_again, result) = read(&again, false, usize::MAX);
        assert_eq!(result, Ok(()));
        assert_eq!(read_again.sections, keep.sections);
        assert_eq!(read_again.header.unwrap().identity, header.identity);
    }
}

/// Takes what the writer has staged.
fn drain(writer: &mut Writer, image: &mut Vec<u8>) {
    image.extend_from_slice(writer.staged());
    writer.drain(usize::MAX);
}

/// Returns whether the image has nothing that only a later version would write.
fn is_plain(image: &[u8], keep: &Keep) -> bool {
    let header = keep.header.unwrap();
    let reserved = [25, 30, 31].into_iter().chain(40..60);
    let mut plain = header.minor == 0 && header.length as usize == HEADER_LEN && !keep.skipped;
    plain &= reserved.clone().all(|at| image.get(at) == Some(&0));
    let mut at = HEADER_LEN;
    while let (true, Some(head)) = (plain, image.get(at..at + HEAD_LEN)) {
        let end = head[..2] == TYPE_END.to_le_bytes();
        let flags = u16::from_le_bytes([head[2], head[3]]);
        plain = flags <= 1 && (!end || (flags == 1 && head[8..16] == [0; 8]));
        at += FRAMING + length_of(head);
    }
    plain
}

/// Returns the payload length that a section's head tells.
fn length_of(head: &[u8]) -> usize {
    u32::from_le_bytes(head[16..20].try_into().unwrap()) as usize
}

/// Makes the last four bytes the checksum of those before, and returns it.
fn seal(bytes: &mut [u8]) -> [u8; CRC_LEN] {
    let (body, crc) = bytes.split_last_chunk_mut::<CRC_LEN>().unwrap();
    *crc = crc32c(body).to_le_bytes();
    *crc
}

/// Corrects the checksums of an image, as far as its lengths make sense.
fn reseal(image: &mut [u8], recount: bool) {
    let total = image.len() as u64;
    let mut sum = Crc32c::new();
    let Some(length) = image.get(12..16) else {
        return;
    };
    let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
    if length < HEADER_LEN || length > image.len() {
        return;
    }
    let (header, mut rest) = image.split_at_mut(length);
    if recount && header[32..40] != [0; 8] {
        header[32..40].copy_from_slice(&total.to_le_bytes());
    }
    sum.update(&seal(header));
    let mut sequence = 0u32;
    while rest.len() >= FRAMING {
        let (head, more) = rest.split_at_mut(HEAD_LEN);
        let length = length_of(head);
        if length > more.len() - CRC_LEN {
            return;
        }
        if recount {
            head[4..8].copy_from_slice(&sequence.to_le_bytes());
        }
        let head_seal = seal(head);
        let (payload, more) = more.split_at_mut(length + CRC_LEN);
        if head[..2] == TYPE_END.to_le_bytes() {
            if recount && length == END_PAYLOAD {
                payload[..8].copy_from_slice(&total.to_le_bytes());
                payload[8..12].copy_from_slice(&sequence.to_le_bytes());
                payload[12..16].copy_from_slice(&sum.value().to_le_bytes());
            }
            seal(payload);
            return;
        }
        sum.update(&head_seal);
        sum.update(&seal(payload));
        sequence += 1;
        rest = more;
    }
}
