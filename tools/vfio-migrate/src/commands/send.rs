// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate send`

use std::fmt;
use std::net::TcpStream;

use clap::Args;
use serde::Serialize;

use crate::commands::progress::Progress;
use crate::commands::setup::{Setup, Values};
use crate::edu::evidence::Evidence;
use crate::edu::guest::Guest;
use crate::error::{Error, Result};
use crate::migrate::live::{self, Event, Observer, Options, Statistics};
use crate::migrate::protocol::Protocol;
use crate::migrate::session::Session;
use crate::migrate::tcp::{self, Remote};
use crate::migrate::wire::{Hello, STREAM_IMAGE};
use crate::output::Output;
use crate::pci::Address;
use crate::vfio::IrqKind;

/// Migrate a device to another host that runs 'recv'.
///
/// Opens the device, sets it up as the options say and moves its state over TCP. When the other
/// side says that its device runs, this one stays stopped until it is closed; if anything fails
/// before that, this one runs on.
///
/// The connection is neither encrypted nor authenticated: use it in a network that you trust, or
/// through a tunnel.
#[derive(Args, Debug)]
pub struct Send {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF")]
    address: Address,

    /// Where 'recv' listens
    #[arg(long, value_name = "HOST:PORT")]
    to: String,

    /// Options for the registers and the internal buffer, done before the migration.
    #[command(flatten)]
    setup: Setup,

    /// Migrate a guest with this much memory that uses the edu meanwhile, as 'run' does
    #[arg(long, value_name = "SIZE", value_parser = crate::commands::size::memory)]
    memory: Option<u64>,

    /// Rounds of pre-copy
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Repeat the guest of --memory: the same memory, device state and transfers
    #[arg(long, value_name = "N", requires = "memory", default_value_t = 1)]
    seed: u64,

    /// The kind of interrupt of the guest of --memory
    #[arg(long, value_name = "KIND", requires = "memory", default_value = "msi")]
    irq: IrqKind,

    /// Read and write the data section instead of mapping it
    #[arg(long)]
    no_mmap: bool,

    /// Take buffers of at most this size; the default is the data section's
    #[arg(long, value_name = "SIZE", value_parser = crate::commands::size::buffer)]
    chunk: Option<u64>,
}

/// What was sent.
#[derive(Debug, Serialize)]
struct Sent {
    address: Address,
    to: String,
    protocol: Protocol,
    registers: Values,
    statistics: Statistics,
    guest: Option<Evidence>,
}

impl Send {
    /// Whether standard output is for a file.
    pub fn takes_stdout(&self) -> bool {
        self.setup.takes_stdout()
    }

    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let buffer = self.setup.load()?;
        let session = Session::open(self.address)?;
        let mut migration = session.migration(!self.no_mmap)?;
        let registers = self.setup.apply(&session, buffer.as_deref())?;
        let mut host = Host {
            guest: match self.memory {
                Some(bytes) => Some(Guest::boot(&session, bytes, self.seed, self.irq)?),
                None => None,
            },
            at_stop: None,
            progress: Progress::new(output),
        };
        let memory = host.guest.as_ref().map(|guest| guest.memory.clone());

        let identity = session.identity().ok_or_else(|| {
            Error::WrongDevice(format!("{} has no vendor and device number", self.address))
        })?;
        let hello = Hello {
            identity,
            stream: STREAM_IMAGE,
            memory: self.memory.unwrap_or(0),
        };
        output.note(format_args!("connecting to {}", self.to));
        let stream = TcpStream::connect(&self.to)
            .map_err(Error::network(format!("connecting to {}", self.to)))?;
        let (input, connection) = tcp::prepare(stream)?;
        output.note("connected; waiting for the other side to take the migration");
        let mut remote = Remote::offer(input, connection, hello)?;

        if let Some(guest) = &mut host.guest {
            guest.work()?;
        }
        let statistics = live::migrate(
            &mut *migration,
            memory.as_ref(),
            &mut remote,
            &mut host,
            Options {
                rounds: self.rounds,
                chunk: self.chunk,
            },
        )?;
        let at_stop = host.at_stop.take();
        drop(host);
        output.result(&Sent {
            address: self.address,
            to: self.to.clone(),
            protocol: migration.protocol(),
            registers,
            statistics,
            guest: at_stop,
        })
    }
}

/// The virtual machine around the guest, if there is one.
struct Host<'a> {
    guest: Option<Guest<'a>>,
    at_stop: Option<Evidence>,
    progress: Progress,
}

impl Observer for Host<'_> {
    fn event(&mut self, event: Event) {
        self.progress.event(event);
    }

    fn between_rounds(&mut self) -> Result<()> {
        self.guest.as_ref().map_or(Ok(()), |guest| guest.wait(3))
    }

    fn before_stop(&mut self) -> Result<()> {
        if let Some(guest) = &mut self.guest {
            let known = guest.stop(false)?;
            self.at_stop = Some(Evidence::of_stopped(known, &guest.memory));
        }
        Ok(())
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.registers)?;
        if let Some(guest) = &self.guest {
            write!(f, "{guest}")?;
        }
        let statistics = &self.statistics;
        writeln!(
            f,
            "{} sent to {} by {}: {} bytes of device state, {} pages of memory ({} dirty ones in \
             {} rounds); stopped for {:.1} ms; the target runs",
            self.address,
            self.to,
            self.protocol,
            statistics.state_bytes(),
            statistics.memory_pages,
            statistics.dirty_total(),
            statistics.rounds,
            statistics.stopped_seconds * 1e3,
        )
    }
}
