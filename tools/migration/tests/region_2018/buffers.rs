// SPDX-License-Identifier: GPL-2.0-only

//! The image in buffers, and when the client is done with one.

use crate::{
    common::{Fake, Op, Side, DATA_OFFSET},
    image, saving,
};
use kernel::error::code::*;
use migration::protocols::region_2018::{layout::Field, state::DeviceState::*};

/// Saves one side and loads another through windows of these sizes.
fn migrate(out: usize, inn: usize, threshold: u64) {
    let mut source = Side::new(Fake::filled(3000, 700), out);
    source.set(Field::ThresholdSize, threshold).unwrap();
    source.enter(Setup).unwrap();
    assert_eq!(source.pending(), 0);
    assert_eq!(source.take(), Ok(vec![]));
    source.enter(Precopy).unwrap();
    let pending = source.get(Field::PrecopyOnly).unwrap();
    let mut image = source.take_all().unwrap();
    assert_eq!(image.len() as u64, pending);

    source.device().poke(2999, 1);
    source.enter(Stopncopy).unwrap();
    let pending = source.pending();
    let rest = source.take_all().unwrap();
    assert_eq!(rest.len() as u64, pending);
    image.extend(rest);
    source.enter(SaveCompleted).unwrap();

    let mut target = Side::new(Fake::new(3000, 700), inn);
    target.enter(Resume).unwrap();
    target.give_all(&image).unwrap();
    target.enter(ResumeCompleted).unwrap();
    target.enter(Running).unwrap();
    assert_eq!(target.device().contents(), source.device().contents());
}

#[test]
fn windows_of_every_size() {
    for out in [1, 7, 64, 1000, 4096, 1 << 20] {
        for inn in [1, 7, 511, 512, 513, 1 << 20] {
            migrate(out, inn, 0);
        }
    }
    for threshold in [1, 100, 1 << 40, u64::MAX] {
        migrate(1000, 1000, threshold);
    }
}

#[test]
fn a_buffer_is_as_large_as_can_be_and_no_larger() {
    let mut side = Side::new(Fake::filled(3000, 700), 1000);
    side.enter(Stopncopy).unwrap();
    assert_eq!(side.get(Field::DataSize), Ok(1000));
    side.pending();
    side.set(Field::ThresholdSize, 77).unwrap();
    assert_eq!(side.get(Field::DataSize), Ok(77));
    // A new threshold applies to the next buffer.
    side.set(Field::ThresholdSize, 5000).unwrap();
    assert_eq!(side.get(Field::DataSize), Ok(77));
    side.pending();
    assert_eq!(side.get(Field::DataSize), Ok(1000));
}

#[test]
fn a_buffer_stays_until_it_is_consumed() {
    let consumers: [fn(&mut Side); 5] = [
        |side| assert!(side.get(Field::PrecopyOnly).is_ok()),
        |side| assert!(side.get(Field::Compatible).is_ok()),
        |side| assert!(side.get(Field::PostcopyOnly).is_ok()),
        |side| side.read(4, &mut [0; 32]).unwrap(),
        |side| side.enter(Precopy).unwrap(),
    ];
    for consume in consumers {
        let mut side = Side::new(Fake::filled(3000, 700), 100);
        side.enter(Setup).unwrap();
        side.enter(Precopy).unwrap();
        assert_eq!(side.get(Field::DataSize), Ok(100));
        let first = side.window.bytes.borrow().clone();
        for _ in 0..3 {
            assert_eq!(side.get(Field::DataOffset), Ok(DATA_OFFSET));
            assert_eq!(side.get(Field::DataSize), Ok(100));
            // None of these accesses consumes the buffer.
            side.state();
            side.set(Field::ThresholdSize, 0).unwrap();
            side.set(Field::StartAddr, 0).unwrap();
            assert_eq!(side.enter(Resume), Err(EINVAL));
            assert_eq!(side.read(1, &mut [0; 4]), Err(EINVAL));
            side.get(Field::Copied).unwrap();
            side.get(Field::Total).unwrap();
            assert_eq!(*side.window.bytes.borrow(), first);
        }
        consume(&mut side);
        assert_eq!(side.get(Field::DataOffset), Ok(DATA_OFFSET));
        assert_eq!(*side.window.bytes.borrow(), first);
        // 64 bytes of header, and the sections of a device of 3000 bytes.
        assert_eq!(side.get(Field::DataSize), Ok(100));
        assert_ne!(*side.window.bytes.borrow(), first);
    }
}

