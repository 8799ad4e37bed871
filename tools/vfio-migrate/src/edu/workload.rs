// SPDX-License-Identifier: GPL-2.0-only

//! What keeps a device busy while it migrates: DMA at random places, and factorials.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{factorial, Direction, Edu, Registers, Transfer, BUFFER_SIZE};
use crate::error::{Error, Result};
use crate::migrate::dirty::PAGE;
use crate::migrate::memory::GuestMemory;

/// What a workload did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Done {
    /// Transfers from the device to memory.
    pub to_memory: u64,
    /// Transfers from memory to the device.
    pub to_device: u64,
    /// Factorials.
    pub factorials: u64,
    /// Interrupts that were delivered.
    pub interrupts: u64,
}

/// A thread that uses a device as a guest's driver would.
pub struct Workload {
    thread: Option<JoinHandle<Result<Done>>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    halt: AtomicBool,
    transfers: AtomicU64,
}

impl Workload {
    /// Starts the thread.
    pub fn start(registers: Box<dyn Registers>, pages: usize, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            work(
                &Edu::new(&*registers),
                pages,
                &mut fastrand::Rng::with_seed(seed),
                &theirs,
            )
        });
        Self {
            thread: Some(thread),
            shared,
        }
    }

    /// Waits until that many more transfers are done, or the thread has ended.
    pub fn wait_for(&self, transfers: u64, patience: Duration) -> Result<()> {
        let start = Instant::now();
        let goal = self.shared.transfers.load(Ordering::Relaxed) + transfers;
        while self.shared.transfers.load(Ordering::Relaxed) < goal {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Ok(());
            }
            if start.elapsed() > patience {
                return Err(Error::Timeout {
                    what: "the device's next DMA transfer".into(),
                    seconds: patience.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops the thread once it has finished its present work; the device is then idle.
    pub fn halt(&mut self) -> Result<Done> {
        self.shared.halt.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(Error::Protocol("the workload's thread panicked".into())),
            None => Ok(Done::default()),
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.halt();
    }
}

/// A transfer from the device to a random place in memory.
pub fn random_write(pages: usize, random: &mut fastrand::Rng) -> Transfer {
    random_transfer(Direction::ToMemory, pages, random)
}

/// A transfer within one page of memory and within the internal buffer.
fn random_transfer(direction: Direction, pages: usize, random: &mut fastrand::Rng) -> Transfer {
    let count = random.usize(1..=BUFFER_SIZE);
    let buffer = random.usize(0..=BUFFER_SIZE - count);
    let in_page = random.usize(0..=PAGE - count);
    let iova = GuestMemory::IOVA + (random.usize(0..pages) * PAGE + in_page) as u64;
    Transfer {
        direction,
        iova,
        buffer: buffer as u64,
        count: count as u64,
        interrupt: random.bool(),
    }
}

fn work(edu: &Edu<'_>, pages: usize, random: &mut fastrand::Rng, shared: &Shared) -> Result<Done> {
    let mut done = Done::default();
    while !shared.halt.load(Ordering::Relaxed) {
        let direction = if random.u8(0..8) == 0 {
            Direction::ToDevice
        } else {
            Direction::ToMemory
        };
        let transfer = random_transfer(direction, pages, random);
        edu.finish()?;
        edu.start(transfer)?;
        // The device computes while it transfers.
        let operand = random.u32(0..40);
        let result = edu.factorial(operand)?;
        if result != factorial(operand) {
            return Err(Error::Protocol(format!(
                "the device computed {operand}! = {result:#x} instead of {:#x}",
                factorial(operand)
            )));
        }
        edu.finish()?;
        done.factorials += 1;
        match direction {
            Direction::ToDevice => done.to_device += 1,
            Direction::ToMemory => done.to_memory += 1,
        }
        shared.transfers.fetch_add(1, Ordering::Relaxed);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_stay_within_a_page_and_the_buffer() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10_000 {
            let transfer = random_write(3, &mut random);
            let place = transfer.iova - GuestMemory::IOVA;
            assert!(transfer.count > 0);
            assert!(transfer.buffer + transfer.count <= BUFFER_SIZE as u64);
            assert_eq!(place / 4096, (place + transfer.count - 1) / 4096);
            assert!(place + transfer.count <= 3 * 4096);
        }
    }
}
