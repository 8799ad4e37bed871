// SPDX-License-Identifier: GPL-2.0-only

//! The guest's accesses to the registers.

use kernel::{
    io::register::Register,
    prelude::*, //
};
use migration::{
    device::{
        Access,
        Width, //
    },
    dirty::DirtyLog, //
};
use vfio::pci::CoreDevice;

use super::{
    tracking::SetUp,
    VirtualFunction, //
};
use crate::{
    physical_function::{
        self,
        Outcome,
        Posted, //
    },
    registers::*,
    state::QUEUES, //
};

impl VirtualFunction {
    /// The guest reads registers.
    pub(super) fn guest_read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        match access.width {
            Width::B4 => self.read_register(core, access).map(u64::from),
            Width::B8 => {
                let [low, high] = halves(access);
                let low = self.read_register(core, low)?;
                Ok(u64::from(low) | u64::from(self.read_register(core, high)?) << 32)
            }
            // Part of a register.
            Width::B1 | Width::B2 => {
                let offset = access.offset & !3;
                let whole = Access {
                    offset,
                    width: Width::B4,
                    ..access
                };
                let value = self.read_register(core, whole)? >> (8 * (access.offset - offset));
                // CAST: The enum's values are the widths in bytes. No overflow: 1 or 2.
                Ok((value & ((1 << (8 * access.width as u32)) - 1)).into())
            }
        }
    }

    /// The guest writes registers.
    pub(super) fn guest_write(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        match access.width {
            // CAST: The register is 32 bits wide, and so is the access.
            Width::B4 => self.write_register(core, log, access, value as u32),
            Width::B8 => {
                let [low, high] = halves(access);
                // CAST: The low half.
                self.write_register(core, log, low, value as u32)?;
                // CAST: The high half.
                self.write_register(core, log, high, (value >> 32) as u32)
            }
            // The data sheet has accesses of 32 bits only.
            Width::B1 | Width::B2 => core.check_decoding(),
        }
    }

    /// The guest reads a register.
    fn read_register(&mut self, core: &CoreDevice, access: Access) -> Result<u32> {
        // CAST: The register is 32 bits wide, and so is the access.
        let value = core.guest_read(access)? as u32;
        let offset = offset_of(access);
        if offset == V2PMAILBOX::OFFSET {
            let mailbox = V2PMAILBOX::from_raw(value | core::mem::take(&mut self.sticky));
            if let Some(mut posted) = self.posted {
                let outcome = posted.look(&core.registers(BAR)?, mailbox)?;
                self.end_request(posted, outcome);
            }
            return Ok(mailbox.into_raw());
        }
        Ok(match STATISTICS.iter().position(|at| *at == offset) {
            Some(index) => self.statistics.shown(index, value),
            None => value,
        })
    }

    /// The guest writes a register.
    fn write_register(
        &mut self,
        core: &CoreDevice,
        log: &mut DirtyLog,
        access: Access,
        value: u32,
    ) -> Result {
        let offset = offset_of(access);
        let write = || core.guest_write(access, value.into());
        match offset {
            CTRL::OFFSET if CTRL::from_raw(value).rst() => {
                self.set_up(core, log, SetUp::All, write)?;
                self.history.function_reset();
                self.posted = None;
                Ok(())
            }
            V2PMAILBOX::OFFSET if V2PMAILBOX::from_raw(value).req() => {
                self.post_request(core, access, value)
            }
            EIMS::OFFSET => {
                write()?;
                self.enabled.set(value);
                Ok(())
            }
            EIMC::OFFSET => {
                write()?;
                self.enabled.clear(value);
                Ok(())
            }
            _ => match queue_register(offset) {
                Some(QueueRegister::ReceiveTail(index)) => {
                    self.post_descriptors(core, log, index, value);
                    write()
                }
                Some(QueueRegister::SetUp(what)) => self.set_up(core, log, what, write),
                None => write(),
            },
        }
    }

    /// The guest tells the PF that there is a message.
    ///
    /// Waits for the answer for a moment, since many a guest never looks for it.
    fn post_request(&mut self, core: &CoreDevice, access: Access, value: u32) -> Result {
        let request = physical_function::message(&core.registers(BAR)?)?;
        core.guest_write(access, value.into())?;
        if !request.is_request() {
            return Ok(());
        }
        if let Some(posted) = self.posted {
            // The guest has overwritten it.
            self.history.unanswered(posted.request.kind());
        }
        self.posted = Some(Posted::new(request));
        self.wait_answer(core, false)
    }

    /// Waits for the answer to the last request; see [`Posted::wait`].
    pub(super) fn wait_answer(&mut self, core: &CoreDevice, is_urgent: bool) -> Result {
        let Some(mut posted) = self.posted else {
            return Ok(());
        };
        let outcome = posted.wait(core, is_urgent, &mut self.sticky)?;
        self.end_request(posted, outcome);
        Ok(())
    }

    /// Notes what became of the last request.
    fn end_request(&mut self, posted: Posted, outcome: Option<Outcome>) {
        match outcome {
            Some(Outcome::Answered(verdict, answer)) => {
                self.history.record(posted.request, verdict, &answer);
                self.posted = None;
            }
            Some(Outcome::Ignored) => self.posted = None,
            None => self.posted = Some(posted),
        }
    }
}

/// A register that affects which memory a queue writes.
enum QueueRegister {
    /// RDT: the guest hands over descriptors.
    ReceiveTail(usize),
    /// The guest says where the memory is, or switches the queue on or off.
    SetUp(SetUp),
}

/// Returns what the register at `offset` does, if anything.
fn queue_register(offset: usize) -> Option<QueueRegister> {
    let index = (offset % (QUEUES * QUEUE)) / QUEUE;
    Some(match offset - index * QUEUE {
        RDT::OFFSET => QueueRegister::ReceiveTail(index),
        RDBAL::OFFSET
        | RDBAH::OFFSET
        | RDLEN::OFFSET
        | SRRCTL::OFFSET
        | RDH::OFFSET
        | RXDCTL::OFFSET => QueueRegister::SetUp(SetUp::Receive(index)),
        TDBAL::OFFSET
        | TDBAH::OFFSET
        | TDLEN::OFFSET
        | TXDCTL::OFFSET
        | TDWBAL::OFFSET
        | TDWBAH::OFFSET => QueueRegister::SetUp(SetUp::Transmit(index)),
        _ => return None,
    })
}

/// Returns the two registers that an access of 64 bits goes to.
fn halves(access: Access) -> [Access; 2] {
    let low = Access {
        width: Width::B4,
        ..access
    };
    let high = Access {
        // No overflow: offsets lie within the BAR.
        offset: access.offset + 4,
        ..low
    };
    [low, high]
}
