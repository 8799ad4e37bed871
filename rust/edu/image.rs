// SPDX-License-Identifier: GPL-2.0-only

//! The edu's sections in a migration image, state version 1.0.
//!
//! `Documentation/image-format.rst` has their layout.

use kernel::prelude::*;
use migration::{
    checklist::{
        Item,
        Sections, //
    },
    image::{
        Payload,
        Section, //
    }, //
};

use crate::{
    registers::{
        BUFFER_SIZE,
        FACTORIAL,
        INTERRUPT_STATUS,
        LIVENESS,
        STATUS, //
    },
    transfer::DmaRegisters, //
};

/// Major version of the sections.
pub(crate) const STATE_MAJOR: u16 = 1;

/// Minor version of the sections.
pub(crate) const STATE_MINOR: u16 = 0;

/// Section type of the registers.
pub(crate) const REGISTERS: u16 = 1;

/// Section type of the internal buffer.
pub(crate) const BUFFER: u16 = 2;

/// The sections of a complete image.
pub(crate) const SECTIONS: Sections = Sections::new(&[
    // CAST: A small constant.
    Item::running(BUFFER, BUFFER_SIZE as u64),
    Item::stopped(REGISTERS, RegisterState::SIZE),
]);

/// Returns the types of the sections whose content a transfer into the buffer changes, if one runs.
pub(crate) fn busy(is_transferring: bool) -> &'static [u16] {
    match is_transferring {
        true => &[BUFFER],
        false => &[],
    }
}

/// Returns the content of the internal buffer from its section; `EINVAL` if its size is wrong.
pub(crate) fn read_buffer<'a>(section: &Section<'a>) -> Result<&'a [u8; BUFFER_SIZE]> {
    section.payload.try_into().map_err(|_| EINVAL)
}

/// The registers of a stopped device, in the order in which the registers section has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RegisterState {
    /// Status, only what the guest can change.
    pub(crate) status: STATUS,
    /// Liveness check as it reads.
    pub(crate) liveness: LIVENESS,
    /// Operand of the last factorial.
    pub(crate) operand: u32,
    /// Its result.
    pub(crate) factorial: u32,
    /// Interrupts raised and not acknowledged.
    pub(crate) interrupts: INTERRUPT_STATUS,
    /// The DMA registers.
    pub(crate) dma: DmaRegisters,
}

impl RegisterState {
    /// Bytes of the payload.
    pub(crate) const SIZE: u64 = 56;

    /// The values of the registers after a reset.
    pub(crate) const RESET: Self = Self {
        status: STATUS::from_raw(0),
        liveness: LIVENESS::from_raw(0),
        operand: FACTORIAL::ZERO_OPERAND,
        factorial: 0,
        interrupts: INTERRUPT_STATUS::from_raw(0),
        dma: DmaRegisters::RESET,
    };

    /// Appends the payload.
    pub(crate) fn write(&self, payload: &mut Payload) -> Result {
        payload.put_u32(self.status.into_raw())?;
        payload.put_u32(self.liveness.into_raw())?;
        payload.put_u32(self.operand)?;
        payload.put_u32(self.factorial)?;
        payload.put_u32(self.interrupts.into_raw())?;
        payload.put_u32(0)?;
        payload.put_u64(self.dma.source)?;
        payload.put_u64(self.dma.destination)?;
        payload.put_u64(self.dma.count)?;
        payload.put_u64(self.dma.command.into_raw())
    }

    /// Reads the payload; `EINVAL` if its size is wrong or a device cannot have the state.
    pub(crate) fn read(section: &Section<'_>) -> Result<Self> {
        let mut fields = section.fields();
        let state = Self {
            status: fields.take_u32()?.into(),
            liveness: fields.take_u32()?.into(),
            operand: fields.take_u32()?,
            factorial: fields.take_u32()?,
            interrupts: fields.take_u32()?.into(),
            dma: {
                if fields.take_u32()? != 0 {
                    return Err(EINVAL);
                }
                DmaRegisters {
                    source: fields.take_u64()?,
                    destination: fields.take_u64()?,
                    count: fields.take_u64()?,
                    command: fields.take_u64()?.into(),
                }
            },
        };
        fields.finish()?;
        if !state.is_possible() {
            return Err(EINVAL);
        }
        Ok(state)
    }

    /// Returns whether an idle device can be in this state.
    fn is_possible(&self) -> bool {
        self.status == self.status.settings()
            && !self.dma.command.run()
            && self.factorial == factorial(self.operand)
    }
}

/// Returns n! modulo 2^32.
fn factorial(n: u32) -> u32 {
    if n >= FACTORIAL::ZERO_OPERAND {
        return 0;
    }
    (1..=n).fold(1, u32::wrapping_mul)
}
