// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate dump`

use std::fmt;
use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::image::Image;
use crate::output::Output;

/// Show what a saved state holds: header, sections, checksums.
///
/// The registers of an edu are shown by name, other sections in hex (at most 256 bytes of each, all
/// with --full). A damaged image is shown as far as it is right; the exit code is 4 then.
#[derive(Args, Debug)]
pub struct Dump {
    /// File to read
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Show all bytes of every section
    #[arg(long)]
    full: bool,
}

impl Dump {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let bytes = fs::read(&self.file).map_err(Error::file(&self.file))?;
        let image = Image::read(&bytes)?;
        let refusal = image.refusal.clone();
        output.result(&Shown {
            image,
            most: if self.full { usize::MAX } else { 256 },
        });
        match refusal {
            None => Ok(()),
            Some(refusal) => Err(Error::Damaged(refusal)),
        }
    }
}

/// An image and how many bytes of each section to show.
struct Shown {
    image: Image,
    most: usize,
}

impl serde::Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.image.serialize(serializer)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Image {
            bytes,
            header,
            sections,
            end,
            refusal,
        } = &self.image;
        writeln!(f, "{bytes} bytes")?;
        if let Some(header) = header {
            writeln!(
                f,
                "header: {} bytes, format {}.{}",
                header.length, header.major, header.minor
            )?;
            writeln!(
                f,
                "  device {}, subsystem {}, revision {:#04x}; state version {}.{}",
                header.identity,
                header.subsystem,
                header.revision,
                header.state_major,
                header.state_minor
            )?;
            match header.total {
                Some(total) => writeln!(f, "  announces {total} bytes")?,
                None => writeln!(f, "  does not announce its length")?,
            }
        }
        for (number, section) in sections.iter().enumerate() {
            writeln!(
                f,
                "section {number}: type {}{}, {}, {} bytes for offset {:#x}, checksum {:#010x}",
                section.kind,
                section
                    .name
                    .map_or_else(String::new, |name| format!(" ({name})")),
                if section.mandatory {
                    "mandatory"
                } else {
                    "optional"
                },
                section.length,
                section.offset,
                section.crc32c
            )?;
            match &section.registers {
                Some(registers) => write!(f, "{registers}")?,
                None => hex(f, &section.payload, self.most)?,
            }
        }
        if let Some(end) = end {
            writeln!(
                f,
                "end: {} sections, {} bytes, checksum {:#010x}",
                end.sections, end.total, end.crc32c
            )?;
        }
        match refusal {
            None => writeln!(f, "complete, all checksums right"),
            Some(refusal) => writeln!(f, "NOT RIGHT: {refusal}"),
        }
    }
}

/// Shows bytes in rows of 16; rows that repeat the one before are left out.
fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8], most: usize) -> fmt::Result {
    let shown = &bytes[..bytes.len().min(most)];
    let mut before = None;
    let mut skipping = false;
    for (number, row) in shown.chunks(16).enumerate() {
        if before == Some(row) {
            if !skipping {
                writeln!(f, "    *")?;
            }
            skipping = true;
            continue;
        }
        skipping = false;
        before = Some(row);
        write!(f, "    {:04x} ", number * 16)?;
        row.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
        writeln!(f)?;
    }
    if shown.len() < bytes.len() {
        writeln!(f, "    ... {} more bytes", bytes.len() - shown.len())?;
    }
    Ok(())
}
