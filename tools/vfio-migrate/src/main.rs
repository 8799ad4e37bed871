// SPDX-License-Identifier: GPL-2.0-only

//! vfio-migrate: saves, restores and migrates VFIO devices.
//!
//! From the bottom to the top: [`sys`] makes the system calls, [`vfio`] opens devices, a
//! [`migration::Migration`] speaks one migration protocol ([`region2018`]), [`live`] is the source's
//! side of every migration and a [`target::Target`] the other one, and [`commands`] puts them
//! together; [`watch`] looks at a device from outside,
//! and [`heat`] makes pictures of that; [`check`] holds a device to the rules.
//! What a command knows about the edu device stands in [`edu`].

#![deny(unsafe_code)]

mod address;
mod check;
mod cli;
mod commands;
mod digest;
mod dirty;
mod edu;
mod error;
#[cfg(test)]
mod fake;
mod guest;
mod heat;
mod image;
mod input;
mod live;
mod memory;
mod migration;
mod new_file;
mod output;
mod pci;
mod place;
mod progress;
mod region;
mod region2018;
mod session;
mod setup;
mod size;
mod sys;
mod target;
mod tcp;
#[cfg(test)]
mod tests;
mod vfio;
mod watch;
mod wire;
mod workload;

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
