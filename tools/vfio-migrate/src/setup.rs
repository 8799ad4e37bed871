// SPDX-License-Identifier: GPL-2.0-only

//! Setting a device up and looking at it, within one session.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::edu::{Assignment, Register, BUFFER_SIZE};
use crate::error::{Error, Result};
use crate::session::Session;

/// Options for the device's registers and internal buffer.
#[derive(Args, Clone, Debug, Default)]
pub struct Setup {
    /// Write a register; can be given several times, and happens in that order.
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
    /// (after the writes; it changes the DMA registers).
    #[arg(long, value_name = "FILE")]
    pub buffer_in: Option<PathBuf>,

    /// Write the edu's internal buffer to this file, by the device's own DMA (after the reads; it
    /// changes the DMA registers).
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
    /// The bytes of `--buffer-in`; read early, so that a wrong file is told before a device opens.
    pub fn load(&self) -> Result<Option<Box<[u8; BUFFER_SIZE]>>> {
        let Some(path) = &self.buffer_in else {
            return Ok(None);
        };
        let bytes = fs::read(path).map_err(Error::file(path))?;
        let len = bytes.len();
        let bytes = bytes
            .into_boxed_slice()
            .try_into()
            .map_err(|_| Error::File {
                path: path.clone(),
                source: std::io::Error::other(format!("has {len} bytes instead of {BUFFER_SIZE}")),
            })?;
        Ok(Some(bytes))
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
        let edu = session.edu()?;
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
            fs::write(path, *bytes).map_err(Error::file(path))?;
        }
        Ok(values)
    }
}
