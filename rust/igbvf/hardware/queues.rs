// SPDX-License-Identifier: GPL-2.0-only

//! The queues as a whole: how they stop and start.

use kernel::{
    io::Io,
    prelude::*,
    time::Delta, //
};
use vfio::{
    dev_err_ratelimited,
    pci::{
        CoreDevice,
        Registers, //
    },
    wait::{
        self,
        Signals, //
    }, //
};

use super::{
    check_presence,
    get,
    set,
    INTERVAL, //
};
use crate::{
    interrupts,
    registers::*,
    state::{
        RegisterState,
        ENABLE,
        QUEUES, //
    }, //
};

/// The longest that a queue may take to start or stop.
const QUEUE_TIMEOUT: Delta = Delta::from_millis(100);

/// How the guest has set its queues up, as far as stopping them changes it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Queues {
    /// RXDCTL.
    pub(crate) receive: [u32; QUEUES],
    /// TXDCTL.
    pub(crate) transmit: [u32; QUEUES],
    /// RDT.
    pub(crate) receive_tail: [u32; QUEUES],
    /// TDT.
    pub(crate) transmit_tail: [u32; QUEUES],
}

impl Queues {
    /// Returns the queues of registers that were loaded.
    pub(crate) fn of(state: &RegisterState) -> Self {
        Self {
            receive: state.receive.map(|queue| queue.ring.control),
            transmit: state.transmit.map(|queue| queue.ring.control),
            receive_tail: state.receive.map(|queue| queue.ring.tail),
            transmit_tail: state.transmit.map(|queue| queue.ring.tail),
        }
    }

    /// Puts the controls and the tails into `state`.
    pub(super) fn put_into(&self, state: &mut RegisterState) {
        let receive = self.receive.iter().zip(&self.receive_tail);
        for (queue, (control, tail)) in state.receive.iter_mut().zip(receive) {
            (queue.ring.control, queue.ring.tail) = (*control, *tail);
        }
        let transmit = self.transmit.iter().zip(&self.transmit_tail);
        for (queue, (control, tail)) in state.transmit.iter_mut().zip(transmit) {
            (queue.ring.control, queue.ring.tail) = (*control, *tail);
        }
    }

    /// Reads the queues of a function that runs.
    fn read(registers: &Registers<'_>) -> Result<Self> {
        let mut queues = Self::default();
        for (index, control) in queues.receive.iter_mut().enumerate() {
            *control = get::<RXDCTL>(registers, index)?;
        }
        for (index, control) in queues.transmit.iter_mut().enumerate() {
            *control = get::<TXDCTL>(registers, index)?;
        }
        Ok(queues)
    }

    /// Reads the tails of the stopped queues.
    fn read_tails(&mut self, registers: &Registers<'_>) -> Result {
        for (index, tail) in self.receive_tail.iter_mut().enumerate() {
            *tail = get::<RDT>(registers, index)?;
        }
        for (index, tail) in self.transmit_tail.iter_mut().enumerate() {
            *tail = get::<TDT>(registers, index)?;
        }
        Ok(())
    }

    /// Writes RXDCTL and TXDCTL, each with `change` applied.
    pub(super) fn write(&self, registers: &Registers<'_>, change: fn(u32) -> u32) -> Result {
        for (index, control) in self.receive.iter().enumerate() {
            set::<RXDCTL>(registers, index, change(*control))?;
        }
        for (index, control) in self.transmit.iter().enumerate() {
            set::<TXDCTL>(registers, index, change(*control))?;
        }
        Ok(())
    }

    /// Returns whether ENABLE reads as `wanted` says in each queue that the guest has switched on.
    fn are(&self, registers: &Registers<'_>, wanted: bool) -> Result<bool> {
        for (index, control) in self.receive.iter().enumerate() {
            let is_enabled = get::<RXDCTL>(registers, index)? & ENABLE != 0;
            if control & ENABLE != 0 && is_enabled != wanted {
                return Ok(false);
            }
        }
        for (index, control) in self.transmit.iter().enumerate() {
            let is_enabled = get::<TXDCTL>(registers, index)? & ENABLE != 0;
            if control & ENABLE != 0 && is_enabled != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the queues are as `wanted` says.
    pub(super) fn wait(&self, core: &CoreDevice, registers: Registers<'_>, wanted: bool) -> Result {
        // Most often they are at once.
        let are = self.are(&registers, wanted)?;
        drop(registers);
        if are {
            return Ok(());
        }
        wait::until(Signals::Ignore, INTERVAL, QUEUE_TIMEOUT, || {
            self.are(&core.registers(BAR)?, wanted)
        })
    }

    /// Makes each tail the head, so that a queue has no descriptors when it is switched on.
    fn empty(&self, registers: &Registers<'_>) -> Result {
        for index in 0..QUEUES {
            set::<RDT>(registers, index, get::<RDH>(registers, index)?)?;
            set::<TDT>(registers, index, get::<TDH>(registers, index)?)?;
        }
        Ok(())
    }
}

/// Stops the queues and masks the interrupts.
///
/// `ETIMEDOUT` if a queue does not stop; it runs on then.
pub(crate) fn stop(core: &CoreDevice) -> Result<Queues> {
    let registers = core.registers(BAR)?;
    check_presence(&registers)?;
    let mut queues = Queues::read(&registers)?;
    queues.write(&registers, |control| control & !ENABLE)?;
    if let Err(error) = queues.wait(core, registers, false) {
        queues.write(&core.registers(BAR)?, |control| control)?;
        return Err(error);
    }
    let registers = core.registers(BAR)?;
    registers.try_write_reg(EIMC::from_raw(interrupts::ALL))?;
    queues.read_tails(&registers)?;
    Ok(queues)
}

/// Lets the queues run that the guest had switched on, and unmasks its interrupts.
///
/// Then raises the interrupts of all queues: what they had to tell may have been told to nobody. A
/// masked one is kept by the function until the guest unmasks it. `more` are raised as well. `EIO`
/// if a queue does not run.
pub(crate) fn start(core: &CoreDevice, queues: &Queues, enabled: u32, more: u32) -> Result {
    let registers = core.registers(BAR)?;
    registers.try_write_reg(EICR::from_raw(interrupts::ALL))?;
    queues.empty(&registers)?;
    queues.write(&registers, |control| control)?;
    if queues.wait(core, registers, true).is_err() {
        dev_err_ratelimited!(core, "a queue does not start\n");
        queues.write(&core.registers(BAR)?, |control| control & !ENABLE)?;
        return Err(EIO);
    }
    let registers = core.registers(BAR)?;
    registers.try_write_reg(EIMS::from_raw(enabled))?;
    for (index, tail) in queues.receive_tail.iter().enumerate() {
        set::<RDT>(&registers, index, *tail)?;
    }
    for (index, tail) in queues.transmit_tail.iter().enumerate() {
        set::<TDT>(&registers, index, *tail)?;
    }
    let vectors = registers.try_read(IVAR)?.into_raw();
    registers.try_write_reg(EICS::from_raw(interrupts::of_queues(vectors) | more))
}