#[test]
fn nothing_now_is_told_again_until_the_client_asks_anew() {
    let mut side = Side::new(Fake::filled(200, 64), 4096);
    side.enter(Setup).unwrap();
    side.enter(Precopy).unwrap();
    side.take_all().unwrap();
    assert_eq!(side.get(Field::DataSize), Ok(0));
    side.device().poke(0, 1);
    assert_eq!(side.get(Field::DataSize), Ok(0));
    assert!(side.get(Field::PrecopyOnly).unwrap() > 0);
    assert!(side.get(Field::DataSize).unwrap() > 0);
}

#[test]
fn errors_while_staging_lose_nothing() {
    let good = image();
    for window in [10, 64, 100, 4096] {
        for skip in 0..8 {
            let mut side = Side::new(Fake::filled(200, 64), window);
            side.enter(Stopncopy).unwrap();
            side.host.fail.set(Some((Op::Save, skip, EINTR)));
            side.window.fail.set(Some(skip));
            let mut taken = Vec::new();
            let mut errors = 0;
            loop {
                match side.take() {
                    Ok(buffer) if buffer.is_empty() => break,
                    Ok(buffer) => taken.extend(buffer),
                    Err(error) => {
                        assert!(matches!(error, EINTR | EFAULT));
                        errors += 1;
                    }
                }
            }
            assert!(errors <= 2);
            assert_eq!(taken, good);
            side.enter(SaveCompleted).unwrap();
        }
    }
}

#[test]
fn what_the_device_is_at_work_on_is_pending_and_goes_later() {
    let mut side = Side::new(Fake::filled(200, 64), 4096);
    side.enter(Setup).unwrap();
    side.enter(Precopy).unwrap();
    let all = side.get(Field::PrecopyOnly).unwrap();
    side.device().busy = true;
    assert_eq!(
        side.get(Field::PrecopyOnly),
        Ok(all),
        "nothing of it has gone"
    );
    let first = side.take().unwrap().len() as u64;
    assert!(first < all);
    assert_eq!(side.take().unwrap(), [0; 0], "nothing now");
    assert_eq!(side.get(Field::PrecopyOnly), Ok(all - first));
    side.device().busy = false;
    assert_eq!(side.take_all().unwrap().len() as u64, all - first);
    assert_eq!(side.get(Field::PrecopyOnly), Ok(0));
}

#[test]
fn a_save_is_complete_with_its_last_buffer() {
    let (mut side, image) = saving(Stopncopy);
    let mut taken = Vec::new();
    loop {
        // A buffer that is staged while a query is armed.
        side.set(Field::Total, 64).unwrap();
        let size = side.get(Field::DataSize).unwrap() as usize;
        taken.extend_from_slice(&side.window.bytes.borrow()[..size]);
        if taken.len() == image.len() {
            break;
        }
        assert_eq!(side.enter(SaveCompleted), Err(EINVAL));
        assert_eq!(side.get(Field::DataSize), Ok(size as u64));
        side.pending();
    }
    assert_eq!(taken, image);
    // A query takes the buffer's place: not all was handed out.
    assert_eq!(side.get(Field::Copied), Ok(64));
    assert_eq!(side.enter(SaveCompleted), Err(EINVAL));
    assert_eq!(side.get(Field::DataSize), Ok(8));
    assert!(side.pending() > 0);
    assert!(side.get(Field::DataSize).unwrap() > 0);
    side.enter(SaveCompleted).unwrap();
    assert_eq!(side.pending(), 0);
}
