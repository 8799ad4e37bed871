// SPDX-License-Identifier: GPL-2.0-only

//! The guest memory that the function writes, while the engine tracks it.
//!
//! - Buffers of received packets, see [`crate::ring`].
//! - Descriptors, which the device overwrites, and the word with the transmit head. They are
//!   written all the time, so they are reported once: when the device has stopped, or when the
//!   guest sets up the queue anew.

use kernel::prelude::*;
use migration::{
    dirty::DirtyLog,
    iova::IovaRange, //
};
use vfio::{
    dev_err_ratelimited,
    pci::{
        CoreDevice,
        Registers, //
    }, //
};

use super::VirtualFunction;
use crate::{
    hardware::{
        self,
        Queues, //
    },
    registers::*,
    ring::{
        Memory,
        ShadowRing, //
    },
    state::{
        ReceiveQueue,
        ENABLE,
        QUEUES, //
    }, //
};

/// The state of tracking.
#[derive(Default)]
pub(super) struct Tracking {
    /// The receive queues.
    receive: [ShadowRing; QUEUES],
    /// The function has stopped since, and the descriptors were reported.
    is_settled: bool,
}

/// A queue that the guest is about to set up anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SetUp {
    /// A receive queue.
    Receive(usize),
    /// A transmit queue.
    Transmit(usize),
    /// All queues.
    All,
}

/// The guest's memory.
struct GuestMemory<'a>(&'a CoreDevice);

impl Memory for GuestMemory<'_> {
    fn read(&self, iova: u64, to: &mut [u8]) -> Result {
        self.0.read_memory(iova, to)
    }
}

/// Reads a receive queue as the guest has set it up; `stopped` is what stopping has changed.
fn receive_queue(
    registers: &Registers<'_>,
    index: usize,
    stopped: Option<&Queues>,
) -> Result<ReceiveQueue> {
    let mut queue = hardware::receive_queue(registers, index)?;
    if let Some(queues) = stopped {
        queue.ring.control = *queues.receive.get(index).ok_or(EINVAL)?;
        queue.ring.tail = *queues.receive_tail.get(index).ok_or(EINVAL)?;
    }
    Ok(queue)
}

/// Marks the memory of a receive queue's descriptors.
fn mark_receive(registers: &Registers<'_>, index: usize, log: &mut DirtyLog) -> Result {
    let memory = hardware::receive_queue(registers, index)?.ring.memory();
    memory.into_iter().for_each(|range| log.mark(range));
    Ok(())
}

/// Marks the memory of a transmit queue's descriptors, and the word with its head.
fn mark_transmit(registers: &Registers<'_>, index: usize, log: &mut DirtyLog) -> Result {
    let queue = hardware::transmit_queue(registers, index)?;
    for range in [queue.ring.memory(), queue.written_head()] {
        range.into_iter().for_each(|range| log.mark(range));
    }
    Ok(())
}

impl Tracking {
    /// Follows a receive queue as it is now.
    fn begin(&mut self, core: &CoreDevice, index: usize, stopped: Option<&Queues>) -> Result {
        let queue = receive_queue(&core.registers(BAR)?, index, stopped)?;
        let ring = self.receive.get_mut(index).ok_or(EINVAL)?;
        ring.begin(&queue, &GuestMemory(core))
    }

    /// Marks what the queues have written so far.
    fn mark(&mut self, core: &CoreDevice, stopped: Option<&Queues>, log: &mut DirtyLog) -> Result {
        let registers = core.registers(BAR)?;
        hardware::check_presence(&registers)?;
        let mut mark = |range: IovaRange| log.mark(range);
        for (index, ring) in self.receive.iter_mut().enumerate() {
            let queue = receive_queue(&registers, index, stopped)?;
            match queue.ring.control & ENABLE {
                // Others have reset the function, and the head tells nothing.
                0 => ring.mark_all(&mut mark),
                _ => ring.mark_done(queue.ring.head, &mut mark),
            }
        }
        if stopped.is_some() && !self.is_settled {
            for index in 0..QUEUES {
                mark_receive(&registers, index, log)?;
                mark_transmit(&registers, index, log)?;
            }
            self.is_settled = true;
        }
        Ok(())
    }
}

impl VirtualFunction {
    /// Begins to track.
    pub(super) fn begin_tracking(&mut self, core: &CoreDevice) -> Result {
        core.check_memory()?;
        let mut tracking = Tracking::default();
        for index in 0..QUEUES {
            tracking.begin(core, index, self.stopped.as_ref())?;
        }
        self.tracking = Some(tracking);
        self.check_rings(core).inspect_err(|_| self.tracking = None)
    }

    /// Marks what was written so far.
    pub(super) fn mark_written(&mut self, core: &CoreDevice, log: &mut DirtyLog) -> Result {
        if let Some(tracking) = &mut self.tracking {
            tracking.mark(core, self.stopped.as_ref(), log)?;
        }
        self.check_rings(core)
    }

    /// The function runs again.
    pub(super) fn unsettle(&mut self) {
        if let Some(tracking) = &mut self.tracking {
            tracking.is_settled = false;
        }
    }

    /// Checks that what the queues write is known; `EOPNOTSUPP`, with a message, if it is not.
    fn check_rings(&self, core: &CoreDevice) -> Result {
        let rings = self.tracking.iter().flat_map(|tracking| &tracking.receive);
        for (index, ring) in rings.enumerate() {
            if !ring.is_followed() {
                dev_err_ratelimited!(
                    core,
                    "cannot be migrated: receive ring {} has its head or tail outside, or cannot be read\n",
                    index
                );
                return Err(EOPNOTSUPP);
            }
        }
        Ok(())
    }

    /// The guest is about to hand over receive descriptors.
    pub(super) fn post_descriptors(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        index: usize,
        tail: u32,
    ) {
        let rings = self.tracking.as_mut().map(|tracking| &mut tracking.receive);
        if let Some(ring) = rings.and_then(|rings| rings.get_mut(index)) {
            ring.post(tail, &GuestMemory(core), &mut |range| log.mark(range));
        }
    }

    /// The guest sets up a queue anew with `write`.
    pub(super) fn set_up(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        what: SetUp,
        write: impl FnOnce() -> Result,
    ) -> Result {
        let Some(tracking) = &mut self.tracking else {
            return write();
        };
        let receive = (0..QUEUES)
            .filter(|index| matches!(what, SetUp::All) || what == SetUp::Receive(*index));
        let transmit = (0..QUEUES)
            .filter(|index| matches!(what, SetUp::All) || what == SetUp::Transmit(*index));
        {
            let registers = core.registers(BAR)?;
            for index in receive.clone() {
                let ring = tracking.receive.get_mut(index).ok_or(EINVAL)?;
                ring.mark_all(&mut |range| log.mark(range));
                if !ring.is_off() {
                    mark_receive(&registers, index, log)?;
                }
            }
            for index in transmit {
                mark_transmit(&registers, index, log)?;
            }
        }
        let written = write();
        for index in receive {
            if tracking.begin(core, index, None).is_err() {
                // Whoever asks next learns of it.
                tracking.receive.iter_mut().for_each(ShadowRing::lose);
            }
        }
        written
    }
}
