// SPDX-License-Identifier: GPL-2.0-only

//! The arcs of the device's states, all pairs.

use kernel::error::code::*;
use migration::state::{next, State};

/// `vfio_from_fsm_table` of `drivers/vfio/vfio_main.c`, by the numbers of the uAPI.
///
/// Rows are the current state, columns the new one; 0 (ERROR) means that no arc leads there.
const TABLE: [[u32; 8]; 8] = [
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

#[test]
fn all_pairs_are_the_kernels() {
    for from in 0..8u32 {
        for to in 0..8u32 {
            let expected = TABLE[from as usize][to as usize];
            let found = next(State::try_from(from).unwrap(), State::try_from(to).unwrap());
            match expected {
                0 => assert_eq!(found, Err(EINVAL), "{from} -> {to}"),
                _ => assert_eq!(found.map(State::number), Ok(expected), "{from} -> {to}"),
            }
        }
    }
}

#[test]
fn every_way_ends() {
    for from in State::ALL {
        for to in State::ALL {
            let mut at = from;
            let mut arcs = 0;
            while at != to {
                match next(at, to) {
                    Ok(state) => at = state,
                    // `EINVAL` comes only at the start: no way ends in the middle.
                    Err(_) => {
                        assert_eq!(arcs, 0);
                        break;
                    }
                }
                arcs += 1;
                assert!(arcs <= 5, "{from} -> {to}");
            }
        }
    }
}

#[test]
fn numbers_are_those_of_the_uapi() {
    for (number, state) in State::ALL.into_iter().enumerate() {
        assert_eq!(state.number(), number as u32);
        assert_eq!(State::try_from(number as u32), Ok(state));
    }
    for number in [8, 9, 0x100, u32::MAX] {
        assert_eq!(State::try_from(number), Err(EINVAL));
    }
}
