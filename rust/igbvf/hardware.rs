// SPDX-License-Identifier: GPL-2.0-only

//! The hardware: sequences of register accesses that belong together.

use kernel::{
    io::{
        register::{
            RegisterArray,
            RegisterArrayLoc, //
        },
        Io, //
    },
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

use crate::{
    interrupts,
    registers::*,
    state::{
        Mailbox,
        ReceiveQueue,
        RegisterState,
        Ring,
        TransmitQueue,
        ENABLE,
        QUEUES, //
    },
    statistics, //
};

/// The interval at which a register is polled that changes within microseconds.
pub(crate) const INTERVAL: Delta = Delta::from_micros(20);

/// The longest that a queue may take to start or stop.
const QUEUE_TIMEOUT: Delta = Delta::from_millis(100);

/// The longest that a reset of the function may take.
const RESET_TIMEOUT: Delta = Delta::from_millis(200);

/// What every register of a function that is gone reads.
const GONE: u32 = u32::MAX;

/// Checks that the function answers; `ENODEV` if it is gone.
pub(crate) fn check_presence(registers: &Registers<'_>) -> Result {
    match registers.try_read(STATUS)?.into_raw() {
        GONE => Err(ENODEV),
        _ => Ok(()),
    }
}

/// Reads the register of a queue, or another register of an array.
pub(crate) fn get<T>(registers: &Registers<'_>, index: usize) -> Result<u32>
where
    T: RegisterArray<Storage = u32>,
    u32: From<T>,
{
    let at = RegisterArrayLoc::<T>::try_new(index).ok_or(EINVAL)?;
    Ok(registers.try_read(at)?.into())
}

/// Writes the register of a queue, or another register of an array.
pub(crate) fn set<T>(registers: &Registers<'_>, index: usize, value: u32) -> Result
where
    T: RegisterArray<Storage = u32>,
    u32: Into<T>,
    u32: From<T>,
{
    let at = RegisterArrayLoc::<T>::try_new(index).ok_or(EINVAL)?;
    registers.try_write(at, value.into())
}

/// Resets the function with CTRL.RST: the queues stop, and the PF forgets what it was asked for.
///
/// `ETIMEDOUT` if the PF is in a reset that does not end.
pub(crate) fn reset(core: &CoreDevice) -> Result {
    {
        let registers = core.registers(BAR)?;
        check_presence(&registers)?;
        let control = registers.try_read(CTRL)?;
        registers.try_write_reg(control.with_rst(true))?;
    }
    wait::until(Signals::Ignore, INTERVAL, RESET_TIMEOUT, || {
        let mailbox = core.registers(BAR)?.try_read(V2PMAILBOX)?;
        Ok(!mailbox.rsti() && !mailbox.rstd())
    })
}

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
    fn put_into(&self, state: &mut RegisterState) {
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
    fn write(&self, registers: &Registers<'_>, change: fn(u32) -> u32) -> Result {
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
    fn wait(&self, core: &CoreDevice, registers: Registers<'_>, wanted: bool) -> Result {
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

/// Reads a receive queue.
pub(crate) fn receive_queue(registers: &Registers<'_>, index: usize) -> Result<ReceiveQueue> {
    Ok(ReceiveQueue {
        ring: Ring {
            base_low: get::<RDBAL>(registers, index)?,
            base_high: get::<RDBAH>(registers, index)?,
            length: get::<RDLEN>(registers, index)?,
            head: get::<RDH>(registers, index)?,
            tail: get::<RDT>(registers, index)?,
            control: get::<RXDCTL>(registers, index)?,
            dma_control: get::<RXCTL>(registers, index)?,
        },
        buffers: get::<SRRCTL>(registers, index)?,
    })
}

/// Reads a transmit queue.
pub(crate) fn transmit_queue(registers: &Registers<'_>, index: usize) -> Result<TransmitQueue> {
    Ok(TransmitQueue {
        ring: Ring {
            base_low: get::<TDBAL>(registers, index)?,
            base_high: get::<TDBAH>(registers, index)?,
            length: get::<TDLEN>(registers, index)?,
            head: get::<TDH>(registers, index)?,
            tail: get::<TDT>(registers, index)?,
            control: get::<TXDCTL>(registers, index)?,
            dma_control: get::<TXCTL>(registers, index)?,
        },
        write_back_low: get::<TDWBAL>(registers, index)?,
        write_back_high: get::<TDWBAH>(registers, index)?,
    })
}

/// Reads the statistics.
pub(crate) fn statistics(registers: &Registers<'_>) -> Result<[u32; statistics::COUNT]> {
    let mut values = [0; statistics::COUNT];
    for (value, offset) in values.iter_mut().zip(STATISTICS) {
        *value = registers.try_read32(offset)?;
    }
    Ok(values)
}

/// Reads the mailbox. That clears the bits that are returned as sticky.
pub(crate) fn read_mailbox(registers: &Registers<'_>) -> Result<Mailbox> {
    let control = registers.try_read(V2PMAILBOX)?;
    let mut mailbox = Mailbox {
        sticky: control.sticky(),
        is_owned: control.vfu(),
        ..Mailbox::default()
    };
    for (index, word) in mailbox.words.iter_mut().enumerate() {
        *word = get::<VMBMEM>(registers, index)?;
    }
    Ok(mailbox)
}

/// Reads the registers of a stopped function, all but the mailbox.
///
/// The caller adds what the registers do not tell: the enabled interrupts, and the offsets of the
/// statistics.
pub(crate) fn read(registers: &Registers<'_>, queues: &Queues) -> Result<RegisterState> {
    check_presence(registers)?;
    let mut state = RegisterState {
        split_types: registers.try_read(PSRTYPE)?.into_raw(),
        auto_clear: registers.try_read(EIAC)?.into_raw(),
        auto_mask: registers.try_read(EIAM)?.into_raw(),
        vectors: registers.try_read(IVAR)?.into_raw(),
        mailbox_vector: registers.try_read(IVAR_MISC)?.into_raw(),
        statistics: statistics(registers)?,
        ..RegisterState::default()
    };
    for (index, time) in state.throttling.iter_mut().enumerate() {
        *time = get::<EITR>(registers, index)?;
    }
    for (index, queue) in state.receive.iter_mut().enumerate() {
        *queue = receive_queue(registers, index)?;
    }
    for (index, queue) in state.transmit.iter_mut().enumerate() {
        *queue = transmit_queue(registers, index)?;
    }
    queues.put_into(&mut state);
    Ok(state)
}

/// Writes the registers of a function whose queues are off, and leaves them off.
///
/// Interrupts stay masked, and tails and the mailbox's memory are left to the caller. `EIO`, with a
/// message, if a register does not read as it should.
pub(crate) fn write(core: &CoreDevice, state: &RegisterState) -> Result {
    let registers = core.registers(BAR)?;
    registers.try_write_reg(EIMC::from_raw(interrupts::ALL))?;
    registers.try_write_reg(EICR::from_raw(interrupts::ALL))?;
    for (index, queue) in state.receive.iter().enumerate() {
        set::<RXDCTL>(&registers, index, queue.ring.control & !ENABLE)?;
    }
    for (index, queue) in state.transmit.iter().enumerate() {
        set::<TXDCTL>(&registers, index, queue.ring.control & !ENABLE)?;
    }
    // QEMU's EIAM sets bits of other functions at each write.
    if registers.try_read(EIAM)?.into_raw() != state.auto_mask {
        registers.try_write_reg(EIAM::from_raw(state.auto_mask))?;
    }
    registers.try_write_reg(EIAC::from_raw(state.auto_clear))?;
    registers.try_write_reg(PSRTYPE::from_raw(state.split_types))?;
    registers.try_write_reg(IVAR::from_raw(state.vectors))?;
    registers.try_write_reg(IVAR_MISC::from_raw(state.mailbox_vector))?;
    for (index, time) in state.throttling.iter().enumerate() {
        set::<EITR>(&registers, index, *time)?;
    }
    for (index, queue) in state.receive.iter().enumerate() {
        set::<RDBAL>(&registers, index, queue.ring.base_low)?;
        set::<RDBAH>(&registers, index, queue.ring.base_high)?;
        set::<RDLEN>(&registers, index, queue.ring.length)?;
        set::<SRRCTL>(&registers, index, queue.buffers)?;
        set::<RXCTL>(&registers, index, queue.ring.dma_control)?;
        set::<RDH>(&registers, index, queue.ring.head)?;
        set::<RDT>(&registers, index, queue.ring.head)?;
    }
    for (index, queue) in state.transmit.iter().enumerate() {
        set::<TDBAL>(&registers, index, queue.ring.base_low)?;
        set::<TDBAH>(&registers, index, queue.ring.base_high)?;
        set::<TDLEN>(&registers, index, queue.ring.length)?;
        set::<TXCTL>(&registers, index, queue.ring.dma_control)?;
        set::<TDWBAL>(&registers, index, queue.write_back_low)?;
        set::<TDWBAH>(&registers, index, queue.write_back_high)?;
        set::<TDH>(&registers, index, queue.ring.head)?;
        set::<TDT>(&registers, index, queue.ring.head)?;
    }
    check(&registers, state)
}

/// Switches the queues on for a moment, with no descriptors, and checks that the heads stay.
///
/// A function that sets a head to 0 then could not go on where the source has stopped.
pub(crate) fn try_queues(core: &CoreDevice, state: &RegisterState) -> Result {
    let queues = Queues::of(state);
    let registers = core.registers(BAR)?;
    queues.write(&registers, |control| control)?;
    let started = queues.wait(core, registers, true);
    let registers = core.registers(BAR)?;
    queues.write(&registers, |control| control & !ENABLE)?;
    let stopped = queues.wait(core, registers, false);
    if started.is_err() || stopped.is_err() {
        dev_err_ratelimited!(core, "a queue does not start or stop\n");
        return Err(EIO);
    }
    check(&core.registers(BAR)?, state)
}

/// Compares the registers of a function whose queues are off with what was written.
fn check(registers: &Registers<'_>, state: &RegisterState) -> Result {
    let queues = Queues::of(state);
    let found = read(registers, &queues)?;
    let same = |name: &str, found: u32, wanted: u32| {
        if found == wanted {
            return Ok(());
        }
        dev_err_ratelimited!(
            registers.core(),
            "{} reads as {:#x}, and not as {:#x}\n",
            name,
            found,
            wanted
        );
        Err(EIO)
    };
    same("PSRTYPE", found.split_types, state.split_types)?;
    same("EIAC", found.auto_clear, state.auto_clear)?;
    same("EIAM", found.auto_mask, state.auto_mask)?;
    same("IVAR", found.vectors, state.vectors)?;
    same("IVAR_MISC", found.mailbox_vector, state.mailbox_vector)?;
    for (found, wanted) in found.throttling.iter().zip(&state.throttling) {
        same("EITR", *found, *wanted)?;
    }
    for (index, (found, wanted)) in found.receive.iter().zip(&state.receive).enumerate() {
        same("SRRCTL", found.buffers, wanted.buffers)?;
        let control = get::<RXDCTL>(registers, index)?;
        same("RXDCTL", control, wanted.ring.control & !ENABLE)?;
        same_ring(same, "RDBA, RDLEN, RDH or RXCTL", &found.ring, &wanted.ring)?;
    }
    for (index, (found, wanted)) in found.transmit.iter().zip(&state.transmit).enumerate() {
        same("TDWBAL", found.write_back_low, wanted.write_back_low)?;
        same("TDWBAH", found.write_back_high, wanted.write_back_high)?;
        let control = get::<TXDCTL>(registers, index)?;
        same("TXDCTL", control, wanted.ring.control & !ENABLE)?;
        same_ring(same, "TDBA, TDLEN, TDH or TXCTL", &found.ring, &wanted.ring)?;
    }
    Ok(())
}

/// Compares two rings with `same`.
fn same_ring(
    same: impl Fn(&str, u32, u32) -> Result,
    name: &str,
    found: &Ring,
    wanted: &Ring,
) -> Result {
    same(name, found.base_low, wanted.base_low)?;
    same(name, found.base_high, wanted.base_high)?;
    same(name, found.length, wanted.length)?;
    same(name, found.head, wanted.head)?;
    same(name, found.dma_control, wanted.dma_control)
}
