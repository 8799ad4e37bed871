// SPDX-License-Identifier: GPL-2.0-only

//! The checksum against a well-known one.

use migration::crc32c::{crc32c, Crc32c};
use proptest::prelude::*;

#[test]
fn check_value() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
    // RFC 3720, B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
}

proptest! {
    #[test]
    fn equals_the_crate(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 0usize..2000) {
        let (a, b) = bytes.split_at(cut.min(bytes.len()));
        let mut crc = Crc32c::new();
        crc.update(a);
        crc.update(b);
        prop_assert_eq!(crc.value(), ::crc32c::crc32c(&bytes));
        prop_assert_eq!(crc.value(), crc32c(&bytes));
    }
}
