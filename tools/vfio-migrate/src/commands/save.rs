// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate save`

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::commands::progress::Progress;
use crate::commands::setup::{Setup, Values};
use crate::error::Result;
use crate::files::new_file::NewFile;
use crate::files::place;
use crate::migrate::dirty::PAGE;
use crate::migrate::live::{self, Options, Statistics};
use crate::migrate::protocol::{Phase, Protocol};
use crate::migrate::region::Layout;
use crate::migrate::session::Session;
use crate::migrate::target::Target;
use crate::output::Output;
use crate::pci::Address;

/// Save a device's state to a file; the device runs on.
///
/// Opens the device, sets it up as the options say (opening it has scrubbed it), saves it and lets
/// it run on. A regular file is written as a whole or not at all; a device or a FIFO is written in
/// place.
#[derive(Args, Debug)]
pub struct Save {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF")]
    address: Address,

    /// File to write; '-' is standard output, and the report goes to standard error then
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Options for the registers and the internal buffer, done before the save.
    #[command(flatten)]
    setup: Setup,

    /// Read and write the data section instead of mapping it
    #[arg(long)]
    no_mmap: bool,

    /// Take buffers of at most this size; the default is the data section's
    #[arg(long, value_name = "SIZE", value_parser = crate::commands::size::buffer)]
    chunk: Option<u64>,
}

/// What was saved.
#[derive(Debug, Serialize)]
struct Saved {
    address: Address,
    file: PathBuf,
    protocol: Protocol,
    region: Option<Layout>,
    registers: Values,
    statistics: Statistics,
}

impl Save {
    /// Whether standard output is for a file.
    pub fn takes_stdout(&self) -> bool {
        place::is_standard_output(&self.output) || self.setup.takes_stdout()
    }

    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        self.setup.check(None, Some(&self.output))?;
        let buffer = self.setup.load()?;
        let mut file = FileTarget(NewFile::create(&self.output)?);
        file.0.end_on_signals()?;
        let session = Session::open(self.address)?;
        let mut migration = session.migration(!self.no_mmap)?;
        let registers = self.setup.apply(&session, buffer.as_deref())?;
        let mut progress = Progress::new(output);
        let statistics = live::migrate(
            &mut *migration,
            None,
            &mut file,
            &mut progress,
            Options {
                rounds: 1,
                chunk: self.chunk,
            },
        )?;
        drop(progress);
        migration.enter(Phase::Running)?;
        file.0.persist()?;
        output.result(&Saved {
            address: self.address,
            file: self.output.clone(),
            protocol: migration.protocol(),
            region: migration.layout(),
            registers,
            statistics,
        })
    }
}

/// Takes the device's state into a file.
struct FileTarget(NewFile);

impl Target for FileTarget {
    fn device(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write(bytes)
    }

    fn page(&mut self, _: usize, _: &[u8; PAGE]) -> Result<()> {
        Ok(())
    }

    fn ready(&mut self) -> Result<()> {
        self.0.sync()
    }

    fn start(&mut self) -> Result<()> {
        Ok(())
    }

    fn abort(&mut self, _: &str) {}
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.registers)?;
        let statistics = &self.statistics;
        writeln!(
            f,
            "{} saved to {} by {}: {} bytes in {} buffers, {} of them while it ran; stopped for \
             {:.1} ms",
            self.address,
            place::in_words(&self.file, "standard output").display(),
            self.protocol,
            statistics.state_bytes(),
            statistics.buffers,
            statistics.precopy_bytes,
            statistics.stopped_seconds * 1e3,
        )
    }
}
