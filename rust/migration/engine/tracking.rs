// SPDX-License-Identifier: GPL-2.0-only

//! Which pages of guest memory the device wrote.

use kernel::prelude::*;

use super::{
    Engine,
    Protocol, //
};
use crate::{
    device::Device,
    dirty::{
        table::DirtyTable,
        DirtyLog, //
    },
    iova::{
        IovaRange,
        PageRange, //
    }, //
};

/// Transfers under way that a query remembers one by one.
const IN_FLIGHT: usize = 16;

/// The transfers that may still write guest memory.
struct InFlight {
    /// The first [`IN_FLIGHT`] of them.
    ranges: [Option<IovaRange>; IN_FLIGHT],
    /// There are more transfers than the array has room for.
    more: bool,
}

impl InFlight {
    /// Asks `device` for the transfers and marks their pages in `log`.
    fn mark<D: Device>(device: &mut D, host: &D::Host, log: &mut DirtyLog) -> Result<Self> {
        let mut found = Self {
            ranges: [None; IN_FLIGHT],
            more: false,
        };
        device.in_flight(host, &mut |range| {
            log.mark(range);
            match found.ranges.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = Some(range),
                None => found.more = true,
            }
        })?;
        Ok(found)
    }
}

impl<D: Device> Engine<D> {
    /// Starts tracking: only what the device may be writing at this moment is dirty.
    ///
    /// A second start forgets what was dirty. `EBUSY` while tracking is on for another protocol. If
    /// the device cannot tell what is under way, its error is returned and tracking is off.
    pub fn dirty_start(&mut self, host: &D::Host, protocol: Protocol) -> Result {
        if self.tracker.is_some_and(|tracker| tracker != protocol) {
            return Err(EBUSY);
        }
        self.tracker = Some(protocol);
        self.log.start();
        let marked = InFlight::mark(&mut self.device, host, &mut self.log);
        if marked.is_err() {
            self.dirty_stop(protocol);
        }
        self.check(marked).map(|_| ())
    }

    /// Stops tracking and forgets what was dirty, unless tracking is on for another protocol.
    pub fn dirty_stop(&mut self, protocol: Protocol) {
        if self.tracker == Some(protocol) {
            self.tracker = None;
            self.log.stop();
        }
    }

    /// Returns the protocol for which tracking is on.
    pub fn dirty_tracker(&self) -> Option<Protocol> {
        self.tracker
    }

    /// Returns the log, to look at it without a change.
    pub fn log(&self) -> &DirtyLog {
        &self.log
    }

    /// Calls `report` to report the dirty pages of `window` if a page of `range` is dirty, and
    /// forgets the pages of `window`.
    ///
    /// `window` is a part of `range`, for a client that asks for more pages than it has room for.
    /// Returns whether a page of `range` was dirty; if none was, `report` is not called. A page
    /// that the device may still be writing is reported and stays dirty, so that the next query
    /// reports it after the transfer has landed. `EINVAL` while tracking is off. On an error, of
    /// the device or of `report`, nothing is forgotten: `report` does all that can fail in handing
    /// the pages over.
    pub fn dirty_look(
        &mut self,
        host: &D::Host,
        range: PageRange,
        window: PageRange,
        report: impl FnOnce(&DirtyTable) -> Result,
    ) -> Result<bool> {
        self.look(host, range, window, Some(window), report)
    }

    /// Calls `report` with each dirty part of `range`, in ascending order, and forgets the pages
    /// that lie in `range` as a whole.
    ///
    /// If a page lies in `range` only in part, that part is reported and the page stays dirty,
    /// since nobody has been told of its other part. Otherwise as [`Engine::dirty_look`].
    pub fn dirty_report(
        &mut self,
        host: &D::Host,
        range: IovaRange,
        mut report: impl FnMut(IovaRange) -> Result,
    ) -> Result<bool> {
        let pages = range.pages();
        self.look(host, pages, pages, range.whole_pages(), |table| {
            table
                .ranges_in(pages)
                .filter_map(|dirty| range.part_in(dirty))
                .try_for_each(&mut report)
        })
    }

    /// Does as [`Engine::dirty_look`], but forgets the pages of `told`, if there are any.
    fn look(
        &mut self,
        host: &D::Host,
        range: PageRange,
        window: PageRange,
        told: Option<PageRange>,
        report: impl FnOnce(&DirtyTable) -> Result,
    ) -> Result<bool> {
        self.log.table()?;
        let marked = InFlight::mark(&mut self.device, host, &mut self.log);
        let in_flight = self.check(marked)?;

        let table = self.log.table()?;
        let any = table.any_in(range);
        let mut reported = 0;
        if any {
            report(table)?;
            reported = table.count_in(window);
        }
        self.counters.dirty_queries = self.counters.dirty_queries.wrapping_add(1);
        self.counters.pages_reported = self.counters.pages_reported.wrapping_add(reported);
        // If there are too many transfers in flight to tell apart, all that was reported stays
        // dirty.
        if let Some(told) = told.filter(|_| any && !in_flight.more) {
            self.log
                .clear(told, in_flight.ranges.iter().flatten().copied())?;
        }
        Ok(any)
    }
}
