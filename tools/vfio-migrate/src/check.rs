// SPDX-License-Identifier: GPL-2.0-only

//! A conformance suite for VFIO migration, through the uAPI alone.
//!
//! A [`Check`] is a name, the rule that it holds a device to, and a function over a [`Subject`].
//! Each area has a file, whose `checks` lists its checks; [`all`] puts the lists together. No check
//! knows a particular device. Each opens the device afresh and closes it, so none disturbs the
//! next. A [`Runner`] starts a process for each check, in which [`alone`] runs it.

mod alone;
mod dma_logging;
mod kept;
mod lifetime;
mod list;
mod pci;
mod region;
mod region_2018;
mod region_v1;
mod report;
mod runner;
mod second;
mod subject;
mod sum;
mod v2;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{explain, Error};

pub use alone::alone;
pub use list::List;
pub use report::{Entry, Report};
pub use runner::Runner;
pub use subject::Subject;

/// What a check found if the device does not pass.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Finding {
    /// The device does not do what the rule demands.
    Fail(String),
    /// The rule leaves it open; this is what the device does.
    Info(String),
    /// The rule does not apply to such a device.
    NotApplicable(String),
}

/// Result of a check or of a step of one.
pub type Verdict<T = ()> = Result<T, Finding>;

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        Self::Fail(error.to_string())
    }
}

/// Makes a failure.
fn fail<T>(text: impl Into<String>) -> Verdict<T> {
    Err(Finding::Fail(text.into()))
}

/// Makes the finding that a check does not apply to this device.
fn not_applicable<T>(text: impl Into<String>) -> Verdict<T> {
    Err(Finding::NotApplicable(text.into()))
}

/// Demands that something holds.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        fail(otherwise())
    }
}

/// Demands that a call succeeds.
fn succeeds<T>(result: Result<T, Errno>, what: &str) -> Verdict<T> {
    result.or_else(|errno| fail(format!("{what} fails: {}", explain(errno))))
}

/// Demands that a call fails, with any error.
fn fails<T>(result: Result<T, Errno>, what: &str) -> Verdict<Errno> {
    match result {
        Ok(_) => fail(format!("{what} succeeds")),
        Err(errno) => Ok(errno),
    }
}

/// Demands that a call fails with that error.
fn fails_with<T>(result: Result<T, Errno>, expected: Errno, what: &str) -> Verdict {
    let found = fails(result, what)?;
    ensure(found == expected, || {
        format!(
            "{what} fails with {} instead of {}",
            explain(found),
            explain(expected)
        )
    })
}

/// Most bytes of device state that a check holds in memory, and most that it reads of a stream
/// without end.
const HELD: usize = 1 << 30;

/// Ends the check as not applicable if the device reports more state than [`HELD`].
fn held(bytes: u64) -> Verdict {
    // CAST: widening.
    if bytes <= HELD as u64 {
        return Ok(());
    }
    not_applicable(format!(
        "the device has {bytes} bytes of state, and the suite holds {HELD}"
    ))
}

/// What a check does.
type Run = Box<dyn Fn(&Subject) -> Verdict>;

/// One check.
pub struct Check {
    /// Area and name, separated by a dot.
    pub name: String,
    /// The rule and where it stands.
    pub rule: &'static str,
    run: Run,
}

impl Check {
    fn new(
        name: impl Into<String>,
        rule: &'static str,
        run: impl Fn(&Subject) -> Verdict + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            rule,
            run: Box::new(run),
        }
    }

    /// Runs the check.
    fn run(&self, subject: &Subject) -> Verdict {
        (self.run)(subject)
    }

    /// Whether a pattern names the check: a part of the name, with `*` for any text.
    pub fn matches(&self, pattern: &str) -> bool {
        let mut rest = self.name.as_str();
        pattern.split('*').all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

/// All checks, in the order in which they run.
pub fn all() -> Vec<Check> {
    let mut checks = Vec::new();
    for area in [
        v2::checks,
        pci::checks,
        dma_logging::checks,
        region_v1::checks,
        region_2018::checks,
        lifetime::checks,
        second::checks,
    ] {
        checks.extend(area());
    }
    checks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own_and_a_rule_with_its_source() {
        let checks = all();
        let names: BTreeSet<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names.len(), checks.len());
        for check in &checks {
            assert!(check.name.contains('.'), "{}", check.name);
            assert!(!check.name.contains(char::is_whitespace), "{}", check.name);
            assert!(
                ["vfio.h", "vfio_main.c", "uapi.rst", "QEMU"]
                    .iter()
                    .any(|source| check.rule.contains(source)),
                "{}: {}",
                check.name,
                check.rule
            );
        }
    }

    #[test]
    fn all_pairs_of_states_are_there() {
        let pairs = all()
            .iter()
            .filter(|check| check.name.starts_with("v2-states.") && check.name.contains("-to-"))
            .count();
        assert_eq!(pairs, 64);
    }

    #[test]
    fn patterns() {
        let check = Check::new("v2-states.STOP-to-RUNNING", "", |_| Ok(()));
        for pattern in [
            "",
            "v2",
            "STOP-to",
            "v2*RUN",
            "*",
            "v2-states.STOP-to-RUNNING",
        ] {
            assert!(check.matches(pattern), "{pattern}");
        }
        for pattern in ["v1", "RUN*v2", "STOPS"] {
            assert!(!check.matches(pattern), "{pattern}");
        }
    }

    #[test]
    fn what_a_call_must_return() {
        assert!(fails_with::<()>(Err(Errno::INVAL), Errno::INVAL, "it").is_ok());
        let wrong = fails_with::<()>(Err(Errno::IO), Errno::INVAL, "it");
        assert!(matches!(wrong, Err(Finding::Fail(text)) if text.contains("EIO")));
        assert!(fails(Ok(()), "it").is_err());
        assert!(succeeds::<()>(Err(Errno::IO), "it").is_err());
    }

    #[test]
    fn a_state_that_is_not_held_is_no_failure() {
        assert_eq!(held(1 << 30), Ok(()));
        assert!(matches!(held(u64::MAX), Err(Finding::NotApplicable(_))));
    }
}
