// SPDX-License-Identifier: GPL-2.0-only

//! Queries of dirty pages.

use crate::{
    ask, at,
    common::{Fake, Op, Side, DATA_OFFSET},
    saving, transfer,
};
use kernel::error::code::*;
use migration::{
    iova::PAGE_SIZE,
    protocols::region_2018::{layout::Field, state::DeviceState::*},
};

#[test]
fn dirty_pages_through_a_small_window() {
    // 2 bytes hold 16 pages.
    let mut side = Side::new(Fake::new(200, 64), 2);
    transfer(&mut side, 5);
    side.enter(Setup).unwrap();
    // The transfer was in flight when tracking began.
    assert_eq!(ask(&mut side, 0, 100), Ok((16, vec![5])));
    side.object.engine_mut().device_mut().land(&side.host);
    assert_eq!(ask(&mut side, 0, 100), Ok((16, vec![5])));
    assert_eq!(ask(&mut side, 0, 100), Ok((0, vec![])));

    transfer(&mut side, 40);
    side.enter(Precopy).unwrap();
    transfer(&mut side, 3);
    side.enter(Stopncopy).unwrap();
    // The client goes on from where the bitmap ends.
    assert_eq!(ask(&mut side, 0, 41), Ok((16, vec![3])));
    assert_eq!(ask(&mut side, 16, 25), Ok((16, vec![])));
    assert_eq!(ask(&mut side, 32, 9), Ok((9, vec![40])));
    assert_eq!(ask(&mut side, 0, 41), Ok((0, vec![])));
}

#[test]
fn a_query_runs_once_and_only_when_armed() {
    let mut side = Side::new(Fake::new(200, 64), 4096);
    side.enter(Setup).unwrap();
    assert_eq!(side.get(Field::Copied), Ok(0));
    transfer(&mut side, 1);
    side.enter(Stopncopy).unwrap();
    assert_eq!(side.get(Field::Copied), Ok(0));
    side.set(Field::Total, 8).unwrap();
    // A start that is written later applies to the next query.
    side.set(Field::StartAddr, PAGE_SIZE).unwrap();
    assert_eq!(side.get(Field::Copied), Ok(8));
    assert_eq!(side.window.bytes.borrow()[..2], [0b10, 0xee]);
    assert_eq!(side.get(Field::Copied), Ok(8));
    side.set(Field::Total, 8).unwrap();
    assert_eq!(side.get(Field::Copied), Ok(0));
    // Both fields in one access.
    let mut both = 0u64.to_le_bytes().to_vec();
    both.extend(9u64.to_le_bytes());
    side.write(Field::StartAddr.offset(), &both).unwrap();
    assert_eq!(side.get(Field::StartAddr), Ok(0));
    assert_eq!(side.get(Field::Total), Ok(9));
    side.enter(Cancelled).unwrap();
    assert_eq!(side.get(Field::Copied), Ok(0));
    assert_eq!(side.set(Field::Total, 9), Err(EINVAL));
}

#[test]
fn queries_out_of_range() {
    for state in [None, Running, Resume, ResumeCompleted] {
        assert_eq!(at(state).set(Field::Total, 1), Err(EINVAL));
    }
    let mut side = at(Setup);
    for start in [1, 0x800, u64::MAX] {
        assert_eq!(side.set(Field::StartAddr, start), Err(EINVAL));
    }
    assert_eq!(side.set(Field::Total, 0), Err(EINVAL));
    assert_eq!(side.set(Field::Total, (1 << 52) + 1), Err(EINVAL));
    assert_eq!(side.set(Field::Total, u64::MAX), Err(EINVAL));
    side.set(Field::Total, 1 << 52).unwrap();
    assert_eq!(side.get(Field::Copied), Ok(0));
    side.set(Field::StartAddr, PAGE_SIZE).unwrap();
    assert_eq!(side.set(Field::Total, 1 << 52), Err(EINVAL));
    assert_eq!(side.get(Field::Total), Ok(1 << 52));
    side.set(Field::StartAddr, !0xfff).unwrap();
    side.set(Field::Total, 1).unwrap();
    assert_eq!(side.set(Field::Total, 2), Err(EINVAL));
}

#[test]
fn a_query_that_fails_can_be_repeated() {
    let mut side = Side::new(Fake::new(200, 64), 4096);
    side.enter(Setup).unwrap();
    transfer(&mut side, 600);
    side.enter(Stopncopy).unwrap();
    side.set(Field::Total, 2000).unwrap();
    side.host.fail(Op::InFlight, EIO);
    assert_eq!(side.get(Field::Copied), Err(EIO));
    side.window.fail.set(Some(2));
    assert_eq!(side.get(Field::Copied), Err(EFAULT));
    assert_eq!(side.get(Field::Copied), Ok(2000));
    assert_eq!(side.window.bytes.borrow()[75], 1);
}

