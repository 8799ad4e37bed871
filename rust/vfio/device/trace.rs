// SPDX-License-Identifier: GPL-2.0-only

//! Trace events: `events/rvfio` in tracefs.
//!
//! The events are declared in `include/rvfio/trace.h`. Those of a migration come from a comparison
//! of the engine before and after an operation, so no operation emits any itself.

use kernel::{
    bindings,
    device,
    prelude::*,
    time::Delta, //
};
use migration::{
    device::{
        Access,
        Device, //
    },
    engine::{
        Counters,
        Engine,
        Protocol, //
    },
    iova::IovaRange,
    state::State, //
};

use crate::bindings::{
    rvfio_trace_buffer,
    rvfio_trace_dirty,
    rvfio_trace_dirty_query,
    rvfio_trace_private_dma,
    rvfio_trace_refused,
    rvfio_trace_state,
    rvfio_trace_unmap, //
};

/// The part of an engine that the events of a migration report.
pub(super) struct Snapshot {
    state: State,
    session: Option<u64>,
    owner: Option<Protocol>,
    counters: Counters,
}

impl Snapshot {
    /// Takes a snapshot of an engine.
    pub(super) fn of<D: Device>(engine: &Engine<D>) -> Self {
        Self {
            state: engine.state(),
            session: engine.session(),
            owner: engine.owner(),
            counters: engine.counters(),
        }
    }

    /// Returns the session at the time of the snapshot.
    pub(super) fn session(&self) -> Option<u64> {
        self.session
    }

    /// Emits an event for each change since the snapshot.
    pub(super) fn trace<D: Device>(&self, dev: &device::Device, engine: &Engine<D>) {
        let now = Self::of(engine);
        let raw = raw(dev);
        // SAFETY: The device is valid for the life of `dev`.
        unsafe {
            if now.state != self.state {
                let protocol = protocol(now.owner.or(self.owner));
                rvfio_trace_state(raw, protocol, self.state.number(), now.state.number());
            }
            let (before, after) = (&self.counters, &now.counters);
            if after.bytes_saved != before.bytes_saved {
                let bytes = after.bytes_saved.wrapping_sub(before.bytes_saved);
                rvfio_trace_buffer(raw, false, bytes);
            }
            if after.bytes_loaded != before.bytes_loaded {
                let bytes = after.bytes_loaded.wrapping_sub(before.bytes_loaded);
                rvfio_trace_buffer(raw, true, bytes);
            }
            if after.dirty_queries != before.dirty_queries {
                let pages = after.pages_reported.wrapping_sub(before.pages_reported);
                rvfio_trace_dirty_query(raw, pages);
            }
        }
    }
}

/// Emits the event of a pass of private DMA that took `time`.
pub(crate) fn private_dma(dev: &device::Device, time: Delta, result: Result) {
    let error = result.err().map_or(0, |error| error.to_errno());
    // SAFETY: The device is valid for the life of `dev`.
    unsafe { rvfio_trace_private_dma(raw(dev), time.as_micros_ceil(), error) };
}

/// Emits the event of a mapping that its container found pinned for the `round`th time. The
/// container waited for `time`.
pub(crate) fn unmap(dev: &device::Device, iova: u64, bytes: u64, round: u32, time: Delta) {
    // SAFETY: The device is valid for the life of `dev`.
    unsafe { rvfio_trace_unmap(raw(dev), iova, bytes, round, time.as_micros_ceil()) };
}

/// Emits the event of a register write that failed.
pub(super) fn refused(dev: &device::Device, access: Access, value: u64, error: Error) {
    // SAFETY: The device is valid for the life of `dev`.
    unsafe { rvfio_trace_refused(raw(dev), access.bar, access.offset, value, error.to_errno()) };
}

/// Emits the event of guest memory that the device is told to write.
pub(crate) fn dirty(dev: &device::Device, range: IovaRange) {
    // SAFETY: The device is valid for the life of `dev`.
    unsafe { rvfio_trace_dirty(raw(dev), range.start(), range.len()) };
}

/// Returns the number that stands for a protocol in the events.
fn protocol(protocol: Option<Protocol>) -> u32 {
    match protocol {
        None => 0,
        Some(Protocol::Region2018) => 1,
        Some(Protocol::RegionV1) => 2,
        Some(Protocol::V2) => 3,
    }
}

/// Returns the C structure of the device.
fn raw(dev: &device::Device) -> *mut bindings::device {
    // CAST: `Device` is a transparent wrapper of the structure.
    core::ptr::from_ref(dev).cast_mut().cast()
}
