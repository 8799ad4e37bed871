// SPDX-License-Identifier: GPL-2.0-only

//! The bytes of an image, and reading them whole.

use crate::{checksums, common::IDENTITY, read, sample, write, write_pieces};
use kernel::error::{code::*, Error};
use migration::image::{
    format::{END_LEN, HEADER_LEN, HEAD_LEN},
    Reason, Refusal,
};

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
