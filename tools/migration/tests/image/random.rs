// SPDX-License-Identifier: GPL-2.0-only

//! Images of random content, and random damage to them.

use crate::{read, sample, write, write_pieces, Owned};
use migration::image::{format::MAX_PAYLOAD, SectionHead};
use proptest::prelude::*;

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
