// SPDX-License-Identifier: GPL-2.0-only

//! The migration region of November 2018: states, actions, and what a client may not do.

mod common;

use common::{register, Fake, Op, Side, DATA_OFFSET, DMA};
use kernel::{
    alloc,
    error::{code::*, Result},
};
use migration::{
    engine::Protocol,
    image::Reason,
    iova::PAGE_SIZE,
    protocols::{
        region_2018::{
            layout::Field,
            state::DeviceState::{self, *},
        },
        window::Progress,
        MigrationRegion,
    },
    state::State,
};

/// Which state may be written in which, and what is read back.
///
/// Rows are the current state, columns the written one. `.` is `EINVAL`, a digit the state that is
/// read back. The image is handed out (5) or taken (7) as a whole before.
const PAIRS: [&str; 8] = [
    // 0123456789
    "01..4.6.11", // NONE
    "012.4.6.11", // RUNNING
    ".1234...11", // SETUP
    ".1.34...11", // PRECOPY
    ".1..45..11", // STOPNCOPY
    ".1...5..11", // SAVE_COMPLETED
    "......6711", // RESUME
    ".1.....711", // RESUME_COMPLETED
];

fn image() -> Vec<u8> {
    let mut source = Side::new(Fake::filled(200, 64), 4096);
    source.enter(Stopncopy).unwrap();
    source.take_all().unwrap()
}

/// Brings a fresh side to a state, with the image handed out or taken as a whole.
fn at(state: DeviceState) -> Side {
    let mut side = Side::new(Fake::filled(200, 64), 4096);
    match state {
        None | Running | Setup => side.enter(state).unwrap(),
        Precopy => {
            side.enter(Setup).unwrap();
            side.enter(Precopy).unwrap();
        }
        Stopncopy | SaveCompleted => {
            side.enter(Setup).unwrap();
            side.enter(Stopncopy).unwrap();
            side.take_all().unwrap();
        }
        Resume | ResumeCompleted => {
            side.enter(Resume).unwrap();
            side.give_all(&image()).unwrap();
        }
        Failed | Cancelled => unreachable!(),
    }
    if matches!(state, SaveCompleted | ResumeCompleted) {
        side.enter(state).unwrap();
    }
    assert_eq!(side.state(), state.number());
    side
}

#[test]
fn all_pairs_of_states() {
    for (from, row) in DeviceState::ALL.into_iter().zip(PAIRS) {
        for (to, expected) in DeviceState::ALL.into_iter().zip(row.chars()) {
            let mut side = at(from);
            let before = (side.object.engine().state(), side.object.engine().owner());
            side.host.called();
            let result = side.enter(to);
            let Some(expected) = expected.to_digit(10) else {
                assert_eq!(result, Err(EINVAL), "{from:?} -> {to:?}");
                assert_eq!(side.state(), from.number());
                let after = (side.object.engine().state(), side.object.engine().owner());
                assert_eq!(before, after);
                assert!(side.host.called().is_empty(), "{from:?} -> {to:?}");
                continue;
            };
            assert_eq!(result, Ok(()), "{from:?} -> {to:?}");
            assert_eq!(side.state(), expected, "{from:?} -> {to:?}");
            if from == to {
                assert!(side.host.called().is_empty(), "{from:?} again");
            }

            let state = side.object.engine().state();
            let running = matches!(state, State::Running | State::PreCopy);
            assert_eq!(side.device().running, running);
            let owned = (expected != 1).then_some(Protocol::Region2018);
            assert_eq!(side.object.engine().owner(), owned);
            if expected == 1 {
                assert!(!side.object.engine().log().is_tracking());
            }
            // A target that gives up has a fresh device, any other keeps what it has.
            let fresh = from != to && to == Resume
                || matches!((from, to), (Resume | ResumeCompleted, Failed | Cancelled));
            let contents = if fresh {
                Fake::new(200, 64)
            } else {
                Fake::filled(200, 64)
            };
            assert_eq!(
                side.device().contents(),
                contents.contents(),
                "{from:?} -> {to:?}"
            );
        }
        for number in [10, 11, 255, u32::MAX] {
            let mut side = at(from);
            assert_eq!(side.set(Field::DeviceState, number.into()), Err(EINVAL));
            assert_eq!(side.state(), from.number());
        }
    }
}

