// SPDX-License-Identifier: GPL-2.0-only

//! A make-believe guest: memory, and a device whose every bit of state is in use.

use std::time::Duration;

use serde::Serialize;

use super::workload::random_write;
use super::{
    registers, Direction, Done, Edu, Register, Snapshot, Workload, BUFFER_SIZE, STATUS_IRQ,
};
use crate::error::{Error, Result};
use crate::migrate::memory::{DmaPage, GuestMemory};
use crate::migrate::session::Session;
use crate::vfio::{Interrupt, IrqKind};

/// How long an interrupt may take.
pub const IRQ_PATIENCE: Duration = Duration::from_secs(5);
/// How long a few transfers may take.
const WORK_PATIENCE: Duration = Duration::from_secs(30);

/// A guest on the source.
pub struct Guest<'a> {
    session: &'a Session,
    /// The guest's memory.
    pub memory: GuestMemory,
    page: &'a DmaPage,
    /// The guest's interrupt, pending and not acknowledged.
    interrupt: Interrupt,
    random: fastrand::Rng,
    workload: Option<Workload>,
}

/// A stopped guest's device, as the guest knows it.
#[derive(Clone, Debug)]
pub struct Known {
    /// All registers.
    pub registers: Snapshot,
    /// The internal buffer.
    pub buffer: Box<[u8; BUFFER_SIZE]>,
    /// What the guest did.
    pub done: Done,
}

/// How a device compares with what the guest knew of it.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Registers that differ, in words.
    pub registers: Vec<String>,
    /// The internal buffer is the same.
    pub buffer_equal: bool,
}

impl<'a> Guest<'a> {
    /// Brings a device and new memory into a state in which nothing is as after a reset.
    pub fn boot(session: &'a Session, bytes: u64, seed: u64, irq: IrqKind) -> Result<Self> {
        let mut random = fastrand::Rng::with_seed(seed);
        let memory = GuestMemory::new(bytes)?;
        memory.randomize(&mut random);
        session.map_memory(&memory)?;
        let page = session.page()?;
        let interrupt = Interrupt::new(session.device(), irq)?;

        let edu = Edu::of(session)?;
        let mut content = [0; BUFFER_SIZE];
        random.fill(&mut content);
        edu.fill_buffer(page, &content)?;
        edu.write(Register::LIVENESS, random.u32(..).into())?;
        edu.factorial(random.u32(5..33))?;
        edu.write(Register::STATUS, STATUS_IRQ)?;
        // The guest has not acknowledged this one yet.
        edu.write(Register::IRQ_RAISE, u64::from(random.u32(..) | (1 << 16)))?;
        if interrupt.wait(IRQ_PATIENCE)? == 0 {
            return Err(Error::Timeout {
                what: "an interrupt of the source".into(),
                seconds: IRQ_PATIENCE.as_secs(),
            });
        }
        Ok(Self {
            session,
            memory,
            page,
            interrupt,
            random,
            workload: None,
        })
    }

    /// Starts the guest's work with its device.
    pub fn work(&mut self) -> Result<()> {
        let registers = Box::new(registers(self.session)?.clone());
        let seed = self.random.u64(..);
        self.workload = Some(Workload::start(registers, self.memory.pages(), seed));
        Ok(())
    }

    /// Waits until the guest has made that many more transfers.
    pub fn wait(&self, transfers: u64) -> Result<()> {
        self.workload.as_ref().map_or(Ok(()), |workload| {
            workload.wait_for(transfers, WORK_PATIENCE)
        })
    }

    /// Stops the guest and notes what it knows of its device.
    ///
    /// With `in_flight` the guest starts a last transfer, which is still under way.
    pub fn stop(&mut self, in_flight: bool) -> Result<Known> {
        let mut done = self
            .workload
            .take()
            .map_or(Ok(Done::default()), |mut it| it.halt())?;
        let edu = Edu::of(self.session)?;
        let buffer = edu.dump_buffer(self.page)?;
        done.interrupts = self.interrupt.wait(Duration::ZERO)?;
        if in_flight {
            let mut transfer = random_write(self.memory.pages(), &mut self.random);
            debug_assert_eq!(transfer.direction, Direction::ToMemory);
            // Whether its interrupt is pending when the registers are read would be chance.
            transfer.interrupt = false;
            edu.start(transfer)?;
            done.to_memory += 1;
        }
        let mut registers = edu.snapshot()?;
        // A migration waits for the transfer to end.
        registers.clear(Register::DMA_CMD, 1);
        Ok(Known {
            registers,
            buffer,
            done,
        })
    }
}

/// Compares a device with what a guest knows of it.
pub fn compare(session: &Session, known: &Known) -> Result<Comparison> {
    let edu = Edu::of(session)?;
    edu.finish()?;
    edu.computed()?;
    let registers = known.registers.differences(&edu.snapshot()?);
    let buffer = edu.dump_buffer(session.page()?)?;
    Ok(Comparison {
        registers,
        buffer_equal: buffer == known.buffer,
    })
}
