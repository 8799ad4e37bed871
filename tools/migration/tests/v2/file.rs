// SPDX-License-Identifier: GPL-2.0-only

//! Reads and writes of a data file.

use crate::{
    common::{Fake, Op},
    image, User, CHUNK, MEMORY,
};
use kernel::error::code::*;
use migration::{protocols::v2::Found, state::State};

#[test]
fn a_refused_image_is_refused_for_good() {
    let image = image();
    for at in 0..image.len() {
        let mut bad = image.clone();
        bad[at] ^= 1;
        let (mut user, session) = User::at(State::Resuming, None);
        let session = session.unwrap();
        let error = user.write(session, &bad).unwrap_err();
        assert_eq!(user.write(session, &image), Err(error), "byte {at}");
        for to in &State::ALL[1..] {
            let result = user.set(*to);
            assert_eq!(result.is_ok(), *to == State::Resuming, "{to}");
        }
        user.engine.reset(&user.host).unwrap();
        user.is_dead(session);
        let session = user.begin(State::Resuming);
        user.write(session, &image).unwrap();
        user.set(State::Running).unwrap();
        assert_eq!(
            user.engine.device().contents(),
            Fake::filled(MEMORY, CHUNK).contents()
        );
    }
}

#[test]
fn an_interrupted_write_is_no_refusal() {
    let image = image();
    for op in [Op::Load, Op::LoadEnd] {
        for error in [EINTR, ERESTARTSYS] {
            let (mut user, session) = User::at(State::Resuming, None);
            let session = session.unwrap();
            user.host.fail(op, error);
            let mut given = 0;
            let mut interrupted = 0;
            while given < image.len() {
                match user
                    .v2
                    .write(&mut user.engine, &user.host, session, &image[given..])
                {
                    Ok(count) => given += count,
                    Err(found) => {
                        assert_eq!(found, error);
                        interrupted += 1;
                    }
                }
            }
            assert!(interrupted <= 1);
            assert_eq!(user.host.fail.get(), None, "it was interrupted");
            assert_eq!(user.engine.last_refusal(), None);
            user.set(State::Running).unwrap();
            assert_eq!(
                user.engine.device().contents(),
                Fake::filled(MEMORY, CHUNK).contents()
            );
        }
    }
}

#[test]
fn an_incomplete_image_fails_the_arc_out_of_resuming() {
    let image = image();
    for len in 0..image.len() {
        let (mut user, session) = User::at(State::Resuming, Some(&image[..len]));
        for to in [State::Stop, State::Running, State::StopCopy, State::PreCopy] {
            assert_eq!(user.set(to), Err(EINVAL), "{len} bytes");
            assert_eq!(user.engine.state(), State::Resuming);
        }
        // The rest may still come.
        user.write(session.unwrap(), &image[len..]).unwrap();
        user.set(State::Stop).unwrap();
    }
}

#[test]
fn nothing_now_and_the_end() {
    let (mut user, session) = User::at(State::PreCopy, None);
    let session = session.unwrap();
    let mut all = user.drain(session, 50);
    for state in [State::PreCopy, State::PreCopyP2p, State::PreCopy] {
        user.set(state).unwrap();
        for _ in 0..2 {
            assert_eq!(user.read(session, 1), Err(ENOMSG));
            assert!(!user.is_readable(session));
        }
    }
    user.engine.device_mut().poke(3, 1);
    assert!(user.is_readable(session));
    let again = user.drain(session, 50);
    assert!(!again.is_empty() && !user.is_readable(session));
    all.extend(again);

    user.set(State::StopCopy).unwrap();
    assert!(user.is_readable(session));
    all.extend(user.drain(session, 7));
    for _ in 0..3 {
        // The file is always readable, and a read never returns ENOMSG.
        assert_eq!(user.read(session, 1), Ok(Vec::new()));
        assert!(user.is_readable(session));
    }

    let (mut target, file) = User::at(State::Resuming, Some(&all));
    target.set(State::Running).unwrap();
    target.is_dead(file.unwrap());
    assert_eq!(
        target.engine.device().contents(),
        user.engine.device().contents()
    );
}

#[test]
fn bytes_stay_until_they_are_consumed() {
    let (mut user, session) = User::at(State::PreCopy, None);
    let session = session.unwrap();
    let image = image();
    let mut all = Vec::new();
    let mut state = State::PreCopy;
    while all.len() < image.len() {
        let found = user
            .v2
            .stage(&mut user.engine, &user.host, session)
            .unwrap();
        let bytes = match found {
            Found::Bytes(bytes) => bytes.to_vec(),
            Found::NothingNow if state == State::PreCopy => {
                state = State::StopCopy;
                assert_eq!(user.set(state), Ok(None));
                continue;
            }
            other => panic!("{other:?}"),
        };
        // After a copy to user memory failed, the same bytes come again.
        let again = user.v2.stage(&mut user.engine, &user.host, session);
        assert_eq!(again, Ok(Found::Bytes(&bytes)));
        user.v2
            .consume(&mut user.engine, &user.host, session, 0)
            .unwrap();
        let again = user.v2.stage(&mut user.engine, &user.host, session);
        assert_eq!(again, Ok(Found::Bytes(&bytes)));
        user.v2
            .consume(&mut user.engine, &user.host, session, 1)
            .unwrap();
        all.push(bytes[0]);
    }
    assert_eq!(all, image);
}

#[test]
fn the_wrong_direction() {
    let (mut user, session) = User::at(State::Resuming, None);
    let session = session.unwrap();
    assert_eq!(user.read(session, 1), Err(EINVAL));
    for state in [State::PreCopy, State::PreCopyP2p, State::StopCopy] {
        let (mut user, session) = User::at(state, None);
        assert_eq!(user.write(session.unwrap(), &[1]), Err(EINVAL));
        assert!(!user.drain(session.unwrap(), 9).is_empty());
    }
}

#[test]
fn a_failing_save_loses_no_bytes() {
    for at in 0..8 {
        let (mut user, session) = User::at(State::StopCopy, None);
        let session = session.unwrap();
        user.host.fail.set(Some((Op::Save, at, EIO)));
        let mut all = Vec::new();
        loop {
            match user.read(session, 11) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => all.extend(bytes),
                Err(error) => assert_eq!(error, EIO),
            }
        }
        assert_eq!(all, image());
    }
}
