// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate dump`

mod json;
mod text;

use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::files::input::Input;
use crate::image::{Image, Show};
use crate::output::{seen_enough, Output};

use json::Json;
use text::Text;

/// Show what a saved state holds: header, sections, checksums.
///
/// The registers of an edu are shown by name, other sections in hex (at most 256 bytes of each, all
/// with --full). A damaged image is shown as far as it is valid, with exit code 4.
#[derive(Args, Debug)]
pub struct Dump {
    /// File to read; '-' is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Show all bytes of every section
    #[arg(long)]
    full: bool,
}

/// What is known after the image was read.
struct Outcome {
    /// Bytes of the file, or those that were read if it is not regular.
    bytes: u64,
    /// What is wrong with it.
    refusal: Option<String>,
}

/// Prints an image part by part.
trait Print: Show {
    /// Called when all was read.
    fn finish(&mut self, outcome: &Outcome) -> Result<()>;
}

impl Dump {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let input = Input::open(&self.file)?;
        if output.json {
            show(input, Json::new(output.report))
        } else {
            show(input, Text::new(output.report, self.full))
        }
    }
}

/// Reads an image and prints it.
fn show(mut input: Input, mut printer: impl Print) -> Result<()> {
    let mut image = Image::new()?;
    let shown = image.read(&mut input, &mut printer);
    if matches!(shown, Err(Error::NoReader)) {
        return Ok(());
    }
    shown?;
    let outcome = Outcome {
        bytes: input.length().unwrap_or(image.position()),
        refusal: image.final_refusal(),
    };
    seen_enough(printer.finish(&outcome))?;
    outcome.refusal.map(Error::Damaged).map_or(Ok(()), Err)
}
