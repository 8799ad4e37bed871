// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate check`

use std::process::Command;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::check::{self, List, Report, Runner, Subject};
use crate::error::{Error, Result};
use crate::output::Output;
use crate::pci::Address;
use crate::sys;
use crate::vfio::Way;

/// Check whether a device keeps to the rules of the migration protocols that it offers.
///
/// Opens the device many times, saves, loads, damages and resets its state: nothing of it is kept.
/// Each check names the rule that it holds the device to. The exit code is 0 only if no check
/// fails. Each check runs in a process of its own; if a signal or the time limit ends it, the check
/// has failed. Ctrl-C ends the current check and the suite, prints what was found, and gives exit
/// code 1.
#[derive(Args, Debug)]
pub struct Check {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF|UUID", required_unless_present = "list")]
    address: Option<Address>,

    /// Second device, of the same kind and in nobody's use, to which the checks of the area
    /// 'second-device' take the state of the first
    #[arg(long, value_name = "BDF|UUID", conflicts_with = "list")]
    to: Option<Address>,

    /// Run only the checks whose names contain this text, in which '*' stands for any text.
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "",
        hide_default_value = true
    )]
    only: String,

    /// Seconds that each check may take, from 1 to 86400; a check that takes longer is killed and
    /// has failed
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..=86400)
    )]
    time_limit: u64,

    /// Print the Test Anything Protocol, version 13.
    #[arg(long, conflicts_with = "json")]
    tap: bool,

    /// Print the names of the checks and their rules; no device is opened.
    #[arg(long, conflicts_with_all = ["tap", "address"])]
    list: bool,

    /// Run the check of exactly that name in this process, and print its verdict for the parent
    #[arg(long, value_name = "NAME", hide = true, conflicts_with_all = ["tap", "list", "only"])]
    alone: Option<String>,
}

impl Check {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        if let (Some(name), Some(address)) = (&self.alone, self.address) {
            return run_alone(name, address, self.to, output);
        }
        let checks: Vec<_> = check::all()
            .into_iter()
            .filter(|check| check.matches(&self.only))
            .collect();
        if checks.is_empty() {
            return Err(Error::NoCheck(self.only.clone()));
        }
        let Some(address) = self.address else {
            return output.result(&List::new(&checks));
        };
        Subject::new(address).offers_migration()?;
        if let Some(second) = self.to {
            if second == address {
                return Err(Error::WrongDevice(format!(
                    "--to is to name a second device, and {second} is the first"
                )));
            }
            Subject::new(second).offers_migration()?;
        }
        let report = self.report(&checks, address, output)?;
        if self.tap {
            output.line(format_args!("# {report}"))?;
        } else {
            output.result(&report)?;
        }
        match (report.failed(), report.not_run()) {
            (0, 0) => Ok(()),
            (0, not_run) => Err(Error::Unfinished(not_run)),
            (failed, _) => Err(Error::Nonconforming(failed)),
        }
    }

    /// Runs the checks and tells of each as it ends.
    fn report(&self, checks: &[check::Check], address: Address, output: &Output) -> Result<Report> {
        let mut runner = Runner::new(Duration::from_secs(self.time_limit))?;
        if self.tap {
            output.line(format_args!("TAP version 13\n1..{}", checks.len()))?;
        }
        let mut entries = Vec::new();
        for (check, number) in checks.iter().zip(1..) {
            let entry = runner.run(check, &mut in_a_child(check, address, self.to)?)?;
            if self.tap {
                output.line(entry.tap(number))?;
            } else if !output.json {
                output.line(&entry)?;
            }
            entries.push(entry);
        }
        Ok(Report::new(address, entries))
    }
}

/// The command whose process runs [`run_alone`].
fn in_a_child(check: &check::Check, address: Address, second: Option<Address>) -> Result<Command> {
    let program = std::env::current_exe().map_err(Error::file("/proc/self/exe"))?;
    let mut command = Command::new(program);
    command.args(["check", &address.to_string(), "--alone", &check.name]);
    if let Some(second) = second {
        command.args(["--to", &second.to_string()]);
    }
    if let Some(way) = Way::chosen().and_then(|way| way.to_possible_value()) {
        command.args(["--iommu", way.get_name()]);
    }
    Ok(command)
}

/// Runs one check in this process and prints its verdict as JSON.
fn run_alone(name: &str, address: Address, second: Option<Address>, output: &Output) -> Result<()> {
    sys::end_with_parent().map_err(Error::step("tying the process to its parent"))?;
    let check = check::all()
        .into_iter()
        .find(|check| check.name == name)
        .ok_or_else(|| Error::NoCheck(name.to_owned()))?;
    let subject = Subject::with_kept_stream(address).and_second(second);
    let verdict = check::alone(&check, &subject);
    output.line(serde_json::to_string(&verdict).unwrap_or_default())
}
