// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate recv`

use std::fmt;
use std::net::{SocketAddr, TcpListener};

use clap::Args;
use serde::Serialize;

use crate::commands::delivery::Delivery;
use crate::commands::setup::{Setup, Values};
use crate::edu::evidence::Evidence;
use crate::edu::BUFFER_SIZE;
use crate::error::{Error, Result};
use crate::migrate::memory::GuestMemory;
use crate::migrate::protocol::Protocol;
use crate::migrate::session::Session;
use crate::migrate::target::Resuming;
use crate::migrate::tcp::{self, Source};
use crate::migrate::wire::{Hello, STREAM_IMAGE};
use crate::output::Output;
use crate::pci::Address;
use crate::vfio::IrqKind;

/// Take a device from another host that runs 'send'.
///
/// Listens, takes one migration after the other into the device, and looks at it as the options
/// say. A migration that fails leaves a reset device.
///
/// The connection is neither encrypted nor authenticated: use it in a network that you trust, or
/// through a tunnel.
#[derive(Args, Debug)]
pub struct Recv {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF")]
    address: Address,

    /// Where to listen; port 0 takes a free one and prints it
    #[arg(long, value_name = "ADDR:PORT")]
    listen: String,

    /// End after one migration, with its exit code; a connection that begins none does not count
    #[arg(long)]
    once: bool,

    /// Options for the registers and the internal buffer, done when the device runs.
    #[command(flatten)]
    setup: Setup,

    /// Set the device's interrupt up before it runs, and tell whether one was pending
    #[arg(long, value_name = "KIND")]
    irq: Option<IrqKind>,

    /// Read and write the data section instead of mapping it
    #[arg(long)]
    no_mmap: bool,
}

/// What was received.
#[derive(Debug, Serialize)]
struct Received {
    address: Address,
    from: SocketAddr,
    protocol: Protocol,
    bytes: u64,
    memory: u64,
    interrupt_delivered: Delivery,
    registers: Values,
    guest: Option<Evidence>,
}

impl Recv {
    /// Whether standard output is for a file.
    pub fn takes_stdout(&self) -> bool {
        self.setup.takes_stdout()
    }

    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let buffer = self.setup.load()?;
        let listener = TcpListener::bind(&self.listen)
            .map_err(Error::network(format!("listening at {}", self.listen)))?;
        let at = listener.local_addr().map_err(Error::network("listening"))?;
        output.note(format_args!("listening at {at}"));
        for arrival in tcp::open(listener) {
            let source = match arrival {
                Ok(source) => source,
                Err(stranger @ Error::Stranger(_)) => {
                    output.note(stranger);
                    continue;
                }
                Err(error) => return Err(error),
            };
            output.note(format_args!("a source at {}", source.from));
            match self.serve(source, buffer.as_deref()) {
                Ok(received) => output.result(&received)?,
                Err(error) if self.once => return Err(error),
                Err(error) => output.error(&error),
            }
            if self.once {
                break;
            }
        }
        Ok(())
    }

    fn serve(&self, source: Source, buffer: Option<&[u8; BUFFER_SIZE]>) -> Result<Received> {
        let Source {
            connection: (mut input, mut reply),
            from,
            hello,
        } = source;
        let accepted = hello
            .and_then(|hello| Session::open(self.address).map(|session| (hello, session)))
            .and_then(|(hello, session)| self.accept(hello, &session).map(|it| (session, it)));
        let (session, memory) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tcp::refuse(&mut reply, &error);
                return Err(error);
            }
        };
        let mut migration = session.migration(!self.no_mmap)?;
        let mut owner = session.owner(self.irq);
        let resuming = Resuming::new(&mut *migration, &mut owner, memory.clone(), None);
        let mut target = match resuming {
            Ok(target) => target,
            Err(error) => {
                tcp::refuse(&mut reply, &error);
                return Err(error);
            }
        };
        tcp::receive(&mut input, &mut reply, &mut target)?;
        let bytes = target.bytes();

        let interrupt_delivered = Delivery::of(owner.interrupt.as_ref())?;
        let guest = match &memory {
            Some(memory) => Some(Evidence::of_resumed(&session, memory)?),
            None => None,
        };
        Ok(Received {
            address: self.address,
            from,
            protocol: migration.protocol(),
            bytes,
            memory: memory.map_or(0, |memory| memory.mapping().len() as u64),
            interrupt_delivered,
            registers: self.setup.apply(&session, buffer)?,
            guest,
        })
    }

    /// Decides whether an offer suits the device, and makes the memory for it.
    fn accept(&self, hello: Hello, session: &Session) -> Result<Option<GuestMemory>> {
        if session.identity() != Some(hello.identity) {
            let ours = session
                .identity()
                .map_or_else(|| "unknown".into(), |id| id.to_string());
            return Err(Error::WrongDevice(format!(
                "the source's device is {}, the target's {} is {ours}",
                hello.identity, self.address
            )));
        }
        if hello.stream != STREAM_IMAGE {
            return Err(Error::Protocol(format!(
                "a stream of type {}",
                hello.stream
            )));
        }
        session.migration(false)?;
        if hello.memory == 0 {
            return Ok(None);
        }
        let memory = GuestMemory::new(hello.memory)?;
        session.map_memory(&memory)?;
        Ok(Some(memory))
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.registers)?;
        if let Some(guest) = &self.guest {
            write!(f, "{guest}")?;
        }
        write!(f, "{}", self.interrupt_delivered)?;
        writeln!(
            f,
            "{} received from {} by {}: {} bytes of device state, {} KiB of memory; it runs",
            self.address,
            self.from,
            self.protocol,
            self.bytes,
            self.memory / 1024,
        )
    }
}
