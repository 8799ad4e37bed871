// SPDX-License-Identifier: GPL-2.0-only

//! A device that writes buffers which the guest has posted, and finds out which when it is asked.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use kernel::error::{code::*, Error, Result};
use migration::{
    container::{Container, Wait},
    device::{Access, Amount, Device, DirtyTracking, Phase, Remaining},
    dirty::DirtyLog,
    image::{Payload, Section, SectionHead},
    iova::{IovaRange, PageRange, PAGE_SIZE},
};

use crate::common::IDENTITY;

/// Register to which a write posts the page of that number.
pub(crate) const POST: u64 = 0x18;

/// An operation that may fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    Begin,
    Find,
    Quiesce,
    Resume,
    Reset,
    Tell,
}

/// Guest memory, and a container that is like type1's.
#[derive(Default)]
pub(crate) struct Host {
    /// Version of each page of guest memory that the device has written.
    pub(crate) guest: RefCell<BTreeMap<u64, u64>>,
    /// There is a container, not an iommufd.
    pub(crate) has_container: Cell<bool>,
    /// The user undoes mappings.
    pub(crate) is_unmapping: Cell<bool>,
    /// The operation that fails once, and how.
    pub(crate) fail: Cell<Option<(Op, Error)>>,
    /// The operation that fails after that one has.
    pub(crate) fail_next: Cell<Option<(Op, Error)>>,
    /// The container counts only pages that it is told of.
    pub(crate) is_narrow: Cell<bool>,
    /// Those pages.
    pub(crate) told: RefCell<BTreeSet<u64>>,
    /// Calls that told it of pages.
    pub(crate) calls: Cell<u32>,
}

impl Host {
    fn enter(&self, op: Op) -> Result {
        match self.fail.get() {
            Some((which, error)) if which == op => {
                self.fail.set(self.fail_next.take());
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Asks the container: the pages that it reports, all of `space` if it counts none.
    pub(crate) fn query(&self, space: u64) -> BTreeSet<u64> {
        let told = self.told.take();
        match self.is_narrow.get() {
            true => told,
            false => (0..space).collect(),
        }
    }
}

impl Container for Host {
    fn counts_pages(&self) -> bool {
        self.has_container.get()
    }

    fn tell(&self, pages: PageRange, wait: Wait) -> Result {
        assert!(self.has_container.get());
        if self.is_unmapping.get() {
            return Err(if wait == Wait::No { EBUSY } else { ETIMEDOUT });
        }
        self.enter(Op::Tell)?;
        self.calls.set(self.calls.get() + 1);
        self.is_narrow.set(true);
        self.told.borrow_mut().extend(pages.first()..=pages.last());
        Ok(())
    }
}

/// The device.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    pub(crate) tracks: bool,
    pub(crate) running: bool,
    posted: VecDeque<u64>,
    /// Pages that were written since they were last asked for.
    written: Vec<u64>,
    saved: bool,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            running: true,
            ..Self::default()
        }
    }

    /// The device fills the oldest buffer.
    pub(crate) fn fill(&mut self, host: &Host) {
        if let Some(page) = self.posted.pop_front().filter(|_| self.running) {
            *host.guest.borrow_mut().entry(page).or_default() += 1;
            if self.tracks {
                self.written.push(page);
            }
        }
    }
}

impl Device for Ring {
    type Host = Host;

    const DIRTY_TRACKING: DirtyTracking = DirtyTracking::Found;

    fn identity(&self) -> migration::image::Identity {
        IDENTITY
    }

    fn quiesce(&mut self, host: &Host) -> Result {
        host.enter(Op::Quiesce)?;
        assert!(self.running, "a stopped device is not stopped");
        // A buffer may be filled in the last moment.
        self.fill(host);
        self.running = false;
        Ok(())
    }

    fn resume(&mut self, host: &Host) -> Result {
        host.enter(Op::Resume)?;
        assert!(!self.running, "a running device is not resumed");
        self.running = true;
        Ok(())
    }

    fn reset(&mut self, host: &Host) -> Result {
        self.tracks = false;
        self.written.clear();
        host.enter(Op::Reset)?;
        *self = Self::new();
        Ok(())
    }

    fn size(&self, _host: &Host) -> Amount {
        Amount {
            bytes: 4,
            sections: 1,
        }
    }

    fn save_begin(&mut self, _host: &Host) -> Result {
        self.saved = false;
        Ok(())
    }

    fn remaining(&self, host: &Host) -> Remaining {
        Remaining {
            stopped: match self.saved {
                false => self.size(host),
                true => Amount::default(),
            },
            ..Remaining::default()
        }
    }

    fn save(
        &mut self,
        _host: &Host,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        if phase == Phase::Running || self.saved {
            return Ok(None);
        }
        payload.put_u32(0)?;
        self.saved = true;
        Ok(Some(SectionHead::mandatory(1, 0)))
    }

    fn load_begin(&mut self, _host: &Host) -> Result {
        Ok(())
    }

    fn load(&mut self, _host: &Host, _section: &Section<'_>) -> Result {
        Ok(())
    }

    fn load_end(&mut self, _host: &Host) -> Result {
        Ok(())
    }

    fn track_begin(&mut self, host: &Host, _log: &mut DirtyLog) -> Result {
        assert!(!self.tracks, "tracking has begun already");
        host.enter(Op::Begin)?;
        self.tracks = true;
        Ok(())
    }

    fn track_end(&mut self, _host: &Host) {
        assert!(self.tracks, "tracking has ended already");
        self.tracks = false;
        self.written.clear();
    }

    fn find_written(&mut self, host: &Host, log: &mut DirtyLog) -> Result {
        assert!(self.tracks);
        host.enter(Op::Find)?;
        for page in self.written.drain(..) {
            log.mark(IovaRange::new(page * PAGE_SIZE + 64, 1500)?);
        }
        Ok(())
    }

    fn read(&mut self, _host: &Host, _access: Access) -> Result<u64> {
        Ok(0)
    }

    fn write(&mut self, _host: &Host, log: &mut DirtyLog, access: Access, value: u64) -> Result {
        assert_eq!(access.offset, POST);
        self.posted.push_back(value);
        // The ring has room for this many; what is known by now would be overwritten.
        if self.written.len() >= 4 {
            for page in self.written.drain(..) {
                log.mark(IovaRange::new(page * PAGE_SIZE + 64, 1500)?);
            }
        }
        Ok(())
    }
}
