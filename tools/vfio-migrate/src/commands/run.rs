// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate run`

mod summary;

use clap::Args;

use crate::commands::progress::Progress;
use crate::edu;
use crate::edu::guest::{self, Comparison, Guest, Known, IRQ_PATIENCE};
use crate::error::{Error, Result};
use crate::migrate::live::{self, Event, Observer, Options, Statistics};
use crate::migrate::memory::GuestMemory;
use crate::migrate::protocol::Phase;
use crate::migrate::session::Session;
use crate::migrate::target::Resuming;
use crate::output::Output;
use crate::pci::Address;
use crate::sys;
use crate::vfio::IrqKind;

use summary::{Side, Summary};

/// Migrate a busy edu device with guest memory to another one and compare both.
///
/// A small live migration in one process. The source gets memory with random content and a state in
/// which no register is as after a reset, with an interrupt pending. A thread then uses the device
/// as a guest would: DMA to random pages, some DMA from memory, factorials that it checks. Memory
/// and device state go to the target in rounds while the thread works; then the source stops, the
/// rest goes, the target runs. At the end every register, the internal buffer and all memory are
/// compared and the pending interrupt must have come again. Exit code 5 if anything differs.
#[derive(Args, Debug)]
pub struct Run {
    /// Address of the source device, or UUID of a mediated one
    #[arg(long, value_name = "BDF")]
    from: Address,

    /// Address of the target device, or UUID of a mediated one
    #[arg(long, value_name = "BDF")]
    to: Address,

    /// Guest memory: whole pages, at most 224M
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = crate::commands::size::memory)]
    memory: u64,

    /// Rounds of pre-copy
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Transfers of the guest's to wait for between two rounds
    #[arg(long, value_name = "N", default_value_t = 3)]
    transfers: u64,

    /// Stop the source while a DMA transfer is under way
    #[arg(long)]
    in_flight: bool,

    /// The kind of interrupt
    #[arg(long, value_name = "KIND", default_value = "msi")]
    irq: IrqKind,

    /// Repeat a run: the same memory, device state and transfers
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Read and write the data sections instead of mapping them
    #[arg(long)]
    no_mmap: bool,

    /// Take buffers of at most this size; the default is the data section's
    #[arg(long, value_name = "SIZE", value_parser = crate::commands::size::buffer)]
    chunk: Option<u64>,
}

impl Run {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        if self.from == self.to {
            return Err(Error::WrongDevice(
                "source and target are the same device".into(),
            ));
        }
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
        output.note(format_args!("seed {seed}"));

        let source = Session::open(self.from)?;
        let target = Session::open(self.to)?;
        let mut from = source.migration(!self.no_mmap)?;
        let mut to = target.migration(!self.no_mmap)?;
        edu::registers(&target)?;
        let guest = Guest::boot(&source, self.memory, seed, self.irq)?;
        let source_memory = guest.memory.clone();
        let memory = GuestMemory::new(self.memory)?;
        target.map_memory(&memory)?;

        let mut host = Host {
            guest,
            known: None,
            transfers: self.transfers,
            in_flight: self.in_flight,
            progress: Progress::new(output),
        };
        host.guest.work()?;
        let mut owner = target.owner(Some(self.irq));
        let mut resuming = Resuming::new(&mut *to, &mut owner, Some(memory.clone()), None)?;
        let options = Options {
            rounds: self.rounds,
            chunk: self.chunk,
        };
        let statistics = live::migrate(
            &mut *from,
            Some(&source_memory),
            &mut resuming,
            &mut host,
            options,
        )?;
        let Host { guest, known, .. } = host;
        let known = known.ok_or_else(|| Error::Protocol("the guest was not stopped".into()))?;

        let interrupt = owner
            .interrupt
            .as_ref()
            .map(|interrupt| interrupt.wait(IRQ_PATIENCE));
        let interrupt_delivered = interrupt.transpose()?.is_some_and(|count| count != 0);
        // Reading the internal buffer is DMA, so memory is compared first.
        let memory_differs = source_memory.differences(&memory);
        let Comparison {
            registers,
            buffer_equal,
        } = guest::compare(&target, &known)?;
        drop(guest);

        let summary = Summary {
            equal: registers.is_empty()
                && buffer_equal
                && memory_differs.is_empty()
                && interrupt_delivered,
            kernel: sys::kernel_release(),
            seed,
            source: Side::of(&source, from.protocol()),
            target: Side::of(&target, to.protocol()),
            region: from.layout(),
            memory: self.memory,
            statistics,
            done: known.done,
            in_flight: self.in_flight,
            irq: self.irq,
            interrupt_delivered,
            registers: known.registers,
            registers_differ: registers,
            buffer_equal,
            memory_differs,
            target_state: to.phase()?,
        };
        output.result(&summary)?;
        if summary.equal {
            Ok(())
        } else {
            Err(Error::Differs(summary.verdict()))
        }
    }
}

/// The virtual machine around the guest: what a hypervisor does during a migration.
struct Host<'a> {
    guest: Guest<'a>,
    known: Option<Known>,
    transfers: u64,
    in_flight: bool,
    progress: Progress,
}

impl Observer for Host<'_> {
    fn event(&mut self, event: Event) {
        self.progress.event(event);
    }

    fn between_rounds(&mut self) -> Result<()> {
        self.guest.wait(self.transfers)
    }

    fn before_stop(&mut self) -> Result<()> {
        self.known = Some(self.guest.stop(self.in_flight)?);
        Ok(())
    }
}
