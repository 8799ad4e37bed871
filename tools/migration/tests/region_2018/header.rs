// SPDX-License-Identifier: GPL-2.0-only

//! Every access to the region's header, against the text of the uAPI header.

use crate::common::{Fake, Side, DATA_OFFSET};
use kernel::error::code::*;
use migration::protocols::region_2018::{
    layout::{Field, HEADER_LEN},
    state::DeviceState,
};
use proptest::prelude::*;

/// Offset, width, whether writable: by hand from `struct vfio_device_migration_info`.
const FIELDS: [(usize, usize, bool); 10] = [
    (0, 4, true),
    (4, 8, false),
    (12, 8, false),
    (20, 8, false),
    (28, 8, true),
    (36, 8, true),
    (44, 8, true),
    (52, 8, true),
    (60, 8, true),
    (68, 8, false),
];

/// What an access is by the uAPI's rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Whole,
    Low,
    High,
    Wrong,
}

fn kind(offset: usize, len: usize) -> Kind {
    let mut covered = Vec::new();
    for (start, width, _) in FIELDS {
        if offset == start && len == 4 && width == 8 {
            return Kind::Low;
        }
        if offset == start + 4 && len == 4 && width == 8 {
            return Kind::High;
        }
        if start >= offset && start + width <= offset + len {
            covered.push((start, width));
        }
    }
    let bytes: usize = covered.iter().map(|(_, width)| width).sum();
    match covered.first() {
        Some((start, _)) if *start == offset && bytes == len => Kind::Whole,
        _ => Kind::Wrong,
    }
}

/// A side whose writable fields differ from each other, with a stopped source.
fn side() -> Side {
    let mut side = Side::new(Fake::filled(200, 64), 4096);
    side.set(Field::ThresholdSize, 0x0102_0304_0506_0708)
        .unwrap();
    side.set(Field::StartAddr, 0x1122_3344_5566_7000).unwrap();
    side.enter(DeviceState::Setup).unwrap();
    side.set(Field::Total, 0x33_4455).unwrap();
    assert_eq!(side.get(Field::Copied), Ok(0));
    side.enter(DeviceState::Stopncopy).unwrap();
    side
}

fn header(side: &mut Side) -> Vec<u8> {
    let mut header = vec![0; HEADER_LEN];
    side.read(0, &mut header).unwrap();
    header
}

#[test]
fn fields_are_where_the_header_has_them() {
    for (field, (offset, width, writable)) in Field::ALL.into_iter().zip(FIELDS) {
        assert_eq!(field.offset(), offset);
        assert_eq!(field.width(), width);
        assert_eq!(field.is_writable(), writable);
    }
    assert_eq!(HEADER_LEN, 76);
}

#[test]
fn every_read() {
    let whole = {
        let mut side = side();
        let pending = side.pending();
        let header = header(&mut side);
        assert_eq!(header[0], 4);
        let counts: u64 = (4..28)
            .step_by(8)
            .map(|at| u64::from_le_bytes(header[at..at + 8].try_into().unwrap()))
            .sum();
        assert_eq!(counts, pending);
        assert_eq!(header[28..36], 0x0102_0304_0506_0708u64.to_le_bytes());
        assert_eq!(header[36..44], DATA_OFFSET.to_le_bytes());
        assert_eq!(header[44..52], pending.to_le_bytes());
        assert_eq!(header[52..60], 0x1122_3344_5566_7000u64.to_le_bytes());
        assert_eq!(header[60..68], 0x33_4455u64.to_le_bytes());
        assert_eq!(header[68..76], [0; 8]);
        header
    };
    for offset in 0..=HEADER_LEN + 4 {
        for len in 0..=HEADER_LEN + 4 {
            let mut side = side();
            let mut out = vec![0x5a; len];
            let result = side.read(offset, &mut out);
            match kind(offset, len) {
                Kind::Whole | Kind::Low => {
                    assert_eq!(result, Ok(()), "{len} at {offset}");
                    assert_eq!(out, whole[offset..offset + len]);
                }
                // Not without the low half before it.
                Kind::High | Kind::Wrong => {
                    assert_eq!(result, Err(EINVAL), "{len} at {offset}");
                    assert_eq!(out, vec![0x5a; len]);
                    assert_eq!(header(&mut side), whole);
                }
            }
        }
    }
    let huge = side().read(usize::MAX, &mut [0; 4]);
    assert_eq!(huge, Err(EINVAL));
}

