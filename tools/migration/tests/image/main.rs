// SPDX-License-Identifier: GPL-2.0-only

//! The image format: round trips, and everything that a reader refuses.

mod common;

use common::IDENTITY;
use kernel::{
    alloc,
    error::{code::*, Error, Result},
};
use migration::{
    crc32c::crc32c,
    image::{
        format::{
            Header, END_LEN, FRAMING, HEADER_LEN, HEAD_LEN, MAX_HEADER_LEN, MAX_PAYLOAD, TYPE_END,
        },
        Identity, Payload, Reader, Reason, Refusal, Section, SectionHead, Sink, Writer,
    },
};
use proptest::prelude::*;

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
    assert_eq!(writer.bytes(), image.len() as u64);
    image
}

fn write(sections: &[Owned]) -> Vec<u8> {
    write_pieces(sections, None, usize::MAX)
}

/// Two sections and one that need not be known.
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
            assert_eq!(reader.refuse(Reason::Magic), refusal);
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

#[test]
fn layout_is_what_the_document_says() {
    let image = write_pieces(&sample(), Some(0x1122_3344), usize::MAX);
    assert_eq!(&image[..8], b"RVFIOIMG");
    assert_eq!(image[8..16], [1, 0, 0, 0, 64, 0, 0, 0]);
    assert_eq!(
        image[16..24],
        [0x34, 0x12, 0xe8, 0x11, 0xf4, 0x1a, 0x00, 0x11]
    );
    assert_eq!(image[24..32], [0x10, 0, 1, 0, 2, 0, 0, 0]);
    assert_eq!(image[32..40], 0x1122_3344u64.to_le_bytes());
    assert_eq!(image[40..60], [0; 20]);
    assert_eq!(image[60..64], ::crc32c::crc32c(&image[..60]).to_le_bytes());

    let head = &image[64..88];
    assert_eq!(head[..16], [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(head[16..20], 40u32.to_le_bytes());
    assert_eq!(head[20..24], ::crc32c::crc32c(&head[..20]).to_le_bytes());
    assert_eq!(image[88..128], (0..40).collect::<Vec<u8>>());
    assert_eq!(
        image[128..132],
        ::crc32c::crc32c(&image[88..128]).to_le_bytes()
    );
    // The second section is optional, number 1, at offset 7.
    assert_eq!(
        image[132..148],
        [3, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]
    );

    let end = image.len() - END_LEN;
    assert_eq!(image[end..end + 8], [0xff, 0xff, 1, 0, 3, 0, 0, 0]);
    let payload = &image[end + HEAD_LEN..];
    assert_eq!(payload[..8], (image.len() as u64).to_le_bytes());
    assert_eq!(payload[8..12], 3u32.to_le_bytes());
    assert_eq!(payload[12..16], checksums(&image[..end]).to_le_bytes());
    assert_eq!(payload.len(), 20);
}

#[test]
fn sample_is_read_whole_and_in_single_bytes() {
    let image = write(&sample());
    for piece in [1, 2, 3, 63, 64, 65, image.len()] {
        let (keep, result) = read(&image, piece);
        assert_eq!(result, Ok(()));
        assert!(keep.ended);
        assert_eq!(keep.sections, sample());
        assert_eq!(keep.header.unwrap().identity, IDENTITY);
        assert_eq!(keep.header.unwrap().total, None);
    }
}

#[test]
fn empty_image() {
    let image = write(&[]);
    assert_eq!(image.len(), HEADER_LEN + END_LEN);
    assert_eq!(read(&image, 1).1, Ok(()));
}

#[test]
fn truncated_at_every_byte() {
    let image = write(&sample());
    for len in 0..image.len() {
        let (keep, result) = read(&image[..len], 16);
        let refusal = result.unwrap_err();
        assert_eq!(refusal.reason, Reason::Truncated);
        assert_eq!(refusal.offset, len as u64);
        assert!(!keep.ended);
    }
}

#[test]
fn every_single_bit_flipped() {
    let image = write(&sample());
    for bit in 0..image.len() * 8 {
        let mut bad = image.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let (keep, result) = read(&bad, 50);
        assert!(result.is_err(), "bit {bit}");
        assert!(!keep.ended);
    }
}

#[test]
fn trailing_bytes() {
    let mut image = write(&sample());
    let len = image.len() as u64;
    image.push(0);
    let (keep, result) = read(&image, 1000);
    let refusal = result.unwrap_err();
    assert_eq!((refusal.reason, refusal.offset), (Reason::Trailing, len));
    assert!(keep.ended);
    assert_eq!(reason(&image), Reason::Trailing);
}

#[test]
fn sections_reordered_repeated_or_missing() {
    let image = write(&sample());
    let parts = parts(&image);
    assert_eq!(parts.concat(), image);
    let join = |order: &[usize]| {
        let picked: Vec<Vec<u8>> = order.iter().map(|part| parts[*part].clone()).collect();
        picked.concat()
    };
    let sequence = |expected, found| Reason::Sequence { expected, found };
    assert_eq!(reason(&join(&[0, 2, 1, 3, 4])), sequence(0, 1));
    assert_eq!(reason(&join(&[0, 1, 1, 2, 3, 4])), sequence(1, 0));
    assert_eq!(reason(&join(&[0, 1, 3, 4])), sequence(1, 2));
    assert_eq!(reason(&join(&[0, 1, 2, 3])), Reason::Truncated);
    assert_eq!(reason(&join(&[0, 1, 2, 4])), sequence(2, 3));
    assert_eq!(reason(&join(&[0, 0, 1, 2, 3, 4])), Reason::HeadChecksum);
    assert_eq!(reason(&join(&[1, 2, 3, 4])), Reason::Magic);
    assert_eq!(reason(&join(&[0, 1, 2, 3, 4, 4])), Reason::Trailing);
}

#[test]
fn a_section_of_another_image_is_found_at_the_end() {
    let image = write(&sample());
    let mut other = sample();
    other[0].1[0] ^= 1;
    let mut mixed = parts(&image);
    mixed[1] = parts(&write(&other))[1].clone();
    assert_eq!(reason(&mixed.concat()), Reason::End);
}

#[test]
fn an_end_section_that_does_not_fit() {
    let image = write(&sample());
    let end = image.len() - END_LEN;
    for byte in 0..16 {
        let mut bad = image.clone();
        bad[end + HEAD_LEN + byte] ^= 0x40;
        reseal(&mut bad[end + HEAD_LEN..]);
        assert_eq!(reason(&bad), Reason::End);
    }
    // An end section of another length.
    let mut bad = image;
    bad[end + 16] = 15;
    reseal(&mut bad[end..end + HEAD_LEN]);
    assert_eq!(reason(&bad), Reason::Length(15));
}

#[test]
fn the_announced_length_is_checked() {
    let len = write(&sample()).len() as u64;
    let right = write_pieces(&sample(), Some(len), 7);
    assert_eq!(read(&right, 5).1, Ok(()));
    let wrong = write_pieces(&sample(), Some(len + 1), 7);
    assert_eq!(reason(&wrong), Reason::End);
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

#[test]
fn versions() {
    assert_eq!(read(&with_header(|_| {}), 9).1, Ok(()));
    assert_eq!(reason(&with_header(|h| h.major = 2)), Reason::Major(2));
    assert_eq!(reason(&with_header(|h| h.major = 0)), Reason::Major(0));
    assert_eq!(read(&with_header(|h| h.minor = 9), 9).1, Ok(()));
    for length in [0, 15, 63, MAX_HEADER_LEN as u32 + 1, u32::MAX] {
        let image = with_header(|h| h.length = length);
        assert_eq!(reason(&image), Reason::HeaderLength(length));
    }
    let mut image = with_header(|_| {});
    image[45] = 1;
    assert_eq!(reason(&image), Reason::HeaderChecksum);
    image[0] = b'r';
    assert_eq!(reason(&image), Reason::Magic);
    assert_eq!(reason(&[0; 16]), Reason::Magic);
}

#[test]
fn a_longer_header_of_a_later_minor_version_is_read() {
    let plain = write(&sample());
    let mut header = Header::new(IDENTITY, None);
    header.minor = 3;
    header.length = 80;
    let mut start = header.encode()[..60].to_vec();
    start.extend([0x77; 20]);
    reseal(&mut start);
    let end = plain.len() - END_LEN;
    let mut image = [&start[..], &plain[HEADER_LEN..end]].concat();
    // The header's checksum is another one, the sections' are the same.
    let mut seals = start[start.len() - 4..].to_vec();
    for part in &parts(&plain[..end])[1..] {
        seals.extend_from_slice(&part[HEAD_LEN - 4..HEAD_LEN]);
        seals.extend_from_slice(&part[part.len() - 4..]);
    }
    let crc = crc32c(&seals);
    let mut last = plain[end..].to_vec();
    let total = plain.len() as u64 + 16;
    last[HEAD_LEN..HEAD_LEN + 8].copy_from_slice(&total.to_le_bytes());
    last[HEAD_LEN + 12..HEAD_LEN + 16].copy_from_slice(&crc.to_le_bytes());
    reseal(&mut last[HEAD_LEN..]);
    image.extend(last);
    for piece in [1, 1000] {
        let (keep, result) = read(&image, piece);
        assert_eq!(result, Ok(()));
        assert_eq!(keep.sections, sample());
    }
}

#[test]
fn wrong_device() {
    let changes: [fn(&mut Identity); 4] = [
        |id| id.vendor ^= 1,
        |id| id.device ^= 1,
        |id| id.subsystem_vendor ^= 1,
        |id| id.subsystem_device ^= 1,
    ];
    for change in changes {
        let mut identity = IDENTITY;
        change(&mut identity);
        let image = with_header(|h| h.identity = identity);
        assert_eq!(reason(&image), Reason::Device(identity));
        // For no device in particular it is a good image.
        let mut reader = Reader::new(None).unwrap();
        assert_eq!(reader.feed(&image, &mut Keep::default()), Ok(()));
        assert_eq!(reader.finish(), Ok(()));
    }
    // Another revision is taken, another major version or a newer minor one of the state is not.
    assert_eq!(
        read(&with_header(|h| h.identity.revision ^= 1), 9).1,
        Ok(())
    );
    assert_eq!(
        read(&with_header(|h| h.identity.state_minor = 0), 9).1,
        Ok(())
    );
    for (major, minor) in [(1, 3), (0, 2), (2, 0)] {
        let image = with_header(|h| {
            h.identity.state_major = major;
            h.identity.state_minor = minor;
        });
        assert_eq!(reason(&image), Reason::State { major, minor });
    }
}

#[test]
fn unknown_sections() {
    let image = write(&sample());
    for (unknown, expected) in [
        (3, Ok(())),
        (1, Err(Reason::Unknown(1))),
        (2, Err(Reason::Unknown(2))),
    ] {
        let mut keep = Keep {
            unknown: vec![unknown],
            ..Keep::default()
        };
        let mut reader = Reader::new(Some(IDENTITY)).unwrap();
        let fed = reader.feed(&image, &mut keep).map_err(|r| r.reason);
        assert_eq!(fed, expected);
        assert_eq!(keep.ended, expected.is_ok());
    }
}

#[test]
fn reserved_section_types_reach_the_sink_as_unknown_ones() {
    // A reserved type is written by no writer; a reader leaves it to the sink, like any other.
    let mut image = parts(&write(&sample()));
    image[1][..2].copy_from_slice(&0x8000u16.to_le_bytes());
    reseal(&mut image[1][..HEAD_LEN]);
    let mut keep = Keep {
        unknown: vec![0x8000],
        ..Keep::default()
    };
    let mut reader = Reader::new(None).unwrap();
    let refusal = reader.feed(&image.concat(), &mut keep).unwrap_err();
    assert_eq!(refusal.reason, Reason::Unknown(0x8000));
}

#[test]
fn a_sink_that_refuses() {
    let image = write(&sample());
    let feed = |mut keep: Keep| {
        let mut reader = Reader::new(None).unwrap();
        reader.feed(&image, &mut keep).unwrap_err()
    };
    let refusal = feed(Keep {
        refuse: Some(EIO),
        ..Keep::default()
    });
    assert_eq!(refusal.reason, Reason::Section(1, EIO));
    assert_eq!(Error::from(refusal), EIO);
    let refusal = feed(Keep {
        refuse_end: Some(ETIMEDOUT),
        ..Keep::default()
    });
    assert_eq!(refusal.reason, Reason::Apply(ETIMEDOUT));
    assert_eq!(Error::from(refusal), ETIMEDOUT);
}

#[test]
fn lengths_out_of_range() {
    let change = |length: u32, offset: u64| {
        let mut image = write(&sample());
        let head = &mut image[HEADER_LEN..HEADER_LEN + HEAD_LEN];
        head[8..16].copy_from_slice(&offset.to_le_bytes());
        head[16..20].copy_from_slice(&length.to_le_bytes());
        reseal(head);
        image
    };
    let most = MAX_PAYLOAD as u32;
    for length in [most + 1, u32::MAX] {
        assert_eq!(reason(&change(length, 0)), Reason::Length(length));
    }
    assert_eq!(reason(&change(most, 0)), Reason::Truncated);
    assert_eq!(reason(&change(40, u64::MAX - 10)), Reason::Length(40));
}

#[test]
fn an_end_section_is_mandatory_and_at_the_beginning() {
    let change = |flags: u16, offset: u64| {
        let mut image = write(&sample());
        let at = image.len() - END_LEN;
        let head = &mut image[at..at + HEAD_LEN];
        head[2..4].copy_from_slice(&flags.to_le_bytes());
        head[8..16].copy_from_slice(&offset.to_le_bytes());
        reseal(head);
        image
    };
    // Flags that are not known are ignored.
    for flags in [1, 3, 0xffff] {
        let mut reader = Reader::new(None).unwrap();
        assert_eq!(reader.feed(&change(flags, 0), &mut Keep::default()), Ok(()));
        assert_eq!(reader.finish(), Ok(()));
    }
    for (flags, offset) in [(0, 0), (0xfffe, 0), (1, 1), (1, 1 << 40), (0, 16)] {
        assert_eq!(
            reason(&change(flags, offset)),
            Reason::End,
            "{flags} {offset}"
        );
    }
    assert_eq!(reason(&change(1, u64::MAX)), Reason::Length(16));
}

#[test]
fn refusals_in_words() {
    let reasons = [
        Reason::Magic,
        Reason::Major(3),
        Reason::HeaderLength(5),
        Reason::HeaderChecksum,
        Reason::Device(IDENTITY),
        Reason::State { major: 1, minor: 2 },
        Reason::HeadChecksum,
        Reason::Sequence {
            expected: 4,
            found: 2,
        },
        Reason::Length(70000),
        Reason::PayloadChecksum,
        Reason::Unknown(7),
        Reason::End,
        Reason::Truncated,
        Reason::Trailing,
    ];
    let mut seen = std::collections::BTreeSet::new();
    for reason in reasons {
        let refusal = Refusal { reason, offset: 77 };
        assert_eq!(Error::from(refusal), EINVAL);
        let words = refusal.to_string();
        assert!(words.ends_with("(at byte 77)"), "{words}");
        assert!(seen.insert(words));
    }
    let transport = Refusal {
        reason: Reason::Transport(EFAULT),
        offset: 0,
    };
    assert_eq!(Error::from(transport), EFAULT);
}

#[test]
fn writer_keeps_its_rules() {
    let mut writer = Writer::new(IDENTITY, None).unwrap();
    let fill = |_: &mut Payload| Ok(Some(SectionHead::mandatory(1, 0)));
    assert_eq!(writer.section(fill), Err(EBUSY));
    assert_eq!(writer.end(), Err(EBUSY));
    writer.drain(10);
    assert_eq!(writer.staged().len(), HEADER_LEN - 10);
    writer.drain(usize::MAX);
    assert!(writer.staged().is_empty());
    assert_eq!(writer.section(|_| Ok(None)), Ok(false));
    for kind in [0, 0x8000, TYPE_END] {
        let bad = |_: &mut Payload| Ok(Some(SectionHead::mandatory(kind, 0)));
        assert_eq!(writer.section(bad), Err(EINVAL));
    }
    let failed = writer.section(|payload| {
        payload.put_u64(1)?;
        Err(ETIMEDOUT)
    });
    assert_eq!(failed, Err(ETIMEDOUT));
    // What failed left nothing behind.
    assert_eq!(writer.section(fill), Ok(true));
    assert_eq!(writer.staged().len(), FRAMING);
    writer.drain(FRAMING);
    writer.end().unwrap();
    writer.drain(END_LEN);
    assert_eq!(writer.end(), Err(EINVAL));
    assert_eq!(writer.section(fill), Err(EINVAL));
    assert!(writer.finished());
}

#[test]
fn payload_is_bounded_and_fields_are_read_back() {
    let mut payload = Payload::new().unwrap();
    payload.put_u8(0x11).unwrap();
    payload.put_u16(0x2222).unwrap();
    payload.put_u32(0x3333_3333).unwrap();
    payload.put_u64(0x4444_4444_4444_4444).unwrap();
    payload.put_slice(b"abc").unwrap();
    let section = Section {
        head: SectionHead::mandatory(1, 0),
        payload: payload.bytes(),
    };
    let mut fields = section.fields();
    assert_eq!(fields.take_u8(), Ok(0x11));
    assert_eq!(fields.take_u16(), Ok(0x2222));
    assert_eq!(fields.take_u32(), Ok(0x3333_3333));
    assert_eq!(fields.finish(), Err(EINVAL));
    assert_eq!(fields.take_u64(), Ok(0x4444_4444_4444_4444));
    assert_eq!(fields.take_u32(), Err(EINVAL));
    assert_eq!(fields.take_slice(4), Err(EINVAL));
    assert_eq!(fields.take_slice(3), Ok(b"abc".as_slice()));
    assert_eq!(fields.finish(), Ok(()));
    assert_eq!(fields.take_u8(), Err(EINVAL));

    let before = alloc::total();
    let room = payload.room();
    payload.put_slice(&vec![0; room - 3]).unwrap();
    assert_eq!(payload.put_u32(1), Err(EMSGSIZE));
    assert_eq!(payload.room(), 3);
    payload.put_u16(1).unwrap();
    payload.put_u8(1).unwrap();
    assert_eq!(payload.len(), MAX_PAYLOAD);
    assert_eq!(payload.put_u8(1), Err(EMSGSIZE));
    assert_eq!(alloc::total(), before);
}

#[test]
fn memory_is_taken_once() {
    alloc::fail_after(0);
    assert_eq!(Writer::new(IDENTITY, None).err(), Some(ENOMEM));
    alloc::fail_after(0);
    assert_eq!(Reader::new(None).err(), Some(ENOMEM));

    let largest = vec![(SectionHead::mandatory(1, 0), vec![5; MAX_PAYLOAD]); 2];
    alloc::fail_from(1);
    let image = write(&largest);
    alloc::succeed();
    alloc::fail_from(1);
    let (keep, result) = read(&image, 1000);
    alloc::succeed();
    assert_eq!(result, Ok(()));
    assert_eq!(keep.sections, largest);
}

/// Any sections.
fn sections() -> impl Strategy<Value = Vec<Owned>> {
    let payload = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..300),
        1 => Just(vec![0x5a; MAX_PAYLOAD]),
    ];
    let section = (1u16..0x8000, any::<bool>(), 0u64..1 << 60, payload);
    prop::collection::vec(section, 0..6).prop_map(|sections| {
        let owned = |(kind, mandatory, offset, payload)| {
            let head = SectionHead {
                kind,
                mandatory,
                offset,
            };
            (head, payload)
        };
        sections.into_iter().map(owned).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trip(sections in sections(), out in 1usize..5000, inn in 1usize..5000) {
        let image = write_pieces(&sections, None, out);
        let (keep, result) = read(&image, inn);
        prop_assert_eq!(result, Ok(()));
        prop_assert!(keep.ended);
        prop_assert_eq!(keep.sections, sections);
    }

    #[test]
    fn any_damage_is_refused(
        sections in sections(),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..16),
    ) {
        let image = write(&sections);
        let mut bad = image.clone();
        let at = at.index(image.len());
        for (place, byte) in bad[at..].iter_mut().zip(&bytes) {
            *place = *byte;
        }
        prop_assert_eq!(read(&bad, 777).1.is_ok(), bad == image);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600), start in 0usize..300) {
        let image = write(&sample());
        let mut fed = image[..start.min(image.len())].to_vec();
        fed.extend(bytes);
        prop_assert_eq!(read(&fed, 33).1.is_ok(), fed == image);
    }
}
