// SPDX-License-Identifier: GPL-2.0-only

//! Estimates: what a client is told is left.

use crate::{common::Fake, image, User, CHUNK, MEMORY};
use kernel::error::code::*;
use migration::{
    protocols::v2::{PrecopyInfo, Readiness},
    state::State,
};

#[test]
fn precopy_info_only_in_the_precopy_states() {
    for state in &State::ALL[1..] {
        let (mut user, session) = User::at(*state, None);
        let session = session.unwrap_or(0);
        match state {
            State::PreCopy | State::PreCopyP2p => {
                assert_ne!(user.info(session).unwrap().initial_bytes, 0);
                assert_eq!(user.info(session + 1), Err(ENODEV));
            }
            _ => assert_eq!(user.info(session), Err(EINVAL), "{state}"),
        }
    }
}

#[test]
fn initial_bytes_go_down_to_nothing_and_dirty_bytes_come_after() {
    for state in [State::PreCopy, State::PreCopyP2p] {
        let (mut user, session) = User::at(state, None);
        let session = session.unwrap();
        let mut before = user.info(session).unwrap();
        let mut left = before.initial_bytes;
        assert_ne!(left, 0);
        while let Ok(bytes) = user.read(session, 10) {
            assert!(!bytes.is_empty(), "no end while the device runs");
            left -= bytes.len() as u64;
            let info = user.info(session).unwrap();
            assert_eq!(info.initial_bytes, left, "exact");
            assert_eq!(info.dirty_bytes, 0);
            before = info;
        }
        assert_eq!(before, PrecopyInfo::default());

        user.engine.device_mut().poke(1, 9);
        let info = user.info(session).unwrap();
        assert_eq!(info.initial_bytes, 0);
        let dirty = info.dirty_bytes;
        assert!(dirty > CHUNK as u64);
        let taken = user.read(session, 10).unwrap().len() as u64;
        assert_eq!(user.info(session).unwrap().dirty_bytes, dirty - taken);
        assert_eq!(user.info(session).unwrap().initial_bytes, 0);
        user.drain(session, 99);
        assert_eq!(user.info(session), Ok(PrecopyInfo::default()));
    }
}

#[test]
fn initial_bytes_that_were_nothing_never_come_back() {
    let (mut user, session) = User::at(State::PreCopy, None);
    let session = session.unwrap();
    while user.info(session).unwrap().initial_bytes != 0 {
        user.read(session, 1000).unwrap();
    }
    // The device changes before the user has met the end.
    user.engine.device_mut().poke(1, 9);
    let info = user.info(session).unwrap();
    assert_eq!(info.initial_bytes, 0);
    assert!(info.dirty_bytes > CHUNK as u64);
}

#[test]
fn initial_bytes_reach_nothing_while_the_guest_keeps_the_device_dirty() {
    for state in [State::PreCopy, State::PreCopyP2p] {
        for count in [7, 10, 99, 1000] {
            let (mut user, session) = User::at(state, None);
            let session = session.unwrap();
            let start = user.info(session).unwrap().initial_bytes;
            assert!(start > MEMORY as u64);
            let mut sent = 0;
            for round in 0..2000usize {
                sent += user.read(session, count).unwrap().len() as u64;
                // All that was sent has to be sent again.
                for chunk in 0..MEMORY.div_ceil(CHUNK) {
                    user.engine.device_mut().poke(chunk * CHUNK, round as u8);
                }
                let info = user.info(session).unwrap();
                assert_eq!(info.initial_bytes, start.saturating_sub(sent), "{state}");
                let left = user.engine.pending(&user.host).precopy_only;
                assert_eq!(info.initial_bytes + info.dirty_bytes, left);
                assert_ne!(left, 0, "there is always more");
            }
        }
    }
}

#[test]
fn while_the_device_is_at_work_there_is_nothing_now() {
    for state in [State::PreCopy, State::PreCopyP2p] {
        for busy_after in 0..4 {
            let (mut user, session) = User::at(state, None);
            let session = session.unwrap();
            // The header, then sections of the memory.
            for _ in 0..busy_after {
                user.agrees(session);
                user.read(session, 1000).unwrap();
            }
            let before = user.agrees(session).0;
            user.engine.device_mut().busy = true;
            let left = user.engine.pending(&user.host);
            assert_eq!(left.precopy_only, before.initial_bytes, "all of it is left");

            // The staged bytes still go; then nothing does, though some are left.
            let taken = user.drain(session, 10).len() as u64;
            assert!(taken < before.initial_bytes);
            let (info, readiness) = user.agrees(session);
            assert_eq!(
                (info, readiness),
                (PrecopyInfo::default(), Readiness::Later)
            );
            let left = user.engine.pending(&user.host);
            assert_eq!(left.precopy_only, before.initial_bytes - taken);
            assert_eq!(left.available, 0);

            // Bytes that could not go no longer count as initial.
            user.engine.device_mut().busy = false;
            let (info, readiness) = user.agrees(session);
            assert_eq!((info.initial_bytes, readiness), (0, Readiness::Now));
            assert_eq!(info.dirty_bytes, before.initial_bytes - taken);
            user.drain(session, 99);
            let (info, readiness) = user.agrees(session);
            assert_eq!(
                (info, readiness),
                (PrecopyInfo::default(), Readiness::Nothing)
            );

            // In STOP_COPY there is an end and no waiting.
            user.set(State::StopCopy).unwrap();
            assert_eq!(user.readiness(session), Readiness::Now);
        }
    }
}

#[test]
fn an_image_begun_while_the_device_is_at_work() {
    let mut user = User::new(Fake::filled(MEMORY, CHUNK));
    user.engine.device_mut().busy = true;
    let session = user.begin(State::PreCopy);
    // Only the header can go, and it counts as initial.
    let (info, readiness) = user.agrees(session);
    assert_eq!((info.initial_bytes, info.dirty_bytes), (64, 0));
    assert_eq!(readiness, Readiness::Now);
    user.drain(session, 99);
    assert_eq!(user.agrees(session).1, Readiness::Later);
    user.set(State::StopCopy).unwrap();
    let rest = user.drain(session, 99);
    assert_eq!(64 + rest.len(), image().len());
}

#[test]
fn initial_bytes_never_go_up() {
    let (mut user, session) = User::at(State::PreCopy, None);
    let session = session.unwrap();
    let mut last = u64::MAX;
    for step in 0..100usize {
        user.engine.device_mut().busy = step % 3 == 1;
        if step % 7 == 0 {
            user.engine.device_mut().poke(step, 1);
        }
        let (info, _) = user.agrees(session);
        assert!(info.initial_bytes <= last);
        last = info.initial_bytes;
        let _ = user.read(session, 11);
    }
    assert_eq!(last, 0);
}

#[test]
fn data_size_is_exact_and_never_nothing() {
    let image = image();
    for state in State::ALL {
        let (mut user, session) = User::at(state, None);
        if !state.is_saving() {
            assert_eq!(user.data_size(), image.len() as u64, "{state}");
            continue;
        }
        let session = session.unwrap();
        let mut left = image.len() as u64;
        loop {
            assert_eq!(user.data_size(), left.max(1), "{state}");
            match user.read(session, 13) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => left -= bytes.len() as u64,
                Err(_) => {
                    user.set(State::StopCopy).unwrap();
                }
            }
        }
        assert_eq!(left, 0);
    }
    // That holds even for a device with nothing in it.
    let mut user = User::new(Fake::new(0, CHUNK));
    assert_ne!(user.data_size(), 0);
    let session = user.begin(State::StopCopy);
    user.drain(session, 999);
    assert_eq!(user.data_size(), 1);
}
