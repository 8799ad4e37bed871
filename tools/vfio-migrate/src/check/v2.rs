// SPDX-License-Identifier: GPL-2.0-only

//! The device features of Linux 5.18 and later.

mod arguments;
mod calls;
mod client;
mod damage;
mod file;
mod precopy;
mod session;
mod states;
mod stream;

use super::Check;

pub use client::{State, Stream, GET, PROBE, SET, STATES, V2};
pub use precopy::hand_on_now;

/// The checks of v2.
pub fn checks() -> Vec<Check> {
    [
        arguments::checks,
        states::checks,
        stream::checks,
        precopy::checks,
        damage::checks,
        session::checks,
        calls::checks,
    ]
    .into_iter()
    .flat_map(|area| area())
    .collect()
}
