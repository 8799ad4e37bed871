// SPDX-License-Identifier: GPL-2.0-only

//! The hardware: sequences of register accesses that belong together.

use kernel::{
    io::Io,
    prelude::*,
    time::Delta, //
};
use vfio::{
    pci::{
        CoreDevice,
        Registers,
        ScratchPage, //
    },
    wait::{
        self,
        Signals, //
    }, //
};

use crate::{
    image::RegisterState,
    registers::*,
    transfer::DmaRegisters, //
};

/// The interval at which a computation or a transfer is polled.
const INTERVAL: Delta = Delta::from_millis(1);

/// More than the device needs between the end of a computation and its interrupt.
const INTERRUPT_TIMEOUT: Delta = Delta::from_millis(50);

/// The longest that a transfer of the driver's own may take; it is specified to take 100 ms.
const TRANSFER_TIMEOUT: Delta = Delta::from_secs(2);

/// Returns whether a transfer runs.
pub(crate) fn is_transferring(registers: &Registers<'_>) -> Result<bool> {
    Ok(registers.try_read(DMA_COMMAND)?.run())
}

/// Returns whether a factorial is being computed.
pub(crate) fn is_computing(registers: &Registers<'_>) -> Result<bool> {
    Ok(registers.try_read(STATUS)?.computing())
}

/// Checks that the device answers; `ENODEV` if it is gone.
pub(crate) fn check_presence(registers: &Registers<'_>) -> Result {
    if registers.try_read(IDENTIFICATION)? == IDENTIFICATION::EDU {
        Ok(())
    } else {
        Err(ENODEV)
    }
}

/// Waits until the device has nothing to do.
///
/// It takes the registers anew for each look at the device, so that the guest is not held up.
/// `ETIMEDOUT` if the work takes longer than `timeout`, `ERESTARTSYS` on a signal that counts,
/// `ENODEV` if the device is gone.
pub(crate) fn wait_idle(core: &CoreDevice, signals: Signals, timeout: Delta) -> Result {
    wait::until(signals, INTERVAL, timeout, || {
        let registers = core.registers(BAR)?;
        check_presence(&registers)?;
        Ok(!is_computing(&registers)? && !is_transferring(&registers)?)
    })
}

/// Returns whether a factorial is done and its interrupt raised.
pub(crate) fn has_factorial_interrupt(registers: &Registers<'_>) -> Result<bool> {
    Ok(!is_computing(registers)? && registers.try_read(INTERRUPT_STATUS)?.factorial())
}

/// Waits for the interrupt of a factorial that is done.
///
/// The device shows the end of the computation first, and raises the interrupt, if it is enabled, a
/// moment later. So a device that looks idle may still raise one.
pub(crate) fn wait_factorial_interrupt(core: &CoreDevice) -> Result {
    let raised = wait::until(Signals::Ignore, INTERVAL, INTERRUPT_TIMEOUT, || {
        let registers = core.registers(BAR)?;
        Ok(!registers.try_read(STATUS)?.interrupt() || has_factorial_interrupt(&registers)?)
    });
    match raised {
        // The guest has acknowledged it before.
        Err(error) if error == ETIMEDOUT => Ok(()),
        result => result,
    }
}

/// Reads the registers of an idle device that can be read from the hardware.
///
/// The driver itself keeps the operand of the factorial and the DMA registers.
pub(crate) fn read(registers: &Registers<'_>) -> Result<RegisterState> {
    check_presence(registers)?;
    Ok(RegisterState {
        status: registers.try_read(STATUS)?.settings(),
        liveness: registers.try_read(LIVENESS)?,
        factorial: registers.try_read(FACTORIAL)?.into_raw(),
        interrupts: registers.try_read(INTERRUPT_STATUS)?,
        ..RegisterState::RESET
    })
}

/// Writes the registers of an idle device, but raises no interrupt.
///
/// `EIO` if they do not read as they should afterwards.
pub(crate) fn write(core: &CoreDevice, state: &RegisterState) -> Result {
    {
        let registers = core.registers(BAR)?;
        check_presence(&registers)?;
        // The computation below must not raise an interrupt.
        registers.try_write_reg(STATUS::zeroed())?;
        registers.try_write_reg(FACTORIAL::of(state.operand))?;
    }
    wait_idle(core, Signals::Ignore, TRANSFER_TIMEOUT)?;

    let registers = core.registers(BAR)?;
    registers.try_write_reg(state.liveness.complement())?;
    registers.try_write_reg(state.status)?;
    let pending = registers.try_read(INTERRUPT_STATUS)?;
    registers.try_write_reg(INTERRUPT_ACKNOWLEDGE::from(pending.into_raw()))?;
    write_dma(&registers, &state.dma)?;

    let reads = read(&registers)?;
    if (reads.factorial, reads.liveness, reads.status)
        != (state.factorial, state.liveness, state.status)
    {
        return Err(EIO);
    }
    Ok(())
}

/// Writes the DMA registers that start nothing.
pub(crate) fn write_dma(registers: &Registers<'_>, dma: &DmaRegisters) -> Result {
    registers.try_write_reg(DMA_SOURCE::from(dma.source))?;
    registers.try_write_reg(DMA_DESTINATION::from(dma.destination))?;
    registers.try_write_reg(DMA_COUNT::from(dma.count))
}

/// Which way the internal buffer goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    /// From the device to the scratch page.
    Read,
    /// From the scratch page to the device.
    Write,
}

/// Moves the whole internal buffer of an idle device from or to a page, by the device's own DMA.
///
/// Takes the device 100 ms. The errors are those of [`CoreDevice::with_private_dma`].
pub(crate) fn move_buffer(
    core: &CoreDevice,
    page: &mut ScratchPage,
    direction: Direction,
) -> Result<(), vfio::pci::PassError> {
    core.with_private_dma(BAR, page, |registers, iova| {
        let (source, destination) = match direction {
            Direction::Read => (BUFFER, iova),
            Direction::Write => (iova, BUFFER),
        };
        let command = DMA_COMMAND::zeroed().with_to_memory(direction == Direction::Read);
        write_dma(
            registers,
            &DmaRegisters {
                source,
                destination,
                // CAST: A small constant.
                count: BUFFER_SIZE as u64,
                command,
            },
        )?;
        registers.try_write_reg(command.with_run(true))?;
        wait::until(Signals::Ignore, INTERVAL, TRANSFER_TIMEOUT, || {
            is_transferring(registers).map(|runs| !runs)
        })?;
        check_presence(registers)
    })
}
