// SPDX-License-Identifier: GPL-2.0-only

//! Images that were damaged on the way.

use crate::{parts, read, reason, reseal, sample, write, write_pieces};
use migration::image::{
    format::{END_LEN, HEAD_LEN},
    Reason,
};

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
