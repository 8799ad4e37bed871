// SPDX-License-Identifier: GPL-2.0-only

//! Images of other versions and of other devices.

use crate::{common::IDENTITY, parts, read, reason, reseal, sample, with_header, write, Keep};
use migration::{
    crc32c::crc32c,
    image::{
        format::{Header, END_LEN, HEADER_LEN, HEAD_LEN, MAX_HEADER_LEN},
        Identity, Reader, Reason,
    },
};

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
        // A reader for any device takes the image.
        let mut reader = Reader::new(None).unwrap();
        assert_eq!(reader.feed(&image, &mut Keep::default()), Ok(()));
        assert_eq!(reader.finish(), Ok(()));
    }
    // A device takes another revision, but no other major and no newer minor version of the state.
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
