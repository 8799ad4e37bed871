// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate save`

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::dirty::PAGE;
use crate::error::{Error, Result};
use crate::live::{self, Options, Statistics};
use crate::migration::{Phase, Protocol};
use crate::output::Output;
use crate::pci::Address;
use crate::progress::Progress;
use crate::region::Layout;
use crate::session::Session;
use crate::setup::{Setup, Values};
use crate::target::Target;

/// Save a device's state to a file; the device runs on.
///
/// Opens the device, sets it up as the options say (opening it has scrubbed it), saves it and lets
/// it run on. The file is written as a whole or not at all.
#[derive(Args, Debug)]
pub struct Save {
    /// Address of the device, such as 0000:00:04.0
    #[arg(value_name = "BDF")]
    address: Address,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Options for the registers and the internal buffer, done before the save.
    #[command(flatten)]
    setup: Setup,

    /// Read and write the data section instead of mapping it
    #[arg(long)]
    no_mmap: bool,

    /// Take buffers of at most this size; the default is the data section's
    #[arg(long, value_name = "SIZE", value_parser = crate::size::buffer)]
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
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let buffer = self.setup.load()?;
        let mut file = FileTarget::new(&self.output)?;
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
        file.persist()?;
        output.result(&Saved {
            address: self.address,
            file: self.output.clone(),
            protocol: migration.protocol(),
            region: migration.layout(),
            registers,
            statistics,
        });
        Ok(())
    }
}

/// A file that appears under its name only when it is complete.
struct FileTarget {
    file: NamedTempFile,
    path: PathBuf,
}

impl FileTarget {
    fn new(path: &Path) -> Result<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".vfio-migrate-")
            .tempfile_in(directory)
            .map_err(Error::file(directory))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    fn persist(self) -> Result<()> {
        self.file
            .persist(&self.path)
            .map(drop)
            .map_err(|error| Error::file(&self.path)(error.error))
    }
}

impl Target for FileTarget {
    fn device(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::file(&self.path))
    }

    fn page(&mut self, _: usize, _: &[u8; PAGE]) -> Result<()> {
        Ok(())
    }

    fn ready(&mut self) -> Result<()> {
        self.file
            .as_file()
            .sync_all()
            .map_err(Error::file(&self.path))
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
            self.file.display(),
            self.protocol,
            statistics.state_bytes(),
            statistics.buffers,
            statistics.precopy_bytes,
            statistics.stopped_seconds * 1e3,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_complete_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let mut file = FileTarget::new(&path).unwrap();
        file.device(b"abc").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

        let mut file = FileTarget::new(&path).unwrap();
        file.device(b"abc").unwrap();
        file.ready().unwrap();
        assert!(!path.exists());
        file.persist().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"abc");
    }
}
