// SPDX-License-Identifier: GPL-2.0-only

//! vfio-migrate: saves, restores and migrates VFIO devices.
//!
//! From the bottom to the top: [`sys`] makes the system calls, [`pci`] finds devices and [`vfio`]
//! opens them, [`migrate`] moves what they hold, [`check`] holds them to the rules, [`watch`] looks
//! at them from outside, and [`heat`] makes pictures of that. [`edu`] knows the edu device,
//! [`image`] what a saved state holds, [`files`] the files that a user names. [`commands`] puts
//! them together, as [`cli`] reads them from the command line.

#![deny(unsafe_code)]

mod check;
mod cli;
mod commands;
mod edu;
mod error;
mod files;
mod heat;
mod image;
mod migrate;
mod output;
mod pci;
mod sys;
#[cfg(test)]
mod tests;
mod vfio;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use error::Error;
use output::{seen_enough, Output, Report};

fn main() -> ExitCode {
    let Cli {
        json,
        quiet,
        iommu,
        command,
    } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_run(&error),
    };
    if let Some(way) = iommu {
        way.choose();
    }
    let report = match command.takes_stdout() {
        true => Report::Stderr,
        false => Report::Stdout,
    };
    let output = Output {
        json,
        quiet,
        report,
    };
    let result = match command {
        Command::List(list) => list.run(&output),
        Command::Info(info) => info.run(&output),
        Command::Save(save) => save.run(&output),
        Command::Restore(restore) => restore.run(&output),
        Command::Run(run) => run.run(&output),
        Command::Send(send) => send.run(&output),
        Command::Recv(recv) => recv.run(&output),
        Command::Dump(dump) => dump.run(&output),
        Command::Watch(watch) => watch.run(&output),
        Command::Dirty(dirty) => dirty.run(&output),
        Command::Check(check) => check.run(&output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, Error::NoReader) {
                output.error(&error);
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints what the command line asks for in the place of a command, or what is wrong with it.
fn not_run(error: &clap::Error) -> ExitCode {
    let output = Output {
        json: false,
        quiet: false,
        report: Report::Stdout,
    };
    if error.use_stderr() || output.report.is_terminal() {
        error.exit();
    }
    match seen_enough(output.report.write(&error.render().to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
