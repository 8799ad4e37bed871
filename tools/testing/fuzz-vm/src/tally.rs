// SPDX-License-Identifier: GPL-2.0-only

//! What was called, how it ended, and how deep that went.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::kind::{errno_name, Kind};

/// Values of a protocol's state, with their names.
pub struct Protocol {
    /// Its name.
    pub name: &'static str,
    states: &'static [(u32, &'static str)],
}

/// The migration region of November 2018.
pub const REGION_2018: Protocol = Protocol {
    name: "region-2018",
    states: &[
        (0, "NONE"),
        (1, "RUNNING"),
        (2, "SETUP"),
        (3, "PRECOPY"),
        (4, "STOPNCOPY"),
        (5, "SAVE_COMPLETED"),
        (6, "RESUME"),
        (7, "RESUME_COMPLETED"),
    ],
};

/// The migration region of Linux 5.8 to 5.17.
pub const REGION_V1: Protocol = Protocol {
    name: "region-v1",
    states: &[
        (0, "STOP"),
        (1, "RUNNING"),
        (2, "SAVING"),
        (3, "RUNNING|SAVING"),
        (4, "RESUMING"),
    ],
};

/// The features of Linux 5.18. A healthy device is never in ERROR.
pub const V2: Protocol = Protocol {
    name: "v2",
    states: &[
        (1, "STOP"),
        (2, "RUNNING"),
        (3, "STOP_COPY"),
        (4, "RESUMING"),
        (5, "RUNNING_P2P"),
        (6, "PRE_COPY"),
        (7, "PRE_COPY_P2P"),
    ],
};

/// Counts of one thread, or of several together.
#[derive(Default)]
pub struct Tally {
    calls: BTreeMap<(Kind, i32), u64>,
    states: BTreeMap<(&'static str, u32), u64>,
    events: BTreeMap<&'static str, u64>,
    /// Undocumented errors, the first of each.
    pub findings: BTreeMap<(Kind, i32), String>,
    /// States that do not exist.
    pub strange: BTreeSet<(&'static str, u32)>,
}

impl Tally {
    /// Counts a call, with errno 0 for success.
    pub fn call(&mut self, kind: Kind, errno: i32, place: impl FnOnce() -> String) {
        *self.calls.entry((kind, errno)).or_default() += 1;
        let is_known = errno == 0 && kind != Kind::IoEventFd || kind.errors().contains(&errno);
        if !is_known {
            self.findings.entry((kind, errno)).or_insert_with(place);
        }
    }

    /// Counts a state that was read.
    pub fn state(&mut self, protocol: &Protocol, value: u32) {
        *self.states.entry((protocol.name, value)).or_default() += 1;
        if !protocol.states.iter().any(|(known, _)| *known == value) {
            self.strange.insert((protocol.name, value));
        }
    }

    /// Counts something that shows how deep a sequence went.
    pub fn event(&mut self, event: &'static str, count: u64) {
        *self.events.entry(event).or_default() += count;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: Self) {
        for (call, count) in other.calls {
            *self.calls.entry(call).or_default() += count;
        }
        for (state, count) in other.states {
            *self.states.entry(state).or_default() += count;
        }
        for (event, count) in other.events {
            *self.events.entry(event).or_default() += count;
        }
        for (call, place) in other.findings {
            self.findings.entry(call).or_insert(place);
        }
        self.strange.extend(other.strange);
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }

    /// How many of a protocol's states were seen, and how many there are.
    fn reached(&self, protocol: &Protocol) -> (usize, usize) {
        let seen = |(value, _): &&(u32, _)| self.states.contains_key(&(protocol.name, *value));
        (
            protocol.states.iter().filter(seen).count(),
            protocol.states.len(),
        )
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26} {:>9}  errors", "calls", "ok")?;
        for kind in Kind::ALL {
            let of = |errno| self.calls.get(&(*kind, errno)).copied().unwrap_or(0);
            let errors: Vec<String> = self
                .calls
                .iter()
                .filter(|((other, errno), _)| other == kind && *errno != 0)
                .map(|((_, errno), count)| format!("{} {count}", errno_name(*errno)))
                .collect();
            writeln!(f, "{:<26} {:>9}  {}", kind.name(), of(0), errors.join(", "))?;
        }
        for protocol in [REGION_2018, REGION_V1, V2] {
            let (seen, all) = self.reached(&protocol);
            let states: Vec<String> = protocol
                .states
                .iter()
                .map(|(value, name)| {
                    let count = self.states.get(&(protocol.name, *value)).unwrap_or(&0);
                    format!("{name} {count}")
                })
                .collect();
            let states = states.join(", ");
            writeln!(f, "states of {}: {seen} of {all}: {states}", protocol.name)?;
        }
        let events: Vec<String> = self
            .events
            .iter()
            .map(|(event, count)| format!("{event} {count}"))
            .collect();
        writeln!(f, "reached: {}", events.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, V2};
    use crate::kind::Kind;

    #[test]
    fn an_undocumented_error_is_a_finding_and_the_first_place_is_kept() {
        let mut tally = Tally::default();
        tally.call(Kind::Reset, 0, || unreachable!());
        tally.call(Kind::Reset, libc::EIO, || unreachable!());
        tally.call(Kind::Reset, libc::EPERM, || "here".into());
        tally.call(Kind::Reset, libc::EPERM, || unreachable!());
        // It bypasses the trap, so that it works is the finding.
        tally.call(Kind::IoEventFd, 0, || "there".into());
        let found: Vec<_> = tally.findings.values().collect();
        assert_eq!(found, ["here", "there"]);
        assert_eq!(tally.total(), 5);
    }

    #[test]
    fn a_state_that_there_is_not_is_noted() {
        let mut tally = Tally::default();
        tally.state(&V2, 2);
        assert!(tally.strange.is_empty());
        tally.state(&V2, 8);
        assert!(tally.strange.contains(&("v2", 8)));
        assert_eq!(tally.reached(&V2), (1, 7));
    }
}
