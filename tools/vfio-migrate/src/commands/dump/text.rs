// SPDX-License-Identifier: GPL-2.0-only

//! An image in words, written as it is read.

use std::fmt::{self, Write};

use super::{Outcome, Print};
use crate::error::Result;
use crate::image::{EndInfo, HeaderInfo, SectionInfo, Show};
use crate::output::Report;

/// Prints an image in words.
pub struct Text {
    report: Report,
    /// Most bytes of a section that are shown.
    most: usize,
    /// Sections so far.
    sections: u64,
}

impl Text {
    /// Prints nothing yet.
    pub fn new(report: Report, full: bool) -> Self {
        Self {
            report,
            most: if full { usize::MAX } else { 256 },
            sections: 0,
        }
    }
}

impl Show for Text {
    fn header(&mut self, header: &HeaderInfo) -> Result<()> {
        let total = match header.total {
            Some(total) => format!("announces {total} bytes"),
            None => "does not announce its length".into(),
        };
        self.report.write(&format!(
            "header: {} bytes, format {}.{}\n  device {}, subsystem {}, revision {:#04x}; state \
             version {}.{}\n  {total}\n",
            header.length,
            header.major,
            header.minor,
            header.identity,
            header.subsystem,
            header.revision,
            header.state_major,
            header.state_minor
        ))
    }

    fn section(&mut self, section: &SectionInfo, payload: &[u8]) -> Result<()> {
        let mut text = format!(
            "section {}: type {}{}, {}, {} bytes for offset {:#x}, checksum {:#010x}\n",
            self.sections,
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
        );
        self.sections += 1;
        // Writing to a string does not fail.
        let _ = match &section.registers {
            Some(registers) => write!(text, "{registers}"),
            None => hex(&mut text, payload, self.most),
        };
        self.report.write(&text)
    }

    fn end(&mut self, end: &EndInfo) -> Result<()> {
        self.report.write(&format!(
            "end: {} sections, {} bytes, checksum {:#010x}\n",
            end.sections, end.total, end.crc32c
        ))
    }
}

impl Print for Text {
    fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        let bytes = outcome.bytes;
        self.report.write(&match &outcome.refusal {
            None => format!("{bytes} bytes, complete, all checksums right\n"),
            Some(refusal) => format!("{bytes} bytes, NOT RIGHT: {refusal}\n"),
        })
    }
}

/// Shows bytes in rows of 16; rows that repeat the one before are left out.
fn hex(f: &mut String, bytes: &[u8], most: usize) -> fmt::Result {
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
