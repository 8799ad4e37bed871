// SPDX-License-Identifier: GPL-2.0-only

//! All pairs of states, for each set of optional states.

use crate::{
    common::{Host, Op, OPS},
    part::Part,
};
use kernel::error::code::*;
use migration::{
    engine::{Engine, Protocol},
    state::{State, States},
};

const V2: Protocol = Protocol::V2;

/// `vfio_from_fsm_table` of `drivers/vfio/vfio_main.c`; 0 (ERROR) means that no arc leads there.
const TABLE: [[usize; 8]; 8] = [
    // ERROR STOP RUNNING STOP_COPY RESUMING RUNNING_P2P PRE_COPY PRE_COPY_P2P
    [0, 0, 0, 0, 0, 0, 0, 0], // ERROR
    [0, 1, 5, 3, 4, 5, 5, 5], // STOP
    [0, 5, 2, 5, 5, 5, 6, 5], // RUNNING
    [0, 1, 1, 3, 1, 1, 0, 0], // STOP_COPY
    [0, 1, 1, 1, 4, 1, 1, 1], // RESUMING
    [0, 1, 2, 1, 1, 5, 2, 7], // RUNNING_P2P
    [0, 2, 2, 7, 2, 2, 6, 7], // PRE_COPY
    [0, 5, 5, 3, 5, 5, 6, 7], // PRE_COPY_P2P
];

/// `state_flags_table` of the same file: STOP_COPY 1, P2P 2, PRE_COPY 4.
const FLAGS: [u32; 8] = [!0, 1, 1, 1, 1, 1 | 2, 1 | 4, 1 | 2 | 4];

/// What `vfio_mig_get_next_state()` does; 0 for `EINVAL`.
fn kernels(flags: u32, from: usize, to: usize) -> usize {
    let lacks = |state: usize| FLAGS[state] & flags != FLAGS[state];
    if lacks(from) || lacks(to) {
        return 0;
    }
    let mut next = TABLE[from][to];
    while next != 0 && lacks(next) {
        next = TABLE[next][to];
    }
    next
}

/// The flags of each set of optional states.
fn sets() -> impl Iterator<Item = (States, u32)> {
    [(false, false), (true, false), (false, true), (true, true)]
        .into_iter()
        .map(|(p2p, pre_copy)| {
            let flags = 1 | (u32::from(p2p) << 1) | (u32::from(pre_copy) << 2);
            (States { p2p, pre_copy }, flags)
        })
}

#[test]
fn all_pairs_are_the_kernels() {
    for (states, flags) in sets() {
        for from in State::ALL {
            for to in State::ALL {
                let expected = kernels(flags, from.number() as usize, to.number() as usize);
                let found = states.next(from, to);
                match expected {
                    0 => assert_eq!(found, Err(EINVAL), "{states:?}: {from} -> {to}"),
                    _ => assert_eq!(
                        found.map(|state| state.number() as usize),
                        Ok(expected),
                        "{states:?}: {from} -> {to}"
                    ),
                }
            }
        }
    }
}

#[test]
fn a_device_has_the_states_of_its_flags() {
    for (states, flags) in sets() {
        for state in &State::ALL[1..] {
            let expected = FLAGS[state.number() as usize] & flags == FLAGS[state.number() as usize];
            assert_eq!(states.has(*state), expected, "{states:?}: {state}");
        }
    }
    assert!(sets().any(|(states, _)| states == States::ALL));
    assert!(sets().any(|(states, _)| states == States::LEAST));
}

/// Takes an engine through all pairs.
fn walk<const P2P: bool, const PRE_COPY: bool>() -> u32 {
    let flags = 1 | (u32::from(P2P) << 1) | (u32::from(PRE_COPY) << 2);
    let mut pairs = 0;
    for from in &State::ALL[1..] {
        for to in State::ALL {
            let host = Host::default();
            let mut engine = Engine::new(Part::<P2P, PRE_COPY, true>::filled());
            if kernels(flags, 2, from.number() as usize) == 0 {
                assert_eq!(engine.set_state(&host, V2, *from), Err(EINVAL));
                assert_eq!(engine.session_of(*from), None);
                assert_eq!((engine.state(), engine.owner()), (State::Running, None));
                assert_eq!(host.called(), []);
                continue;
            }
            engine.set_state(&host, V2, *from).unwrap();
            let runs = |state| matches!(state, State::Running | State::PreCopy);
            assert_eq!(engine.device().0.running, runs(*from));
            let session = engine.session_of(to);
            let result = engine.set_state(&host, V2, to);
            if kernels(flags, from.number() as usize, to.number() as usize) == 0 {
                assert_eq!(result, Err(EINVAL), "{from} -> {to}");
                assert_eq!(engine.state(), *from);
            } else if *from == State::Resuming && to != State::Resuming {
                // The image is not complete.
                assert_eq!(result, Err(EINVAL));
                assert_eq!(engine.state(), *from);
            } else {
                assert_eq!(result, Ok(()), "{from} -> {to}");
                assert_eq!(engine.state(), to);
                assert_eq!(engine.device().0.running, runs(to));
                if session.is_some() {
                    assert_eq!(engine.session(), session);
                }
                pairs += 1;
            }
        }
    }
    pairs
}

#[test]
fn the_engine_takes_all_pairs() {
    let pairs = [
        walk::<false, false>(),
        walk::<true, false>(),
        walk::<false, true>(),
        walk::<true, true>(),
    ];
    // From RESUMING only itself; STOP_COPY reaches no pre-copy.
    assert_eq!(pairs, [3 * 4 + 1, 4 * 5 + 1, 4 * 5 - 1 + 1, 6 * 7 - 2 + 1]);
}

#[test]
fn a_stop_that_fails_leaves_the_state_before() {
    for op in OPS {
        for (from, to) in [
            (State::Running, State::Stop),
            (State::Running, State::StopCopy),
            (State::Stop, State::Running),
            (State::StopCopy, State::Running),
            (State::Running, State::Resuming),
        ] {
            let host = Host::default();
            let mut engine = Engine::new(Part::<false, false, true>::filled());
            engine.set_state(&host, V2, from).unwrap();
            host.fail(op, ETIMEDOUT);
            if engine.set_state(&host, V2, to).is_ok() {
                continue;
            }
            assert!([from, State::Stop].contains(&engine.state()));
            let runs = engine.state() == State::Running;
            assert_eq!(engine.device().0.running, runs);
            assert_eq!(engine.owner(), (!runs).then_some(V2));
            engine.set_state(&host, V2, to).unwrap();
        }
    }
    // Pre-copy without P2P is stopped by one arc.
    let host = Host::default();
    let mut engine = Engine::new(Part::<false, true, true>::filled());
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    host.called();
    host.fail(Op::Quiesce, ETIMEDOUT);
    assert_eq!(engine.set_state(&host, V2, State::StopCopy), Err(ETIMEDOUT));
    assert_eq!(engine.state(), State::PreCopy);
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(host.called(), [Op::Quiesce, Op::Quiesce]);
}
