// SPDX-License-Identifier: GPL-2.0-only

//! Which state may follow which.

use crate::{
    at,
    common::{Fake, Side},
    image,
};
use kernel::error::code::*;
use migration::{
    engine::Protocol,
    protocols::region_2018::{
        layout::Field,
        state::DeviceState::{self, *},
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
                assert!(side.object.engine().log().table().is_err());
            }
            // A target that gives up gets a fresh device; any other keeps its contents.
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
