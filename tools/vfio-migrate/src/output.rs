// SPDX-License-Identifier: GPL-2.0-only

//! Results on standard output, progress on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Result};

/// How the program speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Results are JSON objects.
    pub json: bool,
    /// Nothing on standard error but errors.
    pub quiet: bool,
}

impl Output {
    /// Prints a result.
    pub fn result<T: Serialize + Display>(&self, result: &T) {
        let text = if self.json {
            serde_json::to_string_pretty(result).unwrap_or_else(|error| error.to_string())
        } else {
            result.to_string()
        };
        // A closed pipe is no reason to fail.
        let _ = writeln!(io::stdout(), "{}", text.trim_end());
    }

    /// Prints one of many results, on a line of its own.
    pub fn line(&self, text: impl Display) -> Result<()> {
        writeln!(io::stdout(), "{text}").map_err(Error::file("standard output"))
    }

    /// Prints what is being done.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Prints an error, with what can be done about it.
    pub fn error(&self, error: &Error) {
        let mut stderr = io::stderr();
        let _ = writeln!(stderr, "vfio-migrate: {error}");
        if let Some(remedy) = error.remedy() {
            let _ = writeln!(stderr, "  what to do: {remedy}");
        }
        if self.json && !error.is_told() {
            let _ = writeln!(io::stdout(), "{}", error.to_json());
        }
    }

    /// A bar for long work, drawn on a terminal only.
    pub fn bar(&self, what: &'static str, unit: Unit, total: u64) -> ProgressBar {
        let target = if self.quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let template = match unit {
            Unit::Bytes => "{msg:24} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
            Unit::Pages => "{msg:24} {wide_bar} {pos}/{len} pages {eta}",
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(total), target)
            .with_style(style)
            .with_message(what)
    }
}

/// What a bar counts.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Pages of memory.
    Pages,
}
