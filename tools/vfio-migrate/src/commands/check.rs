// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate check`

use clap::Args;

use crate::address::Address;
use crate::check::{self, List, Report, Subject};
use crate::error::{Error, Result};
use crate::output::Output;

/// Check whether a device keeps to the rules of the migration protocols that it offers.
///
/// Opens the device many times, saves, loads, damages and resets its state: nothing of it is kept.
/// Each check names the rule that it holds the device to. The exit code is 0 only when none fails.
#[derive(Args, Debug)]
pub struct Check {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF|UUID", required_unless_present = "list")]
    address: Option<Address>,

    /// Run only the checks whose names contain this text, in which '*' stands for any text.
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "",
        hide_default_value = true
    )]
    only: String,

    /// Print the Test Anything Protocol, version 13.
    #[arg(long, conflicts_with = "json")]
    tap: bool,

    /// Print the names of the checks and their rules; no device is opened.
    #[arg(long, conflicts_with_all = ["tap", "address"])]
    list: bool,
}

impl Check {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let checks: Vec<_> = check::all()
            .into_iter()
            .filter(|check| check.matches(&self.only))
            .collect();
        if checks.is_empty() {
            return Err(Error::NoCheck(self.only.clone()));
        }
        let Some(address) = self.address else {
            output.result(&List::new(&checks));
            return Ok(());
        };
        let subject = Subject::new(address);
        subject.offers_migration()?;
        if self.tap {
            output.line(format_args!("TAP version 13\n1..{}", checks.len()))?;
        }
        let mut entries = Vec::new();
        for (check, number) in checks.iter().zip(1..) {
            let entry = check.run(&subject);
            if self.tap {
                output.line(entry.tap(number))?;
            } else if !output.json {
                output.line(&entry)?;
            }
            entries.push(entry);
        }
        let report = Report::new(address, entries);
        if self.tap {
            output.line(format_args!("# {report}"))?;
        } else {
            output.result(&report);
        }
        match report.failed() {
            0 => Ok(()),
            failed => Err(Error::Nonconforming(failed)),
        }
    }
}
