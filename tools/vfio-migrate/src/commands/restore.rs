// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate restore`

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::commands::delivery::Delivery;
use crate::commands::setup::{Setup, Values};
use crate::error::Result;
use crate::files::input::{Input, PIECE};
use crate::files::place;
use crate::image::{Image, Unseen};
use crate::migrate::protocol::Protocol;
use crate::migrate::region::Layout;
use crate::migrate::session::Session;
use crate::migrate::target::{Resuming, Target};
use crate::output::{Output, Unit};
use crate::pci::{Address, Identity};
use crate::vfio::IrqKind;

/// Most bytes of an image that are in memory at once.
const MOST: usize = 1 << 20;

/// Load a device's state from a file and let the device run.
///
/// Checks the image, opens the device, loads it, lets the device run and looks at it as the options
/// say. An image that comes through a pipe is checked while it is loaded. An image that the driver
/// refuses leaves a reset device and exit code 4.
#[derive(Args, Debug)]
pub struct Restore {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF")]
    address: Address,

    /// File to read; '-' is standard input
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
    #[arg(long, value_name = "SIZE", value_parser = crate::commands::size::buffer)]
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
    interrupt_delivered: Delivery,
    registers: Values,
}

impl Restore {
    /// Whether standard output is for a file.
    pub fn takes_stdout(&self) -> bool {
        self.setup.takes_stdout()
    }

    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        self.setup.check(Some(&self.input), None)?;
        let buffer = self.setup.load()?;
        let mut stream = Stream::open(Input::open(&self.input)?, !self.no_check)?;
        let session = Session::open(self.address)?;
        stream.check_begin(session.identity())?;
        let mut migration = session.migration(!self.no_mmap)?;
        let mut owner = session.owner(self.irq);
        let start = Instant::now();
        let chunk = self
            .chunk
            .map(|chunk| usize::try_from(chunk).unwrap_or(usize::MAX));
        let mut target = Resuming::new(&mut *migration, &mut owner, None, chunk)?;
        if let Err(error) = stream.load(&mut target, output) {
            target.abort("");
            return Err(error.because(|| stream.opinion(session.identity())));
        }
        let bytes = target.bytes();
        let seconds = start.elapsed().as_secs_f64();
        let interrupt_delivered = Delivery::of(owner.interrupt.as_ref())?;
        let registers = self.setup.apply(&session, buffer.as_deref())?;
        output.result(&Restored {
            address: self.address,
            file: self.input.clone(),
            protocol: migration.protocol(),
            region: migration.layout(),
            bytes,
            seconds,
            interrupt_delivered,
            registers,
        })
    }
}

/// An image on its way from a file to a device.
struct Stream {
    input: Input,
    /// What is known of the bytes that were read.
    image: Image,
    /// Bytes that were read before the device was opened.
    first: Vec<u8>,
    /// Bytes that are known to be wrong do not go to the device.
    checked: bool,
}

impl Stream {
    /// Begins to read. Checks the whole image if it can be read twice, else only its header.
    fn open(mut input: Input, checked: bool) -> Result<Self> {
        let mut image = Image::new()?;
        let mut first = Vec::new();
        if checked && input.can_rewind() {
            image.read(&mut input, &mut Unseen)?;
            image.check(None)?;
            input.rewind()?;
        } else if checked {
            while !image.has_header() && image.refusal().is_none() {
                let from = first.len();
                first.resize(from + PIECE, 0);
                let count = input.read(&mut first[from..])?;
                first.truncate(from + count);
                if count == 0 {
                    image.check(None)?;
                }
                image.feed(&first[from..], &mut Unseen)?;
            }
            image.check_begin(None)?;
        }
        Ok(Self {
            input,
            image,
            first,
            checked,
        })
    }

    /// Refuses the image of another device.
    fn check_begin(&self, device: Option<Identity>) -> Result<()> {
        if self.checked {
            self.image.check_begin(device)?;
        }
        Ok(())
    }

    /// Loads all of it and lets the device run.
    fn load(&mut self, target: &mut Resuming<'_>, output: &Output) -> Result<()> {
        let bar = output.bar(
            "device state",
            Unit::Bytes,
            self.input.length().unwrap_or_default(),
        );
        target.device(&self.first)?;
        if self.first.is_empty() {
            // The image is read from its beginning again.
            self.image = Image::new()?;
        }
        let mut bytes = vec![0; target.chunk().min(MOST)];
        loop {
            let count = self.input.read(&mut bytes)?;
            if count == 0 {
                break;
            }
            let piece = &bytes[..count];
            self.image.feed(piece, &mut Unseen)?;
            self.check_begin(None)?;
            target.device(piece)?;
            bar.inc(count as u64);
        }
        bar.finish_and_clear();
        if self.checked {
            self.image.check(None)?;
        }
        target.ready()?;
        target.start()
    }

    /// Says what this program finds in an image that the driver has refused.
    fn opinion(&mut self, device: Option<Identity>) -> String {
        // What the driver has not seen may be wrong, too.
        if self.input.can_rewind() {
            if let Err(error) = self.image.read(&mut self.input, &mut Unseen) {
                return error.to_string();
            }
            return match self.image.check(device) {
                Ok(()) => "the image itself is in order".into(),
                Err(error) => error.to_string(),
            };
        }
        match self.image.check_begin(device) {
            Ok(()) => "the image is in order as far as it was read".into(),
            Err(error) => error.to_string(),
        }
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.registers)?;
        write!(f, "{}", self.interrupt_delivered)?;
        writeln!(
            f,
            "{} restored from {} by {}: {} bytes in {:.1} ms; it runs",
            self.address,
            place::in_words(&self.file, "standard input").display(),
            self.protocol,
            self.bytes,
            self.seconds * 1e3,
        )
    }
}