/// A client reads `copied`, then `data.offset`, then the bitmap.
#[test]
fn reading_the_offset_leaves_the_bitmap() {
    let offsets: [fn(&mut Side) -> u64; 4] = [
        |side| side.get(Field::DataOffset).unwrap(),
        |side| {
            let mut half = [0; 4];
            side.read(36, &mut half).unwrap();
            side.read(40, &mut [0; 4]).unwrap();
            u32::from_le_bytes(half).into()
        },
        |side| {
            let mut data = [0; 16];
            side.read(36, &mut data).unwrap();
            assert_eq!(data[8..], 8u64.to_le_bytes());
            u64::from_le_bytes(data[..8].try_into().unwrap())
        },
        |side| {
            // The access that runs the query describes the bitmap, too.
            side.set(Field::Total, 64).unwrap();
            let mut all = [0; 40];
            side.read(36, &mut all).unwrap();
            assert_eq!(all[8..16], 0u64.to_le_bytes());
            assert_eq!(all[32..], 0u64.to_le_bytes());
            u64::from_le_bytes(all[..8].try_into().unwrap())
        },
    ];
    for state in [Precopy, Stopncopy] {
        for read in offsets {
            let (mut side, image) = saving(state);
            assert_eq!(ask(&mut side, 0, 64), Ok((64, vec![3, 40])));
            let before = side.window.bytes.borrow().clone();
            assert_eq!(read(&mut side), DATA_OFFSET);
            assert_eq!(*side.window.bytes.borrow(), before);
            side.pending();
            assert_eq!(side.take_all(), Ok(image));
        }
    }
}

#[test]
fn a_query_takes_the_place_of_a_buffer() {
    for state in [Precopy, Stopncopy] {
        // Staged before the query was armed: the client has had it.
        let (mut side, image) = saving(state);
        assert_eq!(side.get(Field::DataSize), Ok(100));
        side.set(Field::Total, 64).unwrap();
        assert_eq!(side.get(Field::DataSize), Ok(100));
        assert_eq!(side.window.bytes.borrow()[..], image[..100]);
        assert_eq!(side.get(Field::Copied), Ok(64));
        assert_eq!(side.get(Field::DataSize), Ok(8));
        let left = side.pending();
        assert_eq!(side.take_all().unwrap(), image[100..]);
        assert!(left >= image.len() as u64 - 100);

        // Staged after: it comes again.
        let (mut side, image) = saving(state);
        side.set(Field::Total, 64).unwrap();
        let size = side.get(Field::DataSize).unwrap() as usize;
        assert!(size > 0);
        assert_eq!(side.window.bytes.borrow()[..size], image[..size]);
        let left = side.object.engine().pending(&side.host).total();
        assert_eq!(side.get(Field::Copied), Ok(64));
        assert_eq!(side.pending(), left);
        assert_eq!(side.take_all(), Ok(image.clone()));

        // Armed anew in between: the client has had it.
        let (mut side, image) = saving(state);
        side.set(Field::Total, 64).unwrap();
        let size = side.get(Field::DataSize).unwrap() as usize;
        side.set(Field::Total, 61).unwrap();
        assert_eq!(side.get(Field::Copied), Ok(61));
        side.pending();
        assert_eq!(side.take_all().unwrap(), image[size..]);

        // Nothing is dirty: the query does not write the section, but the section is the query's.
        let (mut side, image) = saving(state);
        ask(&mut side, 0, 64).unwrap();
        side.pending();
        assert_eq!(side.get(Field::DataSize), Ok(100));
        assert_eq!(ask(&mut side, 0, 64), Ok((0, vec![])));
        assert_eq!(side.get(Field::DataSize), Ok(0));
        assert_eq!(side.window.bytes.borrow()[..], image[..100]);
        side.pending();
        assert_eq!(side.take_all().unwrap(), image[100..]);
    }
}

#[test]
fn a_query_that_fails_loses_no_buffer() {
    for state in [Precopy, Stopncopy] {
        for (window, error) in [(Some(0), EFAULT), (Option::None, EIO)] {
            let (mut side, image) = saving(state);
            side.set(Field::Total, 64).unwrap();
            assert!(side.get(Field::DataSize).unwrap() > 0);
            side.window.fail.set(window);
            if window.is_none() {
                side.host.fail(Op::InFlight, EIO);
            }
            assert_eq!(side.get(Field::Copied), Err(error));
            let size = side.get(Field::DataSize).unwrap() as usize;
            assert_eq!(side.window.bytes.borrow()[..size], image[..size]);
            assert_eq!(side.get(Field::Copied), Ok(64));
            side.pending();
            assert_eq!(side.take_all(), Ok(image));
        }
    }
}
