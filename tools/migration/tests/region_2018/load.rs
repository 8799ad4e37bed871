// SPDX-License-Identifier: GPL-2.0-only

//! Giving an image to the device.

use crate::{
    at,
    common::{Fake, Op, Side, DATA_OFFSET},
    image,
};
use kernel::error::{code::*, Result};
use migration::{
    image::Reason,
    protocols::{
        region_2018::{layout::Field, state::DeviceState::*},
        window::Progress,
        MigrationRegion,
    },
};

#[test]
fn a_refused_image_leaves_by_giving_up() {
    let mut damaged = image();
    damaged[150] ^= 1;
    for give_up in [Failed, Cancelled] {
        let mut side = Side::new(Fake::new(200, 64), 4096);
        side.enter(Resume).unwrap();
        assert_eq!(side.give_all(&damaged), Err(EINVAL));
        let refusal = side.object.engine().last_refusal().unwrap();
        assert_eq!(refusal.reason, Reason::PayloadChecksum);
        assert_eq!(side.give_all(&image()), Err(EINVAL));
        assert_eq!(side.enter(ResumeCompleted), Err(EINVAL));
        assert_eq!(side.enter(Running), Err(EINVAL));
        side.enter(give_up).unwrap();
        assert_eq!(side.state(), Running.number());
        // And the device works again.
        side.enter(Resume).unwrap();
        side.give_all(&image()).unwrap();
        side.enter(ResumeCompleted).unwrap();
        side.enter(Running).unwrap();
        assert_eq!(side.device().contents(), Fake::filled(200, 64).contents());
    }
}

/// An image of several sections and buffers.
fn long_image() -> Vec<u8> {
    let mut source = Side::new(Fake::filled(2000, 640), 4096);
    source.enter(Stopncopy).unwrap();
    source.take_all().unwrap()
}

/// Writes `data.size`, whole or in halves.
fn commit(side: &mut Side, size: usize, halves: bool) -> Result {
    let bytes = (size as u64).to_le_bytes();
    if halves {
        side.write(Field::DataSize.offset(), &bytes[..4])?;
        return side.write(Field::DataSize.offset() + 4, &bytes[4..]);
    }
    side.write(Field::DataSize.offset(), &bytes)
}

#[test]
fn an_interrupted_buffer_is_given_again_and_goes_on() {
    let image = long_image();
    for halves in [false, true] {
        for skip in 0..9 {
            for interrupt in 0..3 {
                let mut side = Side::new(Fake::new(2000, 640), 4096);
                side.enter(Resume).unwrap();
                side.window.bytes.borrow_mut()[..image.len()].copy_from_slice(&image);
                side.host.called();
                let error = match interrupt {
                    0 => {
                        side.host.fail.set(Some((Op::Load, skip, EINTR)));
                        EINTR
                    }
                    1 => {
                        side.host.fail.set(Some((Op::LoadEnd, 0, ERESTARTSYS)));
                        ERESTARTSYS
                    }
                    _ => {
                        side.window.fail.set(Some(skip));
                        EFAULT
                    }
                };
                // A signal stays until the call returns.
                side.host.again.set(1);
                match commit(&mut side, image.len(), halves) {
                    Ok(()) => {
                        assert!(interrupt != 1 && skip > 4, "nothing was interrupted");
                        continue;
                    }
                    Err(found) => assert_eq!(found, error),
                }
                side.host.fail.set(Option::None);
                side.host.again.set(0);
                assert_eq!(side.get(Field::DataSize), Ok(0));
                assert_eq!(side.object.engine().last_refusal(), Option::None);
                assert_eq!(side.enter(ResumeCompleted), Err(EINVAL));
                let counters = side.object.engine().counters();
                // Until then another buffer is refused, unless nothing was taken of this one.
                if counters.bytes_loaded != 0 {
                    for size in [0, image.len() - 1, image.len() + 1] {
                        assert_eq!(commit(&mut side, size, halves), Err(EINVAL));
                    }
                }
                commit(&mut side, image.len(), halves).unwrap();
                assert_eq!(side.get(Field::DataSize), Ok(image.len() as u64));
                let counters = side.object.engine().counters();
                assert_eq!(counters.bytes_loaded, image.len() as u64);
                let calls = side.host.called();
                assert!(!calls.contains(&Op::Reset));
                side.enter(ResumeCompleted).unwrap();
                side.enter(Running).unwrap();
                assert_eq!(side.device().contents(), Fake::filled(2000, 640).contents());
            }
        }
    }
}

