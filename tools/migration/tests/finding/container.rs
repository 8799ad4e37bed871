// SPDX-License-Identifier: GPL-2.0-only

//! A client that asks the container.

use std::collections::BTreeSet;

use crate::{
    device::{Op, Ring},
    engine, post, write, Host, SPACE, V2,
};
use kernel::{
    alloc,
    error::{code::*, Error},
};
use migration::{
    engine::{Engine, Protocol},
    state::State,
};
use proptest::prelude::*;

/// A device in pre-copy whose container counts pages.
fn counting() -> (Engine<Ring>, Host) {
    let (mut engine, host) = engine();
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    write(&mut engine, &host, &[0]);
    engine.tell_container(&host);
    assert_eq!(host.query(SPACE), BTreeSet::from([0]));
    (engine, host)
}

#[test]
fn all_memory_is_dirty_until_a_pre_copy() {
    let (mut engine, host) = engine();
    for target in [State::Stop, State::StopCopy, State::Running] {
        write(&mut engine, &host, &[1]);
        engine.tell_container(&host);
        engine.set_state(&host, V2, target).unwrap();
        assert!(!engine.may_tell());
        assert_eq!(host.query(SPACE).len() as u64, SPACE);
        engine.set_state(&host, V2, State::Running).unwrap();
    }
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    assert!(engine.may_tell());
    // It is told from now until the device is closed, whoever asks next.
    engine.set_state(&host, V2, State::Running).unwrap();
    write(&mut engine, &host, &[2]);
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(host.query(SPACE), BTreeSet::from([2]));
    engine.reset(&host).unwrap();
    post(&mut engine, &host, 3);
    engine.set_state(&host, V2, State::Stop).unwrap();
    assert_eq!(host.query(SPACE), BTreeSet::from([3]));
    engine.close(&host).unwrap();
    assert!(!engine.may_tell());
    assert!(!engine.device().tracks);
}

#[test]
fn a_client_with_a_log_does_not_ask_the_container() {
    let (mut engine, host) = engine();
    engine.dirty_start(&host, V2).unwrap();
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    assert!(!engine.may_tell());
    engine.set_state(&host, V2, State::Running).unwrap();
    engine.dirty_stop(&host, V2);
    // A device of an iommufd has no container.
    host.has_container.set(false);
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    assert!(!engine.may_tell());
}

#[test]
fn pages_are_told_in_batches() {
    let (mut engine, host) = counting();
    let before = host.calls.get();
    for round in 0..200 {
        write(&mut engine, &host, &[round % 32, 33 + round % 31]);
        if host.calls.get() == before {
            assert!(host.told.borrow().is_empty());
        }
    }
    assert_eq!(host.calls.get(), before);
    for _ in 0..200 {
        write(&mut engine, &host, &[1, 2]);
    }
    // 512 marks came together; the pages are two runs.
    assert_eq!(host.calls.get(), before + 2);
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(host.query(SPACE).len() as u64, SPACE - 1);
}

#[test]
fn what_cannot_be_told_now_is_told_later() {
    let (mut engine, host) = counting();
    host.is_unmapping.set(true);
    for _ in 0..600 {
        write(&mut engine, &host, &[3, 5]);
        engine.tell_container(&host);
    }
    assert_eq!(engine.status().counters.last_error, Some(EBUSY));
    // A stop waits, and does not succeed without.
    let stop = |engine: &mut Engine<Ring>| engine.set_state(&host, V2, State::StopCopy);
    assert_eq!(stop(&mut engine), Err(ETIMEDOUT));
    assert_eq!(engine.state(), State::PreCopy);
    assert!(engine.device().running);
    host.is_unmapping.set(false);
    host.fail.set(Some((Op::Tell, ENOMEM)));
    assert_eq!(stop(&mut engine), Err(ENOMEM));
    assert_eq!(stop(&mut engine), Ok(()));
    assert_eq!(host.query(SPACE), BTreeSet::from([3, 5]));
}