#[test]
fn completed_means_complete() {
    let mut side = Side::new(Fake::filled(200, 64), 100);
    side.enter(Stopncopy).unwrap();
    let total = side.pending();
    let mut taken = 0;
    while taken < total {
        assert_eq!(side.enter(SaveCompleted), Err(EINVAL));
        assert_eq!(side.state(), Stopncopy.number());
        taken += side.take().unwrap().len() as u64;
    }
    assert_eq!(side.pending(), 0);
    side.enter(SaveCompleted).unwrap();

    let image = image();
    let mut side = Side::new(Fake::new(200, 64), 4096);
    side.enter(Resume).unwrap();
    for byte in &image {
        assert_eq!(side.enter(ResumeCompleted), Err(EINVAL));
        side.give(&[*byte]).unwrap();
    }
    side.enter(ResumeCompleted).unwrap();
    assert_eq!(side.give(&[0]), Err(EINVAL));
    side.enter(Running).unwrap();
    assert_eq!(side.device().contents(), Fake::filled(200, 64).contents());
}

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
    // A new threshold is for the next buffer.
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
            // Nothing of these consumes it.
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
                // Until then no other buffer comes, unless nothing was taken of this one.
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
                // Who looks meanwhile sees a load that goes on.
                assert_eq!(side.state(), Resume.number());
                assert_eq!(side.get(Field::DataSize), Ok(0));
            }
            match end {
                0 => {
                    side.object.reset(&side.host).unwrap();
                    assert_eq!(write(&mut side, &image), Err(EINVAL));
                }
                1 => {
                    // Another one begins a load of its own: that one begins at the beginning.
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

#[test]
fn failed_transitions_leave_a_state_that_goes_on() {
    for (from, to, op, seen) in [
        (Running, None, Op::Quiesce, Running),
        (Running, Stopncopy, Op::Quiesce, Running),
        (Running, Stopncopy, Op::SaveBegin, None),
        (Setup, Precopy, Op::SaveBegin, Setup),
        (Setup, Stopncopy, Op::Quiesce, Setup),
        (Precopy, Stopncopy, Op::Quiesce, Precopy),
        (Stopncopy, Running, Op::Resume, None),
        (Stopncopy, Failed, Op::Resume, None),
        (SaveCompleted, Running, Op::Resume, SaveCompleted),
        (None, Running, Op::Resume, None),
        (Running, Resume, Op::Reset, None),
        (None, Resume, Op::LoadBegin, None),
        (Resume, Failed, Op::Reset, Resume),
        (ResumeCompleted, Running, Op::Resume, ResumeCompleted),
        (ResumeCompleted, Cancelled, Op::Reset, ResumeCompleted),
        (Running, Setup, Op::InFlight, Running),
    ] {
        let mut side = at(from);
        side.host.fail(op, ETIMEDOUT);
        assert_eq!(side.enter(to), Err(ETIMEDOUT), "{from:?} -> {to:?}");
        assert_eq!(side.state(), seen.number(), "{from:?} -> {to:?}");
        let owned = side.object.engine().owner().is_some();
        assert_eq!(owned, seen != Running, "{from:?} -> {to:?}");
        // From where it is now, the way that the table shows works.
        side.enter(to).unwrap();
    }
}

/// A stop that fails on its way leaves NONE with tracking on; that ends with the migration.
#[test]
fn giving_up_after_a_failed_stop_ends_tracking() {
    for give_up in [Failed, Cancelled, Running] {
        let mut side = Side::new(Fake::filled(200, 64), 4096);
        side.enter(Setup).unwrap();
        side.host.fail(Op::SaveBegin, EIO);
        assert_eq!(side.enter(Stopncopy), Err(EIO));
        assert_eq!(side.state(), None.number());
        side.set(Field::Total, 8).unwrap();
        assert_eq!(side.enter(Setup), Err(EINVAL));
        // A device that does not run yet is still in the migration.
        side.host.fail(Op::Resume, EIO);
        assert_eq!(side.enter(give_up), Err(EIO));
        assert_eq!(side.state(), None.number());
        side.enter(give_up).unwrap();
        assert_eq!(side.state(), Running.number());
        assert_eq!(side.object.engine().dirty_tracker(), Option::None);
        assert_eq!(side.set(Field::Total, 8), Err(EINVAL));
        assert_eq!(side.device().contents(), Fake::filled(200, 64).contents());
        side.enter(Setup).unwrap();
    }
    // Nor does it go on in a load.
    let mut side = Side::new(Fake::filled(200, 64), 4096);
    side.enter(Setup).unwrap();
    side.host.fail(Op::SaveBegin, EIO);
    assert_eq!(side.enter(Stopncopy), Err(EIO));
    side.set(Field::Total, 8).unwrap();
    side.enter(Resume).unwrap();
    assert_eq!(side.object.engine().dirty_tracker(), Option::None);
    assert_eq!(side.get(Field::Copied), Ok(0));
    assert_eq!(side.set(Field::Total, 8), Err(EINVAL));
}

#[test]
fn a_lost_device_reads_as_an_error_until_it_is_reset() {
    let mut side = at(Precopy);
    side.host.fail(Op::Quiesce, EIO);
    side.host.lose.set(true);
    assert_eq!(side.enter(Stopncopy), Err(EIO));
    assert_eq!(side.get(Field::DeviceState), Err(EIO));
    assert_eq!(side.get(Field::DataSize), Ok(0));
    assert_eq!(side.pending(), 0);
    for state in DeviceState::ALL {
        assert_eq!(side.enter(state), Err(EIO));
    }
    side.host.lose.set(false);
    side.object.reset(&side.host).unwrap();
    assert_eq!(side.state(), Running.number());
    side.enter(Setup).unwrap();
}

#[test]
fn a_reset_behind_its_back_starts_afresh() {
    for state in [
        None,
        Setup,
        Precopy,
        Stopncopy,
        SaveCompleted,
        Resume,
        ResumeCompleted,
    ] {
        let resets: [fn(&mut Side) -> Result; 3] = [
            |side| side.object.reset(&side.host),
            |side| side.object.open(&side.host),
            |side| side.object.close(&side.host),
        ];
        for reset in resets {
            let mut side = at(state);
            side.set(Field::ThresholdSize, 9).unwrap();
            side.set(Field::StartAddr, 0x5000).unwrap();
            reset(&mut side).unwrap();
            let mut header = [0xff; 76];
            side.read(0, &mut header).unwrap();
            let mut expected = [0; 76];
            expected[0] = 1;
            expected[36..44].copy_from_slice(&DATA_OFFSET.to_le_bytes());
            assert_eq!(header, expected, "{state:?}");
            assert_eq!(side.device().contents(), Fake::new(200, 64).contents());
        }
    }
}

#[test]
fn another_protocol_owns_the_device() {
    for (state, seen) in [
        (State::PreCopy, Running),
        (State::Stop, None),
        (State::StopCopy, None),
        (State::Resuming, None),
    ] {
        let mut side = Side::new(Fake::filled(200, 64), 100);
        let engine = side.object.engine_mut();
        engine.set_state(&side.host, Protocol::V2, state).unwrap();
        side.host.called();
        let mut header = [0; 76];
        side.read(0, &mut header).unwrap();
        assert_eq!(u32::from(header[0]), seen.number());
        assert_eq!(header[4..36], [0; 32]);
        assert_eq!(header[44..], [0; 32]);
        for to in DeviceState::ALL {
            assert_eq!(side.enter(to), Err(EBUSY));
        }
        for field in Field::ALL {
            let expected = if field.is_writable() { EBUSY } else { EINVAL };
            if field.width() == 8 {
                assert_eq!(side.set(field, 4096), Err(expected), "{field:?}");
                let half = side.write(field.offset(), &[0; 4]);
                assert_eq!(half, Err(expected), "{field:?}");
                assert_eq!(side.write(field.offset() + 4, &[0; 4]), Err(EINVAL));
            }
        }
        assert!(side.host.called().is_empty());
        let mut after = [0; 76];
        side.read(0, &mut after).unwrap();
        assert_eq!(header, after);

        side.object.engine_mut().reset(&side.host).unwrap();
        side.enter(Setup).unwrap();
        let other = side
            .object
            .engine_mut()
            .set_state(&side.host, Protocol::V2, state);
        assert_eq!(other, Err(EBUSY));
    }
}

#[test]
fn another_protocols_tracking_is_left_alone() {
    let mut side = Side::new(Fake::filled(200, 64), 100);
    let engine = side.object.engine_mut();
    engine.dirty_start(&side.host, Protocol::V2).unwrap();
    assert_eq!(side.enter(Setup), Err(EBUSY));
    assert_eq!(side.state(), Running.number());
    assert_eq!(side.set(Field::Total, 1), Err(EINVAL));
    side.enter(Running).unwrap();
    side.enter(None).unwrap();
    side.enter(Running).unwrap();
    let tracker = side.object.engine().dirty_tracker();
    assert_eq!(tracker, Some(Protocol::V2));
}

/// Asks for a range from page `first` on; returns the pages covered and the dirty ones.
fn ask(side: &mut Side, first: u64, total: u64) -> Result<(u64, Vec<u64>)> {
    side.set(Field::StartAddr, first * PAGE_SIZE)?;
    side.set(Field::Total, total)?;
    let copied = side.get(Field::Copied)?;
    assert_eq!(side.get(Field::Copied), Ok(copied));
    let bitmap = side.window.bytes.borrow().clone();
    let bits = copied.div_ceil(8) * 8;
    let dirty = (0..bits).filter(|bit| (bitmap[*bit as usize / 8] >> (bit % 8)) & 1 != 0);
    Ok((copied, dirty.map(|bit| first + bit).collect()))
}

fn transfer(side: &mut Side, page: u64) {
    let host = &side.host;
    side.object
        .write_register(host, register(DMA), page)
        .unwrap();
}

#[test]
fn dirty_pages_through_a_small_window() {
    // 2 bytes hold 16 pages.
    let mut side = Side::new(Fake::new(200, 64), 2);
    transfer(&mut side, 5);
    side.enter(Setup).unwrap();
    // In flight when tracking began.
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
    // A start written later is for the next query.
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

/// A side in one of the saving states, some pages of which are dirty, and what is left of its image.
fn saving(state: DeviceState) -> (Side, Vec<u8>) {
    let make = || {
        let mut side = Side::new(Fake::filled(300, 64), 100);
        side.enter(Setup).unwrap();
        transfer(&mut side, 3);
        transfer(&mut side, 40);
        side.object.engine_mut().device_mut().land(&side.host);
        side.object.engine_mut().device_mut().land(&side.host);
        side.enter(state).unwrap();
        side
    };
    let image = make().take_all().unwrap();
    (make(), image)
}

/// The design's later clients read `copied`, then `data.offset`, then the bitmap.
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
            // The access that runs the query tells of the bitmap, too.
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

        // Nothing is dirty: the section is not written, and still it is the query's.
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
    // A query takes its place: not all was handed out.
    assert_eq!(side.get(Field::Copied), Ok(64));
    assert_eq!(side.enter(SaveCompleted), Err(EINVAL));
    assert_eq!(side.get(Field::DataSize), Ok(8));
    assert!(side.pending() > 0);
    assert!(side.get(Field::DataSize).unwrap() > 0);
    side.enter(SaveCompleted).unwrap();
    assert_eq!(side.pending(), 0);
}

#[test]
fn no_memory_at_any_place() {
    let good = image();
    for successes in 0..10 {
        let mut source = Side::new(Fake::filled(200, 64), 100);
        alloc::fail_after(successes);
        let mut image = Vec::new();
        source.enter(Setup).unwrap();
        transfer(&mut source, 7);
        for state in [Precopy, Stopncopy] {
            let before = source.state();
            if let Err(error) = source.enter(state) {
                assert_eq!(error, ENOMEM);
                assert_eq!(source.state(), before);
                source.enter(state).unwrap();
            }
            image.extend(source.take_all().unwrap());
        }
        let (copied, dirty) = ask(&mut source, 0, 10).unwrap();
        assert_eq!(copied, 10);
        assert!(dirty.contains(&7));
        alloc::succeed();
        assert_eq!(image, good);
        source.enter(SaveCompleted).unwrap();

        let mut target = Side::new(Fake::new(200, 64), 100);
        alloc::fail_after(successes);
        if let Err(error) = target.enter(Resume) {
            assert_eq!(error, ENOMEM);
            assert_eq!(target.state(), None.number());
            target.enter(Resume).unwrap();
        }
        target.give_all(&image).unwrap();
        target.enter(ResumeCompleted).unwrap();
        alloc::succeed();
        target.enter(Running).unwrap();
        assert_eq!(target.device().contents(), source.device().contents());
    }
}
