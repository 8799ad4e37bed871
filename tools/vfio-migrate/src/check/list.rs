// SPDX-License-Identifier: GPL-2.0-only

//! Lists all checks and their rules, as text and as JSON.

use std::fmt;

use serde::Serialize;

use super::Check;

/// Names and rules of checks.
#[derive(Serialize)]
pub struct List<'a> {
    checks: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    rule: &'a str,
}

impl<'a> List<'a> {
    /// Lists checks.
    pub fn new(checks: &'a [Check]) -> Self {
        let listed = |check: &'a Check| Listed {
            name: &check.name,
            rule: check.rule,
        };
        Self {
            checks: checks.iter().map(listed).collect(),
        }
    }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(f, "{}\n    {}", check.name, check.rule)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;

    #[test]
    fn text_and_json() {
        let checks = check::all();
        let list = List::new(&checks);
        let first = &checks[0];
        let text = list.to_string();
        assert!(text.starts_with(&format!("{}\n    {}\n", first.name, first.rule)));
        assert_eq!(text.lines().count(), 2 * checks.len());
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!(json["checks"].as_array().unwrap().len(), checks.len());
        assert_eq!(json["checks"][0]["name"], first.name);
        assert_eq!(json["checks"][0]["rule"], first.rule);
    }
}
