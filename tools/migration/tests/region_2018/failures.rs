// SPDX-License-Identifier: GPL-2.0-only

//! Transitions that fail, a lost device, no memory.

use crate::{
    ask, at,
    common::{Fake, Op, Side},
    image, transfer,
};
use kernel::{alloc, error::code::*};
use migration::protocols::region_2018::{
    layout::Field,
    state::DeviceState::{self, *},
};

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

/// A stop that fails on its way leaves NONE with tracking on; tracking ends with the migration.
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
        // As long as the device does not run, the migration goes on.
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
    // Tracking does not go on in a load, either.
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
    side.object.engine_mut().reset(&side.host).unwrap();
    assert_eq!(side.state(), Running.number());
    side.enter(Setup).unwrap();
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
