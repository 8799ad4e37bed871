// SPDX-License-Identifier: GPL-2.0-only

//! The device in memory, with a part of what is optional.

use crate::common::{Fake, Host};
use kernel::error::Result;
use migration::{
    device::{Access, Amount, Device, DirtyTracking, Phase, Remaining},
    dirty::DirtyLog,
    image::{Identity, Payload, Section, SectionHead},
    iova::IovaRange,
    state::States,
};

/// A device that has P2P, pre-copy and dirty tracking, or has not.
pub(crate) struct Part<const P2P: bool, const PRE_COPY: bool, const EXACT: bool>(pub(crate) Fake);

/// The device without any of them.
pub(crate) type Least = Part<false, false, false>;

impl<const P2P: bool, const PRE_COPY: bool, const EXACT: bool> Part<P2P, PRE_COPY, EXACT> {
    pub(crate) fn filled() -> Self {
        Self(Fake::filled(200, 64))
    }

    pub(crate) fn blank() -> Self {
        Self(Fake::new(200, 64))
    }
}

impl<const P2P: bool, const PRE_COPY: bool, const EXACT: bool> Device
    for Part<P2P, PRE_COPY, EXACT>
{
    type Host = Host;

    const STATES: States = States {
        p2p: P2P,
        pre_copy: PRE_COPY,
    };

    const DIRTY_TRACKING: DirtyTracking = match EXACT {
        true => DirtyTracking::Marked,
        false => DirtyTracking::None,
    };

    fn identity(&self) -> Identity {
        self.0.identity()
    }

    fn quiesce(&mut self, host: &Host) -> Result {
        self.0.quiesce(host)
    }

    fn resume(&mut self, host: &Host) -> Result {
        self.0.resume(host)
    }

    fn reset(&mut self, host: &Host) -> Result {
        self.0.reset(host)
    }

    fn lost(&self) -> bool {
        self.0.lost()
    }

    fn size(&self, host: &Host) -> Amount {
        self.0.size(host)
    }

    fn save_begin(&mut self, host: &Host) -> Result {
        assert!(PRE_COPY || !self.0.running, "a running device is not saved");
        self.0.save_begin(host)
    }

    fn remaining(&self, host: &Host) -> Remaining {
        self.0.remaining(host)
    }

    fn save(
        &mut self,
        host: &Host,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        assert!(PRE_COPY || phase == Phase::Stopped);
        self.0.save(host, phase, payload)
    }

    fn load_begin(&mut self, host: &Host) -> Result {
        self.0.load_begin(host)
    }

    fn load(&mut self, host: &Host, section: &Section<'_>) -> Result {
        self.0.load(host, section)
    }

    fn load_end(&mut self, host: &Host) -> Result {
        self.0.load_end(host)
    }

    fn in_flight(&mut self, host: &Host, report: &mut dyn FnMut(IovaRange)) -> Result {
        assert!(EXACT, "a device that knows nothing is not asked");
        self.0.in_flight(host, report)
    }

    fn read(&mut self, host: &Host, access: Access) -> Result<u64> {
        self.0.read(host, access)
    }

    fn write(&mut self, host: &Host, log: &mut DirtyLog, access: Access, value: u64) -> Result {
        self.0.write(host, log, access, value)
    }
}
