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
mod live;
mod memory;
mod migration;
mod new_file;
mod output;
mod pci;
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
use output::Output;

fn main() -> ExitCode {
    let Cli {
        json,
        quiet,
        command,
    } = Cli::parse();
    let output = Output { json, quiet };
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
            output.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
