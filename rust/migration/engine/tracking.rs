// SPDX-License-Identifier: GPL-2.0-only

//! Which pages of guest memory the device wrote.

use kernel::prelude::*;

use super::{
    Engine,
    Protocol, //
};
use crate::{
    container::{
        Container,
        Wait, //
    },
    device::{
        Device,
        DirtyTracking, //
    },
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
    /// The device has to be asked what it has written.
    const FINDS_WRITTEN: bool = matches!(D::DIRTY_TRACKING, DirtyTracking::Found);

    /// Starts tracking: only what the device may be writing at this moment is dirty.
    ///
    /// If the driver knows nothing of that ([`DirtyTracking::None`]), every page is dirty, and
    /// stays so however often it is reported. A second start forgets what was dirty. `EBUSY` while
    /// tracking is on for another protocol. If the device cannot tell what is under way, its error
    /// is returned and tracking is off.
    pub fn dirty_start(&mut self, host: &D::Host, protocol: Protocol) -> Result {
        if self.tracker.is_some_and(|tracker| tracker != protocol) {
            return Err(EBUSY);
        }
        self.tracker = Some(protocol);
        if D::DIRTY_TRACKING == DirtyTracking::None {
            self.log.start_with_everything();
            return Ok(());
        }
        self.log.start();
        let marked = InFlight::mark(&mut self.device, host, &mut self.log);
        let begun = self.check(marked).and_then(|_| self.track(host));
        if begun.is_err() {
            self.dirty_stop(host, protocol);
        }
        begun
    }

    /// Stops tracking and forgets what was dirty, unless tracking is on for another protocol.
    pub fn dirty_stop(&mut self, host: &D::Host, protocol: Protocol) {
        if self.tracker == Some(protocol) {
            self.tracker = None;
            self.log.stop();
            if self.tracks && !self.log.is_telling() {
                self.tracks = false;
                self.device.track_end(host);
            }
        }
    }

    /// Has a device that finds what it writes track, unless it does.
    fn track(&mut self, host: &D::Host) -> Result {
        if Self::FINDS_WRITTEN && !self.tracks {
            let begun = self.device.track_begin(host, &mut self.log);
            self.check(begun)?;
            self.tracks = true;
        }
        Ok(())
    }

    /// Has a device that tracks mark what it has written.
    fn find_written(&mut self, host: &D::Host) -> Result {
        if !self.tracks {
            return Ok(());
        }
        let found = self.device.find_written(host, &mut self.log);
        self.check(found)
    }

    /// Returns whether the user's container may be told of pages: whether it is told of all.
    pub fn may_tell(&self) -> bool {
        !Self::FINDS_WRITTEN || self.log.is_telling()
    }

    /// Returns whether the engine tells the user's container of what the device writes.
    pub fn is_telling(&self) -> bool {
        self.log.is_telling()
    }

    /// Has the container told of what a device that runs writes, if the device finds that: a client
    /// begins a pre-copy and may ask the container.
    ///
    /// That goes on until the device is closed: a container that was told of a page takes no other
    /// page for dirty, whatever client asks it later. If the client has the engine's own log, it
    /// does not ask the container.
    pub(super) fn tell_begin(&mut self, host: &D::Host) -> Result {
        if !Self::FINDS_WRITTEN || self.tracker.is_some() || !host.counts_pages() {
            return Ok(());
        }
        let was_telling = self.log.is_telling();
        self.log.tell_begin();
        let begun = self.track(host);
        if begun.is_err() && !was_telling {
            self.log.tell_end();
        }
        begun
    }

    /// Tells the container of what the device has written, as far as no wait is needed.
    ///
    /// To be called now and then. What could not be told is told later, at the latest when the
    /// device stops.
    pub fn tell_container(&mut self, host: &D::Host) {
        if self.log.is_telling() {
            let told = self
                .find_written(host)
                .and_then(|()| self.log.tell(host, Wait::No));
            if let Err(error) = told {
                self.counters.last_error = Some(error);
            }
        }
    }

    /// Tells the container of the pages that were marked, if they fill a batch.
    pub(super) fn tell_batch(&mut self, host: &D::Host) {
        if self.log.is_batch_full() {
            // The pages are kept on an error.
            let _ = self.log.tell(host, Wait::No);
        }
    }

    /// Finds what the stopped device has written, and tells the container of it.
    ///
    /// An error means that a client that asks now does not learn of all pages. So the device may
    /// not count as stopped.
    pub(super) fn settle(&mut self, host: &D::Host) -> Result {
        if self.quiesced && !self.settled {
            self.find_written(host)?;
            let told = self.log.tell(host, Wait::Yes);
            self.check(told)?;
            self.settled = true;
        }
        Ok(())
    }

    /// Checks that a client can know which pages the device has written: `EIO` if the container
    /// could not be told of some and the client has no log of the engine's.
    pub(super) fn check_told(&self) -> Result {
        match self.tracker.is_some() || self.log.is_telling_all() {
            true => Ok(()),
            false => Err(EIO),
        }
    }

    /// Finds what the device has written, and tells the container of it, before a reset.
    ///
    /// Returns whether the device was stopped for that.
    pub(super) fn settle_before_reset(&mut self, host: &D::Host) -> bool {
        if !self.tracks {
            return false;
        }
        let stopped = match self.quiesced {
            true => Ok(()),
            false => self.device.quiesce(host),
        };
        if stopped.and_then(|()| self.find_written(host)).is_err() {
            self.log.lose();
        }
        // What it cannot be told now, it is told later.
        let _ = self.log.tell(host, Wait::No);
        !self.quiesced && stopped.is_ok()
    }

    /// Has a device that was reset track again, if somebody still asks.
    pub(super) fn track_again(&mut self, host: &D::Host) {
        let is_asked = self.tracker.is_some() || self.log.is_telling();
        if is_asked && self.track(host).is_err() {
            self.log.lose();
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
    /// reports it after the transfer has landed; with [`DirtyTracking::None`] that is every page.
    /// `EINVAL` while tracking is off. On an error, of the device or of `report`, nothing is
    /// forgotten: `report` does all that can fail in handing the pages over.
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
        let in_flight = match D::DIRTY_TRACKING {
            DirtyTracking::None => None,
            DirtyTracking::Marked | DirtyTracking::Found => {
                self.find_written(host)?;
                let marked = InFlight::mark(&mut self.device, host, &mut self.log);
                // If there are too many transfers in flight to tell apart, all that is reported
                // stays dirty.
                Some(self.check(marked)?).filter(|in_flight| !in_flight.more)
            }
        };

        let table = self.log.table()?;
        let any = table.any_in(range);
        let mut reported = 0;
        if any {
            report(table)?;
            reported = table.count_in(window);
        }
        self.counters.dirty_queries = self.counters.dirty_queries.wrapping_add(1);
        self.counters.pages_reported = self.counters.pages_reported.wrapping_add(reported);
        if let (true, Some(told), Some(in_flight)) = (any, told, in_flight) {
            self.log
                .clear(told, in_flight.ranges.iter().flatten().copied())?;
        }
        Ok(any)
    }
}
