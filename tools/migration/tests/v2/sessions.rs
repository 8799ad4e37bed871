// SPDX-License-Identifier: GPL-2.0-only

//! Which calls begin a session, and which end it.

use crate::{
    common::{Fake, Op, OPS},
    image, User, CHUNK, MEMORY,
};
use kernel::error::code::*;
use migration::state::{next, State};

/// Whether the way from one state to another has one of the four arcs that begin a session.
fn begins(from: State, to: State) -> bool {
    let mut at = from;
    let mut found = false;
    while at != to {
        let Ok(then) = next(at, to) else { return false };
        found |= matches!(
            (at, then),
            (State::Running, State::PreCopy)
                | (State::RunningP2p, State::PreCopyP2p)
                | (State::Stop, State::StopCopy | State::Resuming)
        );
        at = then;
    }
    found
}

#[test]
fn which_of_all_pairs_begin_a_session() {
    let image = image();
    for from in State::ALL {
        for to in State::ALL {
            for complete in [false, true] {
                let (mut user, before) = User::at(from, complete.then_some(&*image));
                assert_eq!(user.engine.state(), from);
                assert_eq!(user.engine.session(), before, "{from} -> {to}");
                let promised = user.engine.session_of(to);
                let result = user.set(to);
                let session = user.engine.session();
                let blocked = from == State::Resuming && to != from && !complete;
                if next(from, to).is_err() || blocked {
                    assert_eq!(result, Err(EINVAL), "{from} -> {to}");
                    assert_eq!((user.engine.state(), session), (from, before));
                    if let Some(promised) = promised {
                        user.is_dead(promised);
                    }
                    continue;
                }
                assert_eq!(result, Ok(promised), "{from} -> {to}");
                assert_eq!(promised.is_some(), begins(from, to), "{from} -> {to}");
                let saving = [State::PreCopy, State::PreCopyP2p, State::StopCopy];
                match promised {
                    Some(_) => assert_eq!(session, promised),
                    None if from == to => assert_eq!(session, before),
                    None if saving.contains(&from) && saving.contains(&to) => {
                        assert_eq!(session, before, "the saving group shares a session");
                    }
                    None => assert_eq!(session, None, "{from} -> {to}"),
                }
                if let Some(before) = before.filter(|before| session != Some(*before)) {
                    user.is_dead(before);
                }
            }
        }
    }
}

#[test]
fn a_transition_that_fails_begins_no_session() {
    let image = image();
    for lose in [false, true] {
        for op in OPS {
            for skip in 0..3 {
                for from in &State::ALL[1..] {
                    for to in &State::ALL[1..] {
                        let (mut user, before) = User::at(*from, Some(&image));
                        let promised = user.engine.session_of(*to);
                        user.host.lose.set(lose);
                        user.host.fail.set(Some((op, skip, EIO)));
                        let what = format!("{op:?} {skip} {from} -> {to}");
                        if user.set(*to).is_ok() {
                            assert_eq!(user.engine.state(), *to, "{what}");
                            continue;
                        }
                        user.host.fail.set(None);
                        if let Some(promised) = promised {
                            user.is_dead(promised);
                        }
                        // The session before goes on only if the device stayed in its states.
                        let state = user.engine.state();
                        let kept = before.filter(|_| user.engine.session() == before);
                        if let Some(before) = before.filter(|_| kept.is_none()) {
                            user.is_dead(before);
                            assert!(!state.is_saving() && state != State::Resuming, "{what}");
                        }
                        // A dead session never gets bytes of the next one.
                        if user.engine.state() == State::Error {
                            user.host.lose.set(false);
                            user.engine.device_mut().lost = false;
                        }
                        user.engine.reset(&user.host).unwrap();
                        let after = user.begin(State::PreCopy);
                        if let Some(before) = before {
                            assert_ne!(before, after);
                            user.is_dead(before);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_session_has_a_number_of_its_own() {
    let image = image();
    let mut user = User::new(Fake::filled(MEMORY, CHUNK));
    let mut dead = Vec::new();
    for state in [
        State::PreCopy,
        State::StopCopy,
        State::Resuming,
        State::PreCopyP2p,
    ]
    .repeat(3)
    {
        let session = user.begin(state);
        assert!(!dead.contains(&session));
        for other in dead.iter().copied() {
            user.is_dead(other);
        }
        if state == State::Resuming {
            user.write(session, &image).unwrap();
        }
        user.set(State::Running).unwrap();
        user.is_dead(session);
        dead.push(session);
    }
}

#[test]
fn reset_open_and_a_lost_device_end_a_session() {
    for state in [
        State::PreCopy,
        State::PreCopyP2p,
        State::StopCopy,
        State::Resuming,
    ] {
        for how in 0..3 {
            let (mut user, session) = User::at(state, None);
            match how {
                0 => user.engine.reset(&user.host).unwrap(),
                1 => user.engine.open(&user.host).unwrap(),
                _ => {
                    user.host.lose.set(true);
                    user.host.fail(Op::Reset, EIO);
                    assert_eq!(user.engine.reset(&user.host), Err(EIO));
                    assert_eq!(user.engine.state(), State::Error);
                }
            }
            user.is_dead(session.unwrap());
            if how != 2 {
                assert_eq!(user.engine.state(), State::Running);
            }
        }
    }
}