#[test]
fn the_second_half_alone_repeats_an_interrupted_write() {
    let image = long_image();
    let mut side = Side::new(Fake::new(2000, 640), 4096);
    side.enter(Resume).unwrap();
    side.window.bytes.borrow_mut()[..image.len()].copy_from_slice(&image);
    side.host.fail.set(Some((Op::Load, 2, EINTR)));
    assert_eq!(commit(&mut side, image.len(), true), Err(EINTR));
    side.write(Field::DataSize.offset() + 4, &[0; 4]).unwrap();
    side.enter(ResumeCompleted).unwrap();
}

#[test]
fn others_come_between_the_sections_of_a_buffer() {
    let image = long_image();
    let sections = 5;
    let write = |side: &mut Side, image: &[u8]| {
        let size = (image.len() as u64).to_le_bytes();
        side.step(MigrationRegion::Region2018, Field::DataSize.offset(), &size)
    };
    for stop in 1..sections {
        for end in 0..3 {
            let mut side = Side::new(Fake::new(2000, 640), 4096);
            side.enter(Resume).unwrap();
            side.window.bytes.borrow_mut()[..image.len()].copy_from_slice(&image);
            for _ in 0..stop {
                side.host.called();
                assert_eq!(write(&mut side, &image), Ok(Progress::More));
                assert_eq!(side.host.called(), [Op::Load], "one at a time");
                // An access in between sees a load under way.
                assert_eq!(side.state(), Resume.number());
                assert_eq!(side.get(Field::DataSize), Ok(0));
            }
            match end {
                0 => {
                    side.object.engine_mut().reset(&side.host).unwrap();
                    assert_eq!(write(&mut side, &image), Err(EINVAL));
                }
                1 => {
                    // Another client begins a load of its own, which begins at the beginning.
                    side.enter(Cancelled).unwrap();
                    side.enter(Resume).unwrap();
                    side.give_all(&image).unwrap();
                    side.enter(ResumeCompleted).unwrap();
                }
                _ => {
                    while write(&mut side, &image).unwrap() == Progress::More {}
                    side.enter(ResumeCompleted).unwrap();
                }
            }
        }
    }
}

#[test]
fn data_is_set_while_resuming_only_and_within_the_section() {
    for state in [
        None,
        Running,
        Setup,
        Precopy,
        Stopncopy,
        SaveCompleted,
        ResumeCompleted,
    ] {
        let mut side = at(state);
        assert_eq!(side.set(Field::DataOffset, DATA_OFFSET), Err(EINVAL));
        assert_eq!(side.set(Field::DataSize, 0), Err(EINVAL));
    }
    let mut side = Side::new(Fake::new(200, 64), 4096);
    side.enter(Resume).unwrap();
    assert_eq!(side.get(Field::DataOffset), Ok(DATA_OFFSET));
    assert_eq!(side.get(Field::DataSize), Ok(0));
    for offset in [0, 1, DATA_OFFSET - 1, DATA_OFFSET + 1, u64::MAX] {
        assert_eq!(side.set(Field::DataOffset, offset), Err(EINVAL));
    }
    for size in [4097, 1 << 32, u64::MAX] {
        assert_eq!(side.set(Field::DataSize, size), Err(EINVAL));
    }
    side.set(Field::DataSize, 0).unwrap();
    assert_eq!(side.host.called().last(), Some(&Op::LoadBegin));
    side.give(&image()[..20]).unwrap();
    assert_eq!(side.get(Field::DataSize), Ok(20));
    // Both fields in one access: the bytes are taken once.
    let image = image();
    side.window.bytes.borrow_mut()[..image.len() - 20].copy_from_slice(&image[20..]);
    let mut both = DATA_OFFSET.to_le_bytes().to_vec();
    both.extend((image.len() as u64 - 20).to_le_bytes());
    side.write(Field::DataOffset.offset(), &both).unwrap();
    side.enter(ResumeCompleted).unwrap();
}
