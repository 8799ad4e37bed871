// SPDX-License-Identifier: GPL-2.0-only

//! The edu device: its registers, and what a program does with them.
//!
//! QEMU's `docs/specs/edu.rst` specifies the device.

pub mod evidence;
pub mod guest;
mod register;
mod session;
mod workload;

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::migrate::memory::DmaPage;

pub use register::{Assignment, Register, Snapshot, Width};
pub use session::registers;
pub use workload::{Done, Workload};

/// Bytes of the internal buffer.
pub const BUFFER_SIZE: usize = 4096;
/// Address of the internal buffer for the device's own DMA.
const BUFFER: u64 = 0x40000;

/// Status: computing a factorial.
const STATUS_COMPUTING: u64 = 1 << 0;
/// Status: interrupt when a factorial is done.
pub const STATUS_IRQ: u64 = 1 << 7;

/// DMA command: run.
const DMA_RUN: u64 = 1 << 0;
/// DMA command: from the device to memory.
const DMA_TO_MEMORY: u64 = 1 << 1;
/// DMA command: interrupt when done.
const DMA_IRQ: u64 = 1 << 2;

/// How long a computation or a transfer may take; a transfer takes 100 ms.
const PATIENCE: Duration = Duration::from_secs(10);

/// Register access.
pub trait Registers: Send + Sync {
    /// Reads a register.
    fn read(&self, offset: u64, width: Width) -> Result<u64>;
    /// Writes a register.
    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()>;
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From memory into the internal buffer.
    ToDevice,
    /// From the internal buffer to memory.
    ToMemory,
}

/// One DMA transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// I/O virtual address of the memory.
    pub iova: u64,
    /// Offset in the internal buffer.
    pub buffer: u64,
    /// Bytes.
    pub count: u64,
    /// Interrupt when done.
    pub interrupt: bool,
}

impl Transfer {
    /// All of the internal buffer, from or to a page.
    fn of_buffer(direction: Direction, page: &DmaPage) -> Self {
        Self {
            direction,
            iova: page.iova,
            buffer: 0,
            count: BUFFER_SIZE as u64,
            interrupt: false,
        }
    }
}

/// An edu device.
#[derive(Clone, Copy)]
pub struct Edu<'a> {
    registers: &'a dyn Registers,
}

impl<'a> Edu<'a> {
    /// The edu behind these registers.
    pub fn new(registers: &'a dyn Registers) -> Self {
        Self { registers }
    }

    /// Reads a register in its own width.
    pub fn read(&self, register: Register) -> Result<u64> {
        self.registers.read(register.offset, register.width)
    }

    /// Writes a register in its own width.
    pub fn write(&self, register: Register, value: u64) -> Result<()> {
        self.registers.write(register.offset, register.width, value)
    }

    /// Reads every register.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::of(self)
    }

    /// Starts a transfer and returns without waiting for its end.
    pub fn start(&self, transfer: Transfer) -> Result<()> {
        let Transfer {
            direction,
            iova,
            buffer,
            count,
            interrupt,
        } = transfer;
        let (source, destination, command) = match direction {
            Direction::ToDevice => (iova, BUFFER + buffer, DMA_RUN),
            Direction::ToMemory => (BUFFER + buffer, iova, DMA_RUN | DMA_TO_MEMORY),
        };
        self.write(Register::DMA_SRC, source)?;
        self.write(Register::DMA_DST, destination)?;
        self.write(Register::DMA_COUNT, count)?;
        self.write(
            Register::DMA_CMD,
            command | if interrupt { DMA_IRQ } else { 0 },
        )
    }

    /// Waits for the end of a transfer.
    pub fn finish(&self) -> Result<()> {
        self.until_clear(Register::DMA_CMD, DMA_RUN, "the end of a DMA transfer")
    }

    /// Does a whole transfer.
    pub fn transfer(&self, transfer: Transfer) -> Result<()> {
        self.finish()?;
        self.start(transfer)?;
        self.finish()
    }

    /// Has the device compute a factorial, modulo 2^32.
    pub fn factorial(&self, operand: u32) -> Result<u32> {
        self.write(Register::FACTORIAL, operand.into())?;
        self.computed()?;
        // CAST: the register has 32 bits.
        Ok(self.read(Register::FACTORIAL)? as u32)
    }

    /// Waits for the end of a computation.
    pub fn computed(&self) -> Result<()> {
        self.until_clear(
            Register::STATUS,
            STATUS_COMPUTING,
            "the end of a computation",
        )
    }

    /// Fills the internal buffer through a page that is mapped for the device.
    pub fn fill_buffer(&self, page: &DmaPage, bytes: &[u8; BUFFER_SIZE]) -> Result<()> {
        page.memory.write(0, bytes);
        self.transfer(Transfer::of_buffer(Direction::ToDevice, page))
    }

    /// Reads the internal buffer through a page that is mapped for the device.
    pub fn dump_buffer(&self, page: &DmaPage) -> Result<Box<[u8; BUFFER_SIZE]>> {
        // A transfer that goes nowhere must not look like one that brought zeroes.
        page.memory.write(0, &[0xa5; BUFFER_SIZE]);
        self.transfer(Transfer::of_buffer(Direction::ToMemory, page))?;
        let mut bytes = Box::new([0; BUFFER_SIZE]);
        page.memory.read(0, &mut *bytes);
        Ok(bytes)
    }

    fn until_clear(&self, register: Register, bit: u64, what: &str) -> Result<()> {
        let start = Instant::now();
        while self.read(register)? & bit != 0 {
            if start.elapsed() > PATIENCE {
                return Err(Error::Timeout {
                    what: what.into(),
                    seconds: PATIENCE.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// `operand!` modulo 2^32, as the device computes it.
pub fn factorial(operand: u32) -> u32 {
    // From 34 on every factorial has 32 factors of two.
    (1..=operand.min(34)).fold(1, u32::wrapping_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factorials() {
        assert_eq!(factorial(0), 1);
        assert_eq!(factorial(5), 120);
        assert_eq!(factorial(13), 1_932_053_504);
        assert_eq!(factorial(33), 0x8000_0000);
        assert_eq!(factorial(34), 0);
        assert_eq!(factorial(u32::MAX), 0);
    }
}
