// SPDX-License-Identifier: GPL-2.0-only

//! The mediator: gives the physical device's time to the virtual ones in turn.
//!
//! Each of the two units, for factorials and for transfers, has a queue and a worker. A virtual
//! device has at most one command for a unit under way, so it is at most once in a queue, and gets
//! in again behind all others: first come, first served is round robin here. A command takes the
//! physical device a bounded time. So, whatever the other guests do, with n virtual devices a
//! command is begun after at most n - 1 others.

mod gate;
mod units;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};
use vfio::{
    mdev::Handle,
    physical::DmaMemory,
    workqueue::WorkQueue, //
};

use self::units::{
    Units,
    COMPUTE,
    TRANSFER, //
};
use super::{
    hardware::Hardware,
    slot::{
        Physical,
        Slot, //
    },
    transfers::Content, //
};

/// The mediator of one physical device.
pub(super) struct Mediator {
    units: Arc<Units>,
    /// Where all the works run. Drained before the last reference to the mediator can go: works own
    /// such.
    queue: WorkQueue,
    /// How many marks of [`Content`] were given out.
    contents: Atomic<u64>,
}

impl Mediator {
    /// Puts a mediator before a physical device; `memory` is as large as the internal buffer.
    pub(super) fn new(hardware: Hardware, memory: DmaMemory) -> Result<Arc<Self>> {
        let this = Self {
            units: Units::new(hardware, memory)?,
            queue: WorkQueue::new(c"edu_mdev")?,
            contents: Atomic::new(0),
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// Others are about to reset the physical device: it ends what it does, and begins nothing.
    pub(super) fn suspend(&self) {
        self.units.suspend();
    }

    /// Others have reset the physical device, which may go on.
    pub(super) fn resume(&self) {
        self.units.resume();
    }

    /// The physical device's driver is being unbound, and there is no virtual device any more.
    pub(super) fn shut_down(&self) {
        self.queue.drain();
        self.units.shut_down();
    }
}

impl Physical for Mediator {
    fn new_content(&self) -> Content {
        Content(self.contents.fetch_add(1, Relaxed))
    }

    fn compute(&self, slot: &Arc<Slot>, host: Handle) -> Result {
        self.units.factorials.push(slot, host)?;
        // A worker that waits to run already finds the command then.
        let _ = self
            .queue
            .enqueue::<Arc<Units>, COMPUTE>(self.units.clone());
        Ok(())
    }

    fn transfer(&self, slot: &Arc<Slot>, host: Handle) -> Result {
        self.units.transfers.push(slot, host)?;
        let _ = self
            .queue
            .enqueue::<Arc<Units>, TRANSFER>(self.units.clone());
        Ok(())
    }

    fn copy(&self, slot: Arc<Slot>) {
        let _ = self.queue.enqueue::<Arc<Slot>, 0>(slot);
    }

    fn cancel(&self, slot: &Arc<Slot>) {
        if self.units.factorials.cancel(slot) {
            slot.lock().computing = false;
        }
        if self.units.transfers.cancel(slot) {
            slot.lock().transfer = None;
        }
    }
}