#[test]
fn every_write_that_is_wrong_changes_nothing() {
    for offset in 0..=HEADER_LEN + 4 {
        for len in 0..=HEADER_LEN + 4 {
            let mut side = side();
            // No value fits every field; other tests write single fields.
            let result = side.write(offset, &vec![0xff; len]);
            let writable = |(start, width, writable): &(usize, usize, bool)| {
                *writable && *start <= offset && offset + len <= start + width
            };
            let expected = match kind(offset, len) {
                Kind::Low if FIELDS.iter().any(writable) => Ok(()),
                Kind::Whole if offset == 28 && len == 8 => Ok(()),
                _ => Err(EINVAL),
            };
            assert_eq!(result, expected, "{len} at {offset}");
            if result.is_err() || len == 4 {
                let mut fresh = self::side();
                assert_eq!(header(&mut side), header(&mut fresh), "{len} at {offset}");
            }
        }
    }
}

#[test]
fn several_fields_in_one_write() {
    let mut side = Side::new(Fake::new(200, 64), 4096);
    side.enter(DeviceState::Resume).unwrap();
    let bytes =
        |values: &[u64]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    // From threshold_size to start_addr.
    side.write(28, &bytes(&[9, DATA_OFFSET, 0, 0x7000]))
        .unwrap();
    assert_eq!(side.get(Field::ThresholdSize), Ok(9));
    assert_eq!(side.get(Field::StartAddr), Ok(0x7000));
    // If one value is wrong, none is taken.
    for values in [
        [10, DATA_OFFSET + 1, 0, 0x8000],
        [10, DATA_OFFSET, 4097, 0x8000],
        [10, DATA_OFFSET, 0, 0x8001],
    ] {
        assert_eq!(side.write(28, &bytes(&values)), Err(EINVAL));
        assert_eq!(side.get(Field::ThresholdSize), Ok(9));
        assert_eq!(side.get(Field::StartAddr), Ok(0x7000));
    }
    // A refused buffer leaves the other fields alone, too.
    side.window.bytes.borrow_mut()[..16].fill(0);
    assert_eq!(side.write(28, &bytes(&[10, DATA_OFFSET, 16])), Err(EINVAL));
    assert_eq!(side.get(Field::ThresholdSize), Ok(9));
    assert_eq!(side.get(Field::DataSize), Ok(0));
}

#[test]
fn halves_of_writes() {
    let mut side = side();
    let before = side.get(Field::ThresholdSize).unwrap();
    side.write(28, &[1, 2, 3, 4]).unwrap();
    assert_eq!(header(&mut side)[28..36], before.to_le_bytes());
    // The read in between ended it.
    assert_eq!(side.write(32, &[5, 6, 7, 8]), Err(EINVAL));

    side.write(28, &[1, 2, 3, 4]).unwrap();
    // A refused access has no effect.
    assert_eq!(side.write(5, &[0; 4]), Err(EINVAL));
    assert_eq!(side.write(64, &[0; 4]), Err(EINVAL));
    side.write(32, &[5, 6, 7, 8]).unwrap();
    assert_eq!(side.get(Field::ThresholdSize), Ok(0x0807_0605_0403_0201));
    // The second half counts once.
    assert_eq!(side.write(32, &[5, 6, 7, 8]), Err(EINVAL));

    // The half of another field, and descending order.
    side.write(52, &[0; 4]).unwrap();
    assert_eq!(side.write(32, &[0; 4]), Err(EINVAL));
    side.write(28, &[0; 4]).unwrap();
    assert_eq!(side.write(56, &[0; 4]), Err(EINVAL));

    // A value that does not fit is found at the second half.
    side.write(52, &[1, 0, 0, 0]).unwrap();
    assert_eq!(side.write(56, &[0; 4]), Err(EINVAL));
    assert_eq!(side.get(Field::StartAddr), Ok(0x1122_3344_5566_7000));

    // `total` arms with its second half.
    side.write(60, &[1, 0, 0, 0]).unwrap();
    side.write(64, &[0; 4]).unwrap();
    assert_eq!(side.get(Field::Total), Ok(1));
}

