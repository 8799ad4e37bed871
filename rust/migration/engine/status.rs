// SPDX-License-Identifier: GPL-2.0-only

//! What the operator can be told of a device's migration.

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
    /// Bytes of images that were handed out.
    pub bytes_saved: u64,
    /// Images that were handed out as a whole.
    pub images_saved: u64,
    /// Bytes of images that were taken.
    pub bytes_loaded: u64,
    /// Images that were taken and applied as a whole.
    pub images_loaded: u64,
    /// Queries of dirty pages that were answered.
    pub dirty_queries: u64,
    /// Pages that they reported, each as often as it was.
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
    /// Number of dirty pages, where they are tracked.
    pub dirty_pages: Option<u64>,
    /// Why an image was refused last.
    pub last_refusal: Option<Refusal>,
    /// What was moved.
    pub counters: Counters,
}

impl<D: Device> Engine<D> {
    /// Returns what was moved, and what failed.
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
