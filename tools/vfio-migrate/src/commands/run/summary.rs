// SPDX-License-Identifier: GPL-2.0-only

//! The end of a run, in words.

use std::fmt;

use serde::Serialize;

use super::{IrqKind, Phase, Session, Statistics};
use crate::edu::{Done, Snapshot};
use crate::migrate::protocol::Protocol;
use crate::migrate::region::Layout;
use crate::pci::{Address, Identity};

/// One of the two devices.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    address: Address,
    identity: Option<Identity>,
    protocol: Protocol,
}

impl Side {
    /// Describes a device.
    pub fn of(session: &Session, protocol: Protocol) -> Self {
        Self {
            address: session.address(),
            identity: session.identity(),
            protocol,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if let Some(identity) = self.identity {
            write!(f, " ({identity})")?;
        }
        write!(f, " by {}", self.protocol)
    }
}

/// What a run did and found.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Nothing was lost.
    pub equal: bool,
    /// The kernel's release.
    pub kernel: String,
    /// Repeats the run.
    pub seed: u64,
    /// Source.
    pub source: Side,
    /// Target.
    pub target: Side,
    /// Layout of the source's region.
    pub region: Option<Layout>,
    /// Bytes of guest memory.
    pub memory: u64,
    /// What was moved.
    pub statistics: Statistics,
    /// What the guest did in the meantime.
    pub done: Done,
    /// A transfer was under way when the source was stopped.
    pub in_flight: bool,
    /// The kind of interrupt.
    pub irq: IrqKind,
    /// The interrupt that was pending on the source came on the target.
    pub interrupt_delivered: bool,
    /// The registers of the source.
    pub registers: Snapshot,
    /// Registers that differ on the target, in words.
    pub registers_differ: Vec<String>,
    /// The internal buffers are the same.
    pub buffer_equal: bool,
    /// Pages of memory that differ.
    pub memory_differs: Vec<usize>,
    /// The target's phase.
    pub target_state: Phase,
}

impl Summary {
    /// What is equal and what is not.
    pub fn verdict(&self) -> String {
        let word = |equal: bool| if equal { "equal" } else { "different" };
        let mut verdict = format!(
            "registers {}, internal buffer {}, memory {}",
            word(self.registers_differ.is_empty()),
            word(self.buffer_equal),
            word(self.memory_differs.is_empty())
        );
        if !self.interrupt_delivered {
            verdict.push_str(", interrupt lost");
        }
        verdict
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statistics = &self.statistics;
        let Done {
            to_memory,
            to_device,
            factorials,
            interrupts,
        } = self.done;
        writeln!(f, "kernel         {}", self.kernel)?;
        writeln!(f, "source         {}", self.source)?;
        writeln!(f, "target         {}", self.target)?;
        if let Some(layout) = &self.region {
            writeln!(f, "region         {layout}")?;
        }
        writeln!(
            f,
            "guest          {} KiB of memory (seed {}); {to_memory} transfers to memory, \
             {to_device} to the device, {factorials} factorials, {interrupts} interrupts{}",
            self.memory / 1024,
            self.seed,
            if self.in_flight {
                ", the last transfer under way at the stop"
            } else {
                ""
            }
        )?;
        writeln!(
            f,
            "device state   {} bytes in {} buffers, {} of them while the source ran",
            statistics.state_bytes(),
            statistics.buffers,
            statistics.precopy_bytes
        )?;
        let dirty: Vec<String> = statistics.dirty_pages.iter().map(u64::to_string).collect();
        writeln!(
            f,
            "rounds         {} of pre-copy; {} dirty pages ({} by query, the last one stopped), {} \
             pages sent",
            statistics.rounds,
            statistics.dirty_total(),
            dirty.join(", "),
            statistics.memory_pages
        )?;
        writeln!(
            f,
            "time stopped   {:.1} ms of {:.1} ms",
            statistics.stopped_seconds * 1e3,
            statistics.total_seconds * 1e3
        )?;
        let kind = match self.irq {
            IrqKind::Msi => "MSI",
            IrqKind::Intx => "INTx",
        };
        let fate = if self.interrupt_delivered {
            "and came"
        } else {
            "but did not come"
        };
        writeln!(
            f,
            "interrupt      {kind}, pending on the source {fate} on the target"
        )?;
        for difference in &self.registers_differ {
            writeln!(f, "differs        {difference}")?;
        }
        if !self.memory_differs.is_empty() {
            let some: Vec<String> = self
                .memory_differs
                .iter()
                .take(8)
                .map(usize::to_string)
                .collect();
            writeln!(
                f,
                "differs        {} pages of memory: {}{}",
                self.memory_differs.len(),
                some.join(", "),
                if self.memory_differs.len() > some.len() {
                    "..."
                } else {
                    ""
                }
            )?;
        }
        writeln!(f, "{}", self.verdict())
    }
}
