// SPDX-License-Identifier: GPL-2.0-only

//! Sections that a reader or its sink refuses.

use crate::{common::IDENTITY, parts, reason, reseal, sample, write, Keep};
use kernel::error::{code::*, Error};
use migration::image::{
    format::{END_LEN, HEADER_LEN, HEAD_LEN, MAX_PAYLOAD},
    Reader, Reason,
};

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
    // No writer writes a reserved type; a reader leaves it to the sink, like any other.
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
    // A reader ignores unknown flags.
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