#[test]
fn pages_that_nobody_knows_fail_the_save() {
    let short = |engine: &mut Engine<Ring>, host: &Host| {
        alloc::fail_after(0);
        write(
            engine,
            host,
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
        );
        alloc::succeed();
    };
    let reset = |engine: &mut Engine<Ring>, host: &Host| {
        write(engine, host, &[1]);
        host.fail.set(Some((Op::Find, EIO)));
        engine.reset(host).unwrap();
    };
    for lose in [short, reset] {
        let (mut engine, host) = counting();
        lose(&mut engine, &host);
        // The guest can be paused, but not saved.
        engine.set_state(&host, V2, State::Stop).unwrap();
        let saved = engine.set_state(&host, V2, State::StopCopy);
        assert_eq!(saved, Err(EIO));
        engine.set_state(&host, V2, State::Running).unwrap();
        // A client with a log may, and so may another pre-copy, which copies everything.
        engine.dirty_start(&host, Protocol::V2).unwrap();
        engine.set_state(&host, V2, State::StopCopy).unwrap();
        engine.set_state(&host, V2, State::Running).unwrap();
        engine.dirty_stop(&host, Protocol::V2);
        engine.set_state(&host, V2, State::PreCopy).unwrap();
        host.query(SPACE);
        write(&mut engine, &host, &[9]);
        engine.set_state(&host, V2, State::StopCopy).unwrap();
        assert_eq!(host.query(SPACE), BTreeSet::from([9]));
    }
}

#[test]
fn a_pre_copy_fails_if_tracking_does_not_begin() {
    let (mut engine, host) = engine();
    host.fail.set(Some((Op::Begin, EOPNOTSUPP)));
    let result = engine.set_state(&host, V2, State::PreCopy);
    assert_eq!(result, Err(EOPNOTSUPP));
    assert_eq!(engine.state(), State::Running);
    assert!(!engine.may_tell());
}

#[derive(Clone, Debug)]
enum Step {
    Post(u64),
    Fill,
    Query,
    Tell,
    Unmap(bool),
    Fail(Op, Error),
    Cancel,
    Reset,
}

proptest! {
    /// A client that copies what each query reports ends with what the device wrote.
    #[test]
    fn no_page_is_lost(
        early in prop::collection::vec(0..SPACE, 0..8),
        steps in prop::collection::vec(
            prop_oneof![
                8 => (0..SPACE).prop_map(Step::Post),
                8 => Just(Step::Fill),
                2 => Just(Step::Query),
                2 => Just(Step::Tell),
                1 => any::<bool>().prop_map(Step::Unmap),
                1 => Just(Step::Fail(Op::Find, EIO)),
                1 => Just(Step::Fail(Op::Tell, ENOMEM)),
                1 => Just(Step::Cancel),
                1 => Just(Step::Reset),
            ],
            0..120,
        ),
    ) {
        let (mut engine, host) = engine();
        for page in early {
            post(&mut engine, &host, page);
        }
        // The client's tracking begins, and nothing is copied before the pre-copy.
        host.query(SPACE);
        engine.set_state(&host, V2, State::PreCopy).unwrap();
        let mut copy = host.guest.borrow().clone();
        let copied = |copy: &mut std::collections::BTreeMap<u64, u64>| {
            for page in host.query(SPACE) {
                if let Some(version) = host.guest.borrow().get(&page) {
                    copy.insert(page, *version);
                }
            }
        };
        for step in steps {
            match step {
                Step::Post(page) => post(&mut engine, &host, page),
                Step::Fill => engine.device_mut().fill(&host),
                Step::Query => copied(&mut copy),
                Step::Tell => engine.tell_container(&host),
                Step::Unmap(is_unmapping) => host.is_unmapping.set(is_unmapping),
                Step::Fail(op, error) => host.fail.set(Some((op, error))),
                Step::Cancel => engine.set_state(&host, V2, State::Running).unwrap(),
                Step::Reset => engine.reset(&host).unwrap(),
            }
        }
        host.is_unmapping.set(false);
        host.fail.set(None);
        match engine.set_state(&host, V2, State::StopCopy) {
            Ok(()) => {
                copied(&mut copy);
                prop_assert_eq!(&copy, &*host.guest.borrow());
            }
            // A reset has forgotten pages that could not be found.
            Err(error) => prop_assert_eq!(error, EIO),
        }
    }
}
