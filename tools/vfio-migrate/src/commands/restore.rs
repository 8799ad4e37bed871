// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate restore`

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::guest::IRQ_PATIENCE;
use crate::image;
use crate::migration::Protocol;
use crate::output::{Output, Unit};
use crate::region::Layout;
use crate::session::Session;
use crate::setup::{Setup, Values};
use crate::target::{Resuming, Target};
use crate::vfio::IrqKind;

/// Load a device's state from a file and let the device run.
///
/// Checks the image, opens the device, loads it, lets the device run and looks at it as the options
/// say. An image that the driver refuses leaves a reset device and exit code 4.
#[derive(Args, Debug)]
pub struct Restore {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF")]
    address: Address,

    /// File to read
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,

    /// Options for the registers and the internal buffer, done when the device runs.
    #[command(flatten)]
    setup: Setup,

    /// Set the device's interrupt up before it runs, and tell whether one was pending
    #[arg(long, value_name = "KIND")]
    irq: Option<IrqKind>,

    /// Leave it to the driver to find out whether the image is right
    #[arg(long)]
    no_check: bool,

    /// Read and write the data section instead of mapping it
    #[arg(long)]
    no_mmap: bool,

    /// Hand over buffers of at most this size; the default is the data section's
    #[arg(long, value_name = "SIZE", value_parser = crate::size::buffer)]
    chunk: Option<u64>,
}

/// What was restored.
#[derive(Debug, Serialize)]
struct Restored {
    address: Address,
    file: PathBuf,
    protocol: Protocol,
    region: Option<Layout>,
    bytes: u64,
    seconds: f64,
    interrupt_delivered: Option<bool>,
    registers: Values,
}

impl Restore {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let buffer = self.setup.load()?;
        let bytes = fs::read(&self.input).map_err(Error::file(&self.input))?;
        if !self.no_check {
            image::check(&bytes, None)?;
        }
        let session = Session::open(self.address)?;
        if !self.no_check {
            image::check(&bytes, session.identity())?;
        }
        let mut migration = session.migration(!self.no_mmap)?;
        let mut owner = session.owner(self.irq);
        let start = Instant::now();
        let chunk = self
            .chunk
            .map(|chunk| usize::try_from(chunk).unwrap_or(usize::MAX));
        let mut target = Resuming::new(&mut *migration, &mut owner, None, chunk)?;
        if let Err(error) = load(&mut target, &bytes, output) {
            target.abort("");
            return Err(
                error.because(|| match image::check(&bytes, session.identity()) {
                    Ok(()) => "the image itself is in order".into(),
                    Err(error) => error.to_string(),
                }),
            );
        }
        let seconds = start.elapsed().as_secs_f64();
        let interrupt_delivered = match &owner.interrupt {
            Some(interrupt) => Some(interrupt.wait(IRQ_PATIENCE)? != 0),
            None => None,
        };
        let registers = self.setup.apply(&session, buffer.as_deref())?;
        output.result(&Restored {
            address: self.address,
            file: self.input.clone(),
            protocol: migration.protocol(),
            region: migration.layout(),
            bytes: bytes.len() as u64,
            seconds,
            interrupt_delivered,
            registers,
        });
        Ok(())
    }
}

fn load(target: &mut Resuming<'_>, bytes: &[u8], output: &Output) -> Result<()> {
    let bar = output.bar("device state", Unit::Bytes, bytes.len() as u64);
    for piece in bytes.chunks(target.chunk()) {
        target.device(piece)?;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    target.ready()?;
    target.start()
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.registers)?;
        if let Some(delivered) = self.interrupt_delivered {
            writeln!(
                f,
                "interrupt {}",
                if delivered {
                    "delivered"
                } else {
                    "not pending"
                }
            )?;
        }
        writeln!(
            f,
            "{} restored from {} by {}: {} bytes in {:.1} ms; it runs",
            self.address,
            self.file.display(),
            self.protocol,
            self.bytes,
            self.seconds * 1e3,
        )
    }
}
