// SPDX-License-Identifier: GPL-2.0-only

//! The state of a device's migration, for the operator.

use kernel::prelude::*;

use super::{
    Engine,
    Protocol, //
};
use crate::{
    device::Device,
    image::Refusal,
    state::State, //
};

/// What was moved since the device was bound.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Bytes of images handed out.
    pub bytes_saved: u64,
    /// Images handed out as a whole.
    pub images_saved: u64,
    /// Bytes of images taken.
    pub bytes_loaded: u64,
    /// Images taken and applied as a whole.
    pub images_loaded: u64,
    /// Answered queries of dirty pages.
    pub dirty_queries: u64,
    /// Pages that the queries reported; a page counts each time that it is reported.
    pub pages_reported: u64,
    /// The last error of a state change, a transfer or a query.
    pub last_error: Option<Error>,
}

/// A device's migration at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// State of the device.
    pub state: State,
    /// The protocol that owns it.
    pub owner: Option<Protocol>,
    /// Number of dirty pages, if they are tracked.
    pub dirty_pages: Option<u64>,
    /// Why the last image was refused.
    pub last_refusal: Option<Refusal>,
    /// What was moved, and what failed last.
    pub counters: Counters,
}

impl<D: Device> Engine<D> {
    /// Returns what was moved, and what failed last.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns a snapshot for the operator.
    pub fn status(&self) -> Status {
        Status {
            state: self.state(),
            owner: self.owner,
            dirty_pages: self.log.table().ok().map(|table| table.count()),
            last_refusal: self.refusal,
            counters: self.counters,
        }
    }
}
