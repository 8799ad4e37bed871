// SPDX-License-Identifier: GPL-2.0-only

//! Setting a device up and looking at it, within one session.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::edu::{Assignment, Edu, Register, BUFFER_SIZE};
use crate::error::{Error, Result};
use crate::files::input::Input;
use crate::files::new_file::NewFile;
use crate::files::place;
use crate::migrate::session::Session;

/// Options for the device's registers and internal buffer.
#[derive(Args, Clone, Debug, Default)]
pub struct Setup {
    /// Write a register; can be given several times, and the writes happen in that order.
    ///
    /// REG is a hex offset in BAR 0 or one of id, liveness, factorial, status, irq-status,
    /// irq-raise, irq-ack, dma-src, dma-dst, dma-count, dma-cmd. Accesses have 4 bytes, the DMA
    /// registers by name 8; ':4' or ':8' after REG says otherwise. VALUE is decimal, or hex after
    /// 0x. Writing 'factorial' waits for the result.
    #[arg(long, value_name = "REG=VALUE")]
    pub write: Vec<Assignment>,

    /// Read a register, after the writes; can be given several times.
    #[arg(long, value_name = "REG")]
    pub read: Vec<Register>,

    /// Fill the edu's internal buffer with this file's 4096 bytes, by the device's own DMA
    /// (after the writes; it changes the DMA registers). '-' is standard input.
    #[arg(long, value_name = "FILE")]
    pub buffer_in: Option<PathBuf>,

    /// Write the edu's internal buffer to this file, by the device's own DMA (after the reads; it
    /// changes the DMA registers). '-' is standard output.
    #[arg(long, value_name = "FILE")]
    pub buffer_out: Option<PathBuf>,
}

/// Registers and their values, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<String, u64>);

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(name, value)| writeln!(f, "{name} = {value:#x}"))
    }
}

impl Setup {
    /// Reads the bytes of `--buffer-in`, before a device is opened.
    pub fn load(&self) -> Result<Option<Box<[u8; BUFFER_SIZE]>>> {
        let Some(path) = &self.buffer_in else {
            return Ok(None);
        };
        Input::open(path)?.read_exactly().map(Some)
    }

    /// Whether standard output is for the internal buffer.
    pub fn takes_stdout(&self) -> bool {
        self.buffer_out
            .as_deref()
            .is_some_and(place::is_standard_output)
    }

    /// Refuses two files on one standard stream; `input` and `output` are the command's own files.
    pub fn check(&self, input: Option<&Path>, output: Option<&Path>) -> Result<()> {
        let both = |one: Option<&Path>, other: Option<&Path>| {
            one.is_some_and(place::is_standard) && other.is_some_and(place::is_standard)
        };
        let refuse = |what| {
            Err(Error::Usage(format!(
                "only one file can be standard {what}"
            )))
        };
        if both(input, self.buffer_in.as_deref()) {
            return refuse("input");
        }
        if output.is_some_and(place::is_standard_output) && self.takes_stdout() {
            return refuse("output");
        }
        Ok(())
    }

    /// Does all that the options ask for, on a running device.
    pub fn apply(&self, session: &Session, buffer: Option<&[u8; BUFFER_SIZE]>) -> Result<Values> {
        let mut values = Values::default();
        if self.write.is_empty()
            && self.read.is_empty()
            && buffer.is_none()
            && self.buffer_out.is_none()
        {
            return Ok(values);
        }
        let edu = Edu::of(session)?;
        for Assignment { register, value } in &self.write {
            edu.write(*register, *value)?;
            if *register == Register::FACTORIAL {
                edu.computed()?;
            }
        }
        if buffer.is_none() && self.buffer_out.is_none() && self.read.is_empty() {
            return Ok(values);
        }
        if let Some(bytes) = buffer {
            edu.fill_buffer(session.page()?, bytes)?;
        }
        for register in &self.read {
            values.0.insert(register.to_string(), edu.read(*register)?);
        }
        if let Some(path) = &self.buffer_out {
            let bytes = edu.dump_buffer(session.page()?)?;
            let mut file = NewFile::create(path)?;
            file.end_on_signals()?;
            file.write(&*bytes)?;
            file.persist()?;
        }
        Ok(values)
    }
}
