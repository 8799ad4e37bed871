// SPDX-License-Identifier: GPL-2.0-only

//! The physical device's units, their queues and their workers.

use kernel::{
    new_work,
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
    workqueue::{
        impl_has_work,
        Work,
        WorkItem, //
    }, //
};
use vfio::{
    dev_warn_ratelimited,
    mdev::Handle,
    physical::DmaMemory, //
};

use super::gate::Gate;
use crate::{
    mdev::{
        hardware::Hardware,
        instances::MOST,
        slot::{
            Slot,
            Stage, //
        },
        transfers::Transfers, //
    },
    transfer::Transfer, //
};

/// A command of a virtual device. The device stays open until the command is done.
pub(super) struct Command {
    slot: Arc<Slot>,
    host: Handle,
}

/// Commands that wait for a unit, in the order in which they came.
#[pin_data]
pub(super) struct Queue {
    #[pin]
    commands: Mutex<KVec<Command>>,
}

impl Queue {
    /// Returns an empty queue.
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            commands <- new_mutex!(KVec::with_capacity(MOST, GFP_KERNEL)?, "edu_queue"),
        }? Error)
    }

    /// Adds a command; `ENOMEM` without memory.
    pub(super) fn push(&self, slot: &Arc<Slot>, host: Handle) -> Result {
        let command = Command {
            slot: slot.clone(),
            host,
        };
        Ok(self.commands.lock().push(command, GFP_KERNEL)?)
    }

    /// Takes the next command out.
    fn next(&self) -> Option<Command> {
        let mut commands = self.commands.lock();
        if commands.is_empty() {
            return None;
        }
        commands.remove(0).ok()
    }

    /// Takes a virtual device's command out, and returns whether it was there.
    pub(super) fn cancel(&self, slot: &Arc<Slot>) -> bool {
        let mut commands = self.commands.lock();
        let place = commands
            .iter()
            .position(|command| Arc::ptr_eq(&command.slot, slot));
        place
            .and_then(|place| commands.remove(place).ok())
            .is_some()
    }
}

/// Number of the work of the unit that computes.
pub(super) const COMPUTE: u64 = 0;

/// Number of the work of the unit that transfers.
pub(super) const TRANSFER: u64 = 1;

/// The units of the physical device.
#[pin_data]
pub(super) struct Units {
    hardware: Hardware,
    /// Each command passes it on its way to the hardware.
    #[pin]
    gate: Gate,
    /// Commands for the unit that computes.
    #[pin]
    pub(super) factorials: Queue,
    /// Commands for the unit that transfers.
    #[pin]
    pub(super) transfers: Queue,
    /// The unit that transfers; none once the physical device's driver is unbound.
    #[pin]
    transferring: Mutex<Option<Transfers>>,
    #[pin]
    compute: Work<Units, COMPUTE>,
    #[pin]
    transfer: Work<Units, TRANSFER>,
}

impl_has_work! {
    impl HasWork<Self, COMPUTE> for Units { self.compute }
    impl HasWork<Self, TRANSFER> for Units { self.transfer }
}

impl WorkItem<COMPUTE> for Units {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while let Some(command) = this.factorials.next() {
            let operand = command.slot.lock().registers.operand;
            let inside = this.gate.enter();
            let result = this.hardware.factorial(operand);
            drop(inside);
            command.report(&result);
            command.slot.computed(&command.host, result);
        }
    }
}

impl WorkItem<TRANSFER> for Units {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while let Some(command) = this.transfers.next() {
            let inside = this.gate.enter();
            let result = this.transfer(&command.slot);
            drop(inside);
            command.report(&result);
            match result {
                Ok(Next::Deliver) => {
                    let physical = command.slot.physical().clone();
                    physical.copy(command.slot);
                }
                Ok(Next::Done) => command.slot.transferred(Ok(())),
                Err(error) => command.slot.transferred(Err(error)),
            }
        }
    }
}

/// The next step after the physical device's part of a transfer.
enum Next {
    /// Guest memory is to be written.
    Deliver,
    /// Nothing.
    Done,
}

impl Units {
    /// Returns the units of a physical device; `memory` is as large as the internal buffer.
    pub(super) fn new(hardware: Hardware, memory: DmaMemory) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                hardware,
                gate <- Gate::new(),
                factorials <- Queue::new(),
                transfers <- Queue::new(),
                transferring <- new_mutex!(Some(Transfers::new(memory)), "edu_transferring"),
                compute <- new_work!("edu_compute"),
                transfer <- new_work!("edu_transfer"),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Does the physical device's part of a transfer.
    fn transfer(&self, slot: &Slot) -> Result<Next> {
        let mut unit = self.transferring.lock();
        let unit = Option::as_mut(&mut unit).ok_or(ENODEV)?;
        let mut staging = slot.staging();
        let state = slot.lock();
        let Some(under_way) = &state.transfer else {
            return Ok(Next::Done);
        };
        let content = state.content;
        let part = Transfer::buffer_part(&under_way.dma)?;
        let to_memory = matches!(under_way.transfer, Transfer::ToMemory(_));
        // Bytes that are not moved in now keep the buffer's content.
        for (at, (place, byte)) in staging.iter_mut().zip(state.buffer.iter()).enumerate() {
            if to_memory || !part.contains(&at) {
                *place = *byte;
            }
        }
        drop(state);

        if to_memory {
            unit.move_out(&self.hardware, content, &mut staging, part)?;
            if let Some(under_way) = &mut slot.lock().transfer {
                under_way.stage = Stage::Deliver;
            }
            return Ok(Next::Deliver);
        }
        unit.move_in(&self.hardware, content, &staging, part)?;
        slot.lock().buffer.copy_from_slice(staging.as_slice());
        Ok(Next::Done)
    }

    /// Waits for the commands that the physical device has begun, and lets none begin.
    pub(super) fn suspend(&self) {
        self.gate.shut();
    }

    /// Lets commands begin again, after a reset. The content of the internal buffer is not known.
    pub(super) fn resume(&self) {
        if let Some(transfers) = &mut *self.transferring.lock() {
            transfers.forget();
        }
        self.gate.open();
    }

    /// Gives up the memory that the physical device reaches.
    pub(super) fn shut_down(&self) {
        let transfers = self.transferring.lock().take();
        drop(transfers);
    }
}

impl Command {
    /// Logs that the physical device has failed.
    fn report<T>(&self, result: &Result<T>) {
        if let Err(error) = result {
            self.host.with(|host| {
                dev_warn_ratelimited!(
                    host,
                    "the physical device has failed to carry out a command: {:?}\n",
                    error
                );
            });
        }
    }
}
