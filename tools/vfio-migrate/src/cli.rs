// SPDX-License-Identifier: GPL-2.0-only

//! The command line.

use clap::{Parser, Subcommand};

use crate::commands;

/// Exit codes, and what to know before anything else; below `--help`.
const AFTER: &str = "\
A VFIO device belongs to the process that opened it, and a driver that migrates scrubs the device \
when it is opened and closed. What a command leaves in a device is therefore gone when the command \
ends: save and restore take options that set the device up and look at it in the same session.

Exit codes:
  0  done
  1  failed in the middle: an input or output error, a timeout
  2  wrong usage
  3  the environment is not right: not root, no such device, not bound to a VFIO driver, in use,
     no IOMMU, another kind of device
  4  refused by the driver, by the other side, or because the image is damaged or foreign
  5  done, but what arrived differs from what was sent

With --json each command prints one JSON object on standard output, also for an error; progress
and messages go to standard error.";

/// Saves, restores and migrates VFIO devices whose driver supports it.
#[derive(Debug, Parser)]
#[command(name = "vfio-migrate", version, after_help = AFTER, max_term_width = 100)]
pub struct Cli {
    /// Print the result as one JSON object.
    #[arg(long, global = true)]
    pub json: bool,

    /// Print nothing but results and errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List VFIO devices, the migration protocols each offers, and its state
    List(commands::list::List),
    /// Show a device's regions, capabilities, interrupts and migration state
    Info(commands::info::Info),
    /// Save a device's state to a file; the device runs on
    Save(commands::save::Save),
    /// Load a device's state from a file and let the device run
    Restore(commands::restore::Restore),
    /// Migrate a busy edu device with guest memory to another one and compare both
    Run(commands::run::Run),
    /// Migrate a device to another host that runs 'recv'
    Send(commands::send::Send),
    /// Take a device from another host that runs 'send'
    Recv(commands::recv::Recv),
    /// Show what a saved state holds
    Dump(commands::dump::Dump),
}
