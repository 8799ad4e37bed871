// SPDX-License-Identifier: GPL-2.0-only

//! The hardware: sequences of register accesses that belong together.

mod queues;

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
        ENABLE, //
    },
    statistics, //
};

pub(crate) use queues::{
    start,
    stop,
    Queues, //
};

/// The interval at which a register is polled that changes within microseconds.
pub(crate) const INTERVAL: Delta = Delta::from_micros(20);

/// The longest that a reset of the function may take.
const RESET_TIMEOUT: Delta = Delta::from_millis(200);

/// Every register reads so if the function is gone.
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
