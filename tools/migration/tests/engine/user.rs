// SPDX-License-Identifier: GPL-2.0-only

//! A user comes and goes, the device is reset, memory is short.

use crate::{
    common::{write_all, Fake, Op},
    engine, image, read_all, V2,
};
use kernel::{alloc, error::code::*};
use migration::state::State;

#[test]
fn close_ends_every_session_even_where_the_reset_fails() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine(Fake::filled(100, 30));
        engine.set_state(&host, V2, *state).unwrap();
        engine.dirty_start(&host, V2).unwrap();
        host.fail(Op::Reset, EIO);
        assert_eq!(engine.close(&host), Err(EIO));
        assert_eq!((engine.state(), engine.session()), (State::Error, None));
        assert_eq!(engine.owner(), None);
        assert!(engine.log().table().is_err());
        assert_eq!(engine.stage(&host).err(), Some(EINVAL));
        assert_eq!(write_all(&mut engine, &host, &[0]), Err(EINVAL));
        engine.open(&host).unwrap();
        assert_eq!(engine.state(), State::Running);
    }
}

#[test]
fn a_reset_by_others_that_fails_ends_every_session() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine(Fake::filled(100, 30));
        engine.set_state(&host, V2, *state).unwrap();
        engine.dirty_start(&host, V2).unwrap();
        host.fail(Op::Reset, ENOMEM);
        assert_eq!(engine.reset_by_others(&host), Err(ENOMEM));
        assert_eq!((engine.state(), engine.session()), (State::Error, None));
        assert!(engine.log().table().is_err());
        assert_eq!(engine.stage(&host).err(), Some(EINVAL));
        engine.reset(&host).unwrap();
        assert_eq!(engine.state(), State::Running);
    }
}

#[test]
fn reset_leaves_every_state_and_a_failed_one_changes_nothing() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine(Fake::filled(100, 30));
        engine.set_state(&host, V2, *state).unwrap();
        engine.dirty_start(&host, V2).unwrap();
        let epoch = engine.epoch();
        host.fail(Op::Reset, EIO);
        assert_eq!(engine.reset(&host), Err(EIO));
        assert_eq!((engine.state(), engine.epoch()), (*state, epoch));
        engine.reset(&host).unwrap();
        assert_eq!(
            (engine.state(), engine.epoch()),
            (State::Running, epoch + 1)
        );
        assert_eq!(engine.owner(), None);
        assert!(engine.log().table().is_err());
        assert_eq!(engine.device().contents(), Fake::new(100, 30).contents());
    }
}

#[test]
fn allocation_failures_leave_a_sane_state() {
    let good = image(200, 64);
    for successes in 0..8 {
        let (mut source, host) = engine(Fake::filled(200, 64));
        alloc::fail_after(successes);
        let mut bytes = Vec::new();
        for state in [State::PreCopy, State::StopCopy] {
            if source.set_state(&host, V2, state).is_err() {
                assert_eq!(source.state(), State::Running);
                assert_eq!(source.owner(), None);
                source.set_state(&host, V2, state).unwrap();
            }
            bytes.extend(read_all(&mut source, &host, 50).unwrap());
        }
        alloc::succeed();
        assert_eq!(bytes, good);

        let (mut target, there) = engine(Fake::new(200, 64));
        alloc::fail_after(successes);
        if target.set_state(&there, V2, State::Resuming).is_err() {
            // The device was not reset in vain.
            assert_eq!(target.state(), State::Stop);
            assert_eq!(there.called(), [Op::Quiesce]);
            target.set_state(&there, V2, State::Resuming).unwrap();
        }
        write_all(&mut target, &there, &bytes).unwrap();
        alloc::succeed();
        target.set_state(&there, V2, State::Running).unwrap();
        assert_eq!(target.device().contents(), source.device().contents());
    }
}

#[test]
fn an_open_device_migrates_without_more_memory() {
    let good = image(200, 64);
    let (mut engine, host) = engine(Fake::new(200, 64));
    alloc::fail_from(0);
    assert_eq!(engine.open(&host), Err(ENOMEM));
    alloc::succeed();
    host.fail(Op::Reset, EIO);
    assert_eq!(engine.open(&host), Err(EIO));
    engine.open(&host).unwrap();

    alloc::fail_from(0);
    for end in 0..4 {
        engine.set_state(&host, V2, State::Resuming).unwrap();
        if end == 0 {
            // Refused: the reset below drops it.
            write_all(&mut engine, &host, &[0; 16]).unwrap_err();
        } else {
            write_all(&mut engine, &host, &good).unwrap();
            engine.set_state(&host, V2, State::Running).unwrap();
        }
        if end < 2 {
            engine.reset(&host).unwrap();
        } else {
            engine.set_state(&host, V2, State::PreCopy).unwrap();
            let mut bytes = read_all(&mut engine, &host, 50).unwrap();
            engine.set_state(&host, V2, State::StopCopy).unwrap();
            bytes.extend(read_all(&mut engine, &host, 50).unwrap());
            assert_eq!(bytes, good);
            engine.set_state(&host, V2, State::Stop).unwrap();
        }
    }

    // The memory goes with the user.
    engine.close(&host).unwrap();
    assert_eq!(engine.set_state(&host, V2, State::PreCopy), Err(ENOMEM));
    alloc::succeed();
    engine.set_state(&host, V2, State::PreCopy).unwrap();
}
