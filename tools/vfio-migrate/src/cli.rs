// SPDX-License-Identifier: GPL-2.0-only

//! The command line.

use clap::{Parser, Subcommand};

use crate::commands;
use crate::vfio::Way;

/// Exit codes, and what to know before anything else; below `--help`.
const AFTER: &str = "\
A VFIO device belongs to the process that opened it, and a driver that migrates scrubs the device \
when it is opened and closed. What a command leaves in a device is therefore gone when the command \
ends: save and restore take options that set the device up and look at it in the same session.

Examples:
  vfio-migrate list
  vfio-migrate save 0000:00:04.0 -o edu.img --write factorial=5 --write liveness=0x12345678
  vfio-migrate dump edu.img
  vfio-migrate restore 0000:00:05.0 -i edu.img --read factorial --read liveness
  vfio-migrate run --from 0000:00:04.0 --to 0000:00:05.0
  vfio-migrate recv 0000:00:04.0 --listen 0.0.0.0:7000 --once
  vfio-migrate send 0000:00:04.0 --to other.host:7000
  vfio-migrate watch 0000:00:04.0 --events
  vfio-migrate dirty 0000:00:04.0 --for 30 -o pages.png
  vfio-migrate check 0000:00:04.0 --only v2-stream

Exit codes:
  0  done
  1  failed in the middle: an input or output error, a timeout
  2  wrong usage
  3  the environment is not right: not root, no such device, not bound to a VFIO driver, in use,
     no IOMMU, another kind of device, too little locked memory allowed, debugfs or tracefs not
     mounted
  4  refused by the driver, by the other side, or because the image is damaged or foreign
  5  done, but what arrived differs from what was sent, or the device failed a check

With --json each command prints one JSON object on standard output, also for an error; watch
and dirty print one a line; progress and messages go to standard error.

The file '-' is standard input or output. With a file on standard output, what would be printed
there goes to standard error. A regular file that is written appears as a whole or not at all, with
the mode and owner of the one that it replaces; all else is written in place.

A report that cannot be written is a failure (1). When whoever reads it has seen enough (a pipe to
head), that is no error: watch and dirty end with 0, check with 1 unless all checks ran.";

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

    /// The kernel's interface through which devices are opened; without it an iommufd if the kernel
    /// has one and a file for the device, else a container.
    #[arg(long, global = true, value_name = "WAY", env = "VFIO_MIGRATE_IOMMU")]
    pub iommu: Option<Way>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do; a text at a variant would replace the command's own.
#[derive(Debug, Subcommand)]
pub enum Command {
    List(commands::list::List),
    Info(commands::info::Info),
    Save(commands::save::Save),
    Restore(commands::restore::Restore),
    Run(commands::run::Run),
    Send(commands::send::Send),
    Recv(commands::recv::Recv),
    Dump(commands::dump::Dump),
    Watch(commands::watch::Watch),
    Dirty(commands::dirty::Dirty),
    Check(commands::check::Check),
}

impl Command {
    /// Whether standard output is for a file, so that reports go to standard error.
    pub fn takes_stdout(&self) -> bool {
        match self {
            Self::Save(save) => save.takes_stdout(),
            Self::Restore(restore) => restore.takes_stdout(),
            Self::Send(send) => send.takes_stdout(),
            Self::Recv(recv) => recv.takes_stdout(),
            Self::Dirty(dirty) => dirty.takes_stdout(),
            Self::List(_)
            | Self::Info(_)
            | Self::Run(_)
            | Self::Dump(_)
            | Self::Watch(_)
            | Self::Check(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_all_commands() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for right in [
            "vfio-migrate --json list --no-open",
            "vfio-migrate info 00:04.0 --json",
            "vfio-migrate save 0000:00:04.0 -o f --write factorial=5 --write 4=0x1 --read 8 --chunk 4K",
            "vfio-migrate restore 00:04.0 -i f --read dma-src:8 --buffer-out b --no-check --irq intx",
            "vfio-migrate run --from 00:04.0 --to 00:05.0 --memory 1M --rounds 2 --seed 7 --in-flight",
            "vfio-migrate send 00:04.0 --to host:7000 --memory 64M --seed 2",
            "vfio-migrate recv 00:04.0 --listen 0.0.0.0:7000 --once --irq msi",
            "vfio-migrate dump f --full",
            "vfio-migrate watch 00:04.0",
            "vfio-migrate watch 00:04.0 --interval 100ms --count 3 --events --json",
            "vfio-migrate dirty 00:04.0",
            "vfio-migrate dirty 00:04.0 --for 10 --interval 100ms -o x/pages.svg --json",
            "vfio-migrate dirty 00:04.0 --for 500ms -o pages.PNG",
            "vfio-migrate dirty 00:04.0 -o -",
            "vfio-migrate save 00:04.0 -o - --buffer-in -",
            "vfio-migrate dump -",
            "vfio-migrate check 00:04.0",
            "vfio-migrate check 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001 --only v2*read --tap",
            "vfio-migrate check --list",
            "vfio-migrate check 00:04.0 --time-limit 10",
            "vfio-migrate check 00:04.0 --alone v2-stream.end",
            "vfio-migrate check 00:04.0 --iommu iommufd",
            "vfio-migrate --iommu container list",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "vfio-migrate",
            "vfio-migrate save 00:04.0",
            "vfio-migrate save 00:04.0 -o f --write 8:8=1",
            "vfio-migrate run --from 00:04.0 --to 00:05.0 --memory 1G",
            "vfio-migrate run --from 00:04.0 --to 00:05.0 --rounds 0",
            "vfio-migrate send 00:04.0 --to host:7000 --seed 2",
            "vfio-migrate dump f --chunk 0",
            "vfio-migrate watch",
            "vfio-migrate watch 00:04.0 --interval 1ms",
            "vfio-migrate watch 00:04.0 --count 0",
            "vfio-migrate dirty",
            "vfio-migrate dirty 00:04.0 --for 0",
            "vfio-migrate dirty 00:04.0 --for -1",
            "vfio-migrate dirty 00:04.0 -o pages.jpg",
            "vfio-migrate dirty 00:04.0 -o png",
            "vfio-migrate check",
            "vfio-migrate check 00:04.0 --tap --list",
            "vfio-migrate check 00:04.0 --tap --json",
            "vfio-migrate check 00:04.0 --time-limit 0",
            "vfio-migrate check 00:04.0 --iommu type1",
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
