// SPDX-License-Identifier: GPL-2.0-only

//! The mediator: gives the physical device's time to the virtual ones in turn.
//!
//! Each of the two units, for factorials and for transfers, has a queue and a worker. A virtual
//! device has at most one command for a unit under way. So it stands in a queue at most once, and
//! gets in again behind all others: first come, first served is round robin here. A command takes
//! the physical device a bounded time. With n virtual devices a command begins after at most n - 1
//! others, whatever their guests do.

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
    /// All works run here. It is drained before the last reference to the mediator is dropped,
    /// because works own slots, and a slot owns a reference to the mediator.
    queue: WorkQueue,
    /// How many marks of [`Content`] were given out.
    contents: Atomic<u64>,
}

impl Mediator {
    /// Returns the mediator of a physical device; `memory` is as large as the internal buffer.
    pub(super) fn new(hardware: Hardware, memory: DmaMemory) -> Result<Arc<Self>> {
        let this = Self {
            units: Units::new(hardware, memory)?,
            queue: WorkQueue::new(c"edu_mdev")?,
            contents: Atomic::new(0),
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// Waits for what the physical device does, and lets it begin nothing: others are about to
    /// reset it.
    pub(super) fn suspend(&self) {
        self.units.suspend();
    }

    /// Lets the physical device begin commands again, after others have reset it.
    pub(super) fn resume(&self) {
        self.units.resume();
    }

    /// Ends all works, when the physical device's driver is unbound and no virtual device is left.
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
        // If the worker waits to run already, it finds the command.
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