#[test]
fn halves_of_the_data_size_write() {
    let mut source = Side::new(Fake::filled(200, 64), 4096);
    source.enter(DeviceState::Stopncopy).unwrap();
    let image = source.take_all().unwrap();
    let mut side = Side::new(Fake::new(200, 64), 4096);
    side.enter(DeviceState::Resume).unwrap();
    side.window.bytes.borrow_mut()[..image.len()].copy_from_slice(&image);
    side.write(44, &(image.len() as u32).to_le_bytes()).unwrap();
    assert!(!side.object.engine().is_loaded());
    side.write(48, &[0; 4]).unwrap();
    assert!(side.object.engine().is_loaded());
}

#[test]
fn halves_of_reads_are_of_one_value() {
    let mut side = Side::new(Fake::filled(200, 64), 100);
    side.enter(DeviceState::Setup).unwrap();
    side.enter(DeviceState::Precopy).unwrap();
    let (mut low, mut high) = ([0; 4], [0; 4]);
    side.read(4, &mut low).unwrap();
    let pending = u32::from_le_bytes(low);
    // The value changes in between; the second half does not.
    side.device().poke(0, 1);
    side.read(8, &mut high).unwrap();
    assert_eq!(high, [0; 4]);
    assert!(pending > 0);
    assert_eq!(side.read(8, &mut high), Err(EINVAL));

    // The low half stages the buffer.
    side.read(44, &mut low).unwrap();
    assert_eq!(low, 100u32.to_le_bytes());
    assert_eq!(side.window.bytes.borrow()[..8], *b"RVFIOIMG");
    side.read(48, &mut high).unwrap();
    assert_eq!(high, [0; 4]);
    assert_eq!(side.get(Field::DataSize), Ok(100));

    // The low half runs the query.
    side.set(Field::Total, 5).unwrap();
    side.read(68, &mut low).unwrap();
    assert_eq!(low, [0; 4]);
    side.read(72, &mut high).unwrap();

    // A whole access in between ends it.
    side.read(28, &mut low).unwrap();
    side.state();
    assert_eq!(side.read(32, &mut high), Err(EINVAL));
    // So does a write.
    side.read(28, &mut low).unwrap();
    side.set(Field::ThresholdSize, 1 << 40).unwrap();
    assert_eq!(side.read(32, &mut high), Err(EINVAL));
    side.read(28, &mut low).unwrap();
    side.read(32, &mut high).unwrap();
    assert_eq!(high, [0, 1, 0, 0]);
    // The half of another field.
    side.read(28, &mut low).unwrap();
    assert_eq!(side.read(56, &mut high), Err(EINVAL));
    // A half that was read is not one that was written.
    side.read(28, &mut low).unwrap();
    assert_eq!(side.write(32, &[0; 4]), Err(EINVAL));
}

proptest! {
    /// Whatever a client does, nothing panics and the header keeps its constants.
    #[test]
    fn any_accesses(
        steps in prop::collection::vec(
            (any::<bool>(), 0usize..80, prop_oneof![Just(4usize), Just(8), 0..80usize], any::<[u8; 8]>()),
            0..80,
        ),
        states in prop::collection::vec(0u32..10, 0..80),
        window in 1usize..300,
    ) {
        let mut side = Side::new(Fake::filled(200, 64), window);
        let mut states = states.into_iter();
        for (write, offset, len, value) in steps {
            if write {
                let bytes: Vec<u8> = value.into_iter().cycle().take(len).collect();
                let _ = side.write(offset, &bytes);
                if let Some(state) = states.next() {
                    let _ = side.set(Field::DeviceState, state.into());
                }
            } else {
                let _ = side.read(offset, &mut vec![0; len]);
            }
            prop_assert!(side.state() < 8);
            prop_assert_eq!(side.get(Field::DataOffset), Ok(DATA_OFFSET));
            prop_assert_eq!(side.get(Field::Compatible), Ok(0));
            prop_assert!(side.get(Field::DataSize).unwrap() <= window as u64);
        }
    }
}
