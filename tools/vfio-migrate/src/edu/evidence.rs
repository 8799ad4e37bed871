// SPDX-License-Identifier: GPL-2.0-only

//! What a source and a target print of a guest, so that a user can compare them.

use std::fmt;

use serde::Serialize;

use super::guest::Known;
use super::{Edu, Snapshot};
use crate::error::Result;
use crate::migrate::digest::Digest;
use crate::migrate::memory::GuestMemory;
use crate::migrate::session::Session;

/// A guest's device and memory at the moment at which it was stopped, or at which it goes on.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    registers: Snapshot,
    buffer_digest: String,
    memory_digest: String,
}

impl Evidence {
    /// Returns what a guest knew when it was stopped.
    pub fn of_stopped(known: Known, memory: &GuestMemory) -> Self {
        Self {
            registers: known.registers,
            buffer_digest: Digest::of(&*known.buffer).to_string(),
            memory_digest: memory.digest().to_string(),
        }
    }

    /// Reads what a guest finds that goes on.
    pub fn of_resumed(session: &Session, memory: &GuestMemory) -> Result<Self> {
        let edu = Edu::of(session)?;
        edu.finish()?;
        edu.computed()?;
        let memory_digest = memory.digest().to_string();
        let registers = edu.snapshot()?;
        let buffer = edu.dump_buffer(session.page()?)?;
        Ok(Self {
            registers,
            buffer_digest: Digest::of(&*buffer).to_string(),
            memory_digest,
        })
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (register, value) in self.registers.iter() {
            writeln!(f, "{register} = {}", register.show(value))?;
        }
        writeln!(f, "internal buffer {}", self.buffer_digest)?;
        writeln!(f, "memory {}", self.memory_digest)
    }
}
