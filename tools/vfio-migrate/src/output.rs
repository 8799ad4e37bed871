// SPDX-License-Identifier: GPL-2.0-only

//! Results on standard output, progress on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::io::Errno;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::sys;

/// How the program speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Results are JSON objects.
    pub json: bool,
    /// Nothing on standard error but errors.
    pub quiet: bool,
    /// Where results go.
    pub report: Report,
}

/// Where results go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Report {
    /// To standard output.
    Stdout,
    /// To standard error, since a file goes to standard output.
    Stderr,
}

impl Report {
    /// Whether a terminal shows it.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    /// Columns and rows of the terminal.
    pub fn terminal_size(self) -> Option<(usize, usize)> {
        match self {
            Self::Stdout => sys::terminal_size(io::stdout().as_fd()),
            Self::Stderr => sys::terminal_size(io::stderr().as_fd()),
        }
    }

    /// What a block that changes is drawn on.
    pub fn draw_target(self) -> ProgressDrawTarget {
        match self {
            Self::Stdout => ProgressDrawTarget::stdout(),
            Self::Stderr => ProgressDrawTarget::stderr(),
        }
    }

    /// Writes text; [`Error::NoReader`] if nobody reads it any more.
    ///
    /// Does not use `io::stdout`, which treats a file that cannot be written as success.
    pub fn write(self, text: &str) -> Result<()> {
        match self {
            Self::Stdout if sys::stdout_was_closed() => Err(Error::file("standard output")(
                io::Error::other("it is closed"),
            )),
            Self::Stdout => write_all(io::stdout().as_fd(), text, "standard output"),
            Self::Stderr => write_all(io::stderr().as_fd(), text, "standard error"),
        }
    }
}

fn write_all(file: BorrowedFd<'_>, text: &str, name: &'static str) -> Result<()> {
    let mut bytes = text.as_bytes();
    while !bytes.is_empty() {
        match sys::write(file, bytes) {
            Ok(0) => return Err(Error::file(name)(io::ErrorKind::WriteZero.into())),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::PIPE) => return Err(Error::NoReader),
            Err(errno) => return Err(Error::file(name)(errno.into())),
        }
    }
    Ok(())
}

impl Output {
    /// Prints the result of a command that has done its work.
    pub fn result<T: Serialize + Display>(&self, result: &T) -> Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(result).unwrap_or_else(|error| error.to_string())
        } else {
            result.to_string()
        };
        seen_enough(self.line(text.trim_end()))
    }

    /// Prints one of many results, on a line of its own; [`Error::NoReader`] if nobody reads it any
    /// more.
    pub fn line(&self, text: impl Display) -> Result<()> {
        self.report.write(&format!("{text}\n"))
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
            // The program fails already.
            let _ = self.line(error.to_json());
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

/// Turns [`Error::NoReader`] into success: the reader of a command's results has seen enough.
pub fn seen_enough(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::NoReader) => Ok(()),
        result => result,
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
