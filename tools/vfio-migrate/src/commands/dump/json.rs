// SPDX-License-Identifier: GPL-2.0-only

//! An image as one JSON object, written as it is read.

use serde::Serialize;

use super::{Outcome, Print};
use crate::error::Result;
use crate::image::{EndInfo, HeaderInfo, SectionInfo, Show};
use crate::output::Report;

/// Prints an image as JSON.
pub struct Json {
    report: Report,
    has_header: bool,
    has_section: bool,
    end: Option<EndInfo>,
}

impl Json {
    /// Prints nothing yet.
    pub fn new(report: Report) -> Self {
        Self {
            report,
            has_header: false,
            has_section: false,
            end: None,
        }
    }

    /// Writes the header's member and the beginning of the sections'.
    fn head(&mut self, header: Option<&HeaderInfo>) -> Result<()> {
        self.has_header = true;
        let header = pretty(&header, "  ");
        self.report
            .write(&format!("{{\n  \"header\": {header},\n  \"sections\": ["))
    }
}

impl Show for Json {
    fn header(&mut self, header: &HeaderInfo) -> Result<()> {
        self.head(Some(header))
    }

    fn section(&mut self, section: &SectionInfo, _: &[u8]) -> Result<()> {
        let comma = match std::mem::replace(&mut self.has_section, true) {
            true => ",",
            false => "",
        };
        let section = pretty(section, "    ");
        self.report.write(&format!("{comma}\n    {section}"))
    }

    fn end(&mut self, end: &EndInfo) -> Result<()> {
        self.end = Some(*end);
        Ok(())
    }
}

impl Print for Json {
    fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        if !self.has_header {
            self.head(None)?;
        }
        let close = match self.has_section {
            true => "\n  ]",
            false => "]",
        };
        self.report.write(&format!(
            "{close},\n  \"end\": {},\n  \"refusal\": {},\n  \"bytes\": {}\n}}\n",
            pretty(&self.end, "  "),
            pretty(&outcome.refusal, "  "),
            outcome.bytes
        ))
    }
}

/// A value that begins on a line with that indentation.
fn pretty<T: Serialize>(value: &T, indentation: &str) -> String {
    // Numbers and strings can always be written.
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string());
    text.replace('\n', &format!("\n{indentation}"))
}
