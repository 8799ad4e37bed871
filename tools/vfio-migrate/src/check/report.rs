// SPDX-License-Identifier: GPL-2.0-only

//! What the checks found: as a table, as JSON, in the Test Anything Protocol.

use std::fmt;

use serde::Serialize;

use super::{Check, Finding, Verdict};
use crate::pci::Address;

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The device keeps the rule.
    Pass,
    /// It does not.
    Fail,
    /// The rule leaves open what was found.
    Info,
    /// The rule does not apply to such a device.
    NotApplicable,
    /// The suite ended before its turn.
    NotRun,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Info => "info",
            Self::NotApplicable => "n/a",
            Self::NotRun => "not run",
        })
    }
}

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    name: String,
    /// How it ended.
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    rule: &'static str,
}

impl Entry {
    /// Makes the entry of a check.
    pub fn new(check: &Check, verdict: Verdict) -> Self {
        let (status, detail) = match verdict {
            Ok(()) => (Status::Pass, None),
            Err(Finding::Fail(text)) => (Status::Fail, Some(text)),
            Err(Finding::Info(text)) => (Status::Info, Some(text)),
            Err(Finding::NotApplicable(text)) => (Status::NotApplicable, Some(text)),
        };
        Self {
            name: check.name.clone(),
            status,
            detail,
            rule: check.rule,
        }
    }

    /// Makes the entry of a check whose turn did not come.
    pub fn not_run(check: &Check) -> Self {
        Self {
            name: check.name.clone(),
            status: Status::NotRun,
            detail: None,
            rule: check.rule,
        }
    }

    /// The line of the Test Anything Protocol, with what was found below it.
    pub fn tap(&self, number: usize) -> String {
        let not = match self.status {
            Status::Fail | Status::NotRun => "not ",
            _ => "",
        };
        let mut text = format!("{not}ok {number} - {}", self.name);
        let detail = self.detail.as_deref().unwrap_or_default();
        match self.status {
            Status::Pass => {}
            Status::NotRun => text.push_str("\n# not run"),
            Status::NotApplicable => text.push_str(&format!(" # SKIP {detail}")),
            Status::Info => text.push_str(&format!("\n# {detail}")),
            Status::Fail => text.push_str(&format!("\n# {detail}\n# rule: {}", self.rule)),
        }
        text
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:4}  {}", self.status, self.name)?;
        if let Some(detail) = &self.detail {
            write!(f, "\n        {detail}")?;
        }
        if self.status == Status::Fail {
            write!(f, "\n        rule: {}", self.rule)?;
        }
        Ok(())
    }
}

fn none(count: &usize) -> bool {
    *count == 0
}

/// The result of all checks.
#[derive(Debug, Serialize)]
pub struct Report {
    address: Address,
    passed: usize,
    failed: usize,
    info: usize,
    not_applicable: usize,
    /// Not 0 only if the suite was ended before all checks had run.
    #[serde(skip_serializing_if = "none")]
    not_run: usize,
    checks: Vec<Entry>,
}

impl Report {
    /// Counts the entries.
    pub fn new(address: Address, checks: Vec<Entry>) -> Self {
        let count = |status| checks.iter().filter(|entry| entry.status == status).count();
        Self {
            address,
            passed: count(Status::Pass),
            failed: count(Status::Fail),
            info: count(Status::Info),
            not_applicable: count(Status::NotApplicable),
            not_run: count(Status::NotRun),
            checks,
        }
    }

    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// How many checks were not run.
    pub fn not_run(&self) -> usize {
        self.not_run
    }
}

/// The counts; the entries were printed as they came.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} checks: {} passed, {} failed, {} for information, {} not applicable",
            self.address,
            self.checks.len(),
            self.passed,
            self.failed,
            self.info,
            self.not_applicable
        )?;
        match self.not_run {
            0 => Ok(()),
            not_run => write!(f, ", {not_run} not run"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> Check {
        Check::new("area.name", "vfio.h: it must", |_| Ok(()))
    }

    fn entries() -> Vec<Entry> {
        [
            Ok(()),
            Err(Finding::Fail("it is wrong".into())),
            Err(Finding::Info("so it is".into())),
            Err(Finding::NotApplicable("no such thing".into())),
        ]
        .into_iter()
        .map(|verdict| Entry::new(&check(), verdict))
        .collect()
    }

    #[test]
    fn tap() {
        let lines: Vec<String> = entries().iter().map(|entry| entry.tap(7)).collect();
        assert_eq!(lines[0], "ok 7 - area.name");
        assert_eq!(
            lines[1],
            "not ok 7 - area.name\n# it is wrong\n# rule: vfio.h: it must"
        );
        assert_eq!(lines[2], "ok 7 - area.name\n# so it is");
        assert_eq!(lines[3], "ok 7 - area.name # SKIP no such thing");
    }

    #[test]
    fn what_was_not_run_has_not_passed() {
        let entry = Entry::not_run(&check());
        assert_eq!(entry.to_string(), "not run  area.name");
        assert_eq!(entry.tap(7), "not ok 7 - area.name\n# not run");
        let report = Report::new("00:04.0".parse().unwrap(), vec![entry]);
        assert_eq!((report.failed(), report.not_run()), (0, 1));
        assert!(report.to_string().ends_with(", 1 not run"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["not_run"], 1);
        assert_eq!(json["checks"][0]["status"], "not-run");
    }

    #[test]
    fn text_and_json() {
        let report = Report::new("00:04.0".parse().unwrap(), entries());
        assert_eq!(report.failed(), 1);
        assert_eq!(
            report.to_string(),
            "0000:00:04.0: 4 checks: 1 passed, 1 failed, 1 for information, 1 not applicable"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["failed"], 1);
        assert_eq!(json["checks"][1]["status"], "fail");
        assert_eq!(json["checks"][3]["status"], "not-applicable");
        assert_eq!(json["checks"][1]["rule"], "vfio.h: it must");
        assert!(json["checks"][0].get("detail").is_none());
        assert!(json.get("not_run").is_none());
        assert_eq!(
            report.checks[1].to_string(),
            "FAIL  area.name\n        it is wrong\n        rule: vfio.h: it must"
        );
    }
}
