// SPDX-License-Identifier: GPL-2.0-only

//! Runs each check in a process of its own, so that the report survives what a driver does to it.
//!
//! If a driver follows a null pointer, the kernel kills the caller; if a driver waits for ever, the
//! caller hangs. The caller is therefore a child, which is killed when its time limit is over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::kept::Kept;
use super::{fail, Check, Entry, Finding, Verdict};
use crate::error::{Error, Result};
use crate::sys;

/// How long a process may take to die of SIGKILL; beyond that the kernel holds it.
const DYING: Duration = Duration::from_secs(10);

/// Runs checks one after another until one cannot be ended or the user interrupts.
pub struct Runner {
    limit: Duration,
    /// Readable when the user wants it to end.
    end: OwnedFd,
    kept: Kept,
    stopped: bool,
}

/// How a child ended.
#[derive(Debug)]
enum Outcome {
    /// The check has ended, by itself or by force.
    Ended(Verdict),
    /// Its process does not die and keeps the device open: no other check can run.
    Immortal(Finding),
    /// The user interrupted the suite.
    Interrupted,
}

/// Why the wait for a child ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Woken {
    Exited,
    TimeOver,
    Interrupted,
}

impl Runner {
    /// Makes a runner with a time limit for each check; it takes over Ctrl-C and SIGTERM.
    pub fn new(limit: Duration) -> Result<Self> {
        Ok(Self {
            limit,
            end: sys::end_requests().map_err(Error::step("taking over signals"))?,
            kept: Kept::new().map_err(Error::step("making a file in memory"))?,
            stopped: false,
        })
    }

    /// Runs a check by a command that prints its verdict as JSON.
    pub fn run(&mut self, check: &Check, command: &mut Command) -> Result<Entry> {
        if self.stopped {
            return Ok(Entry::not_run(check));
        }
        Ok(match self.outcome(command)? {
            Outcome::Ended(verdict) => Entry::new(check, verdict),
            Outcome::Immortal(finding) => {
                self.stopped = true;
                Entry::new(check, Err(finding))
            }
            Outcome::Interrupted => {
                self.stopped = true;
                Entry::not_run(check)
            }
        })
    }

    fn outcome(&self, command: &mut Command) -> Result<Outcome> {
        // The child has a process group of its own, so that only the parent handles Ctrl-C.
        let kept = self.kept.hand_over();
        let mut child = command
            .stdin(kept.map_err(Error::file("a file in memory"))?)
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(Error::file(command.get_program()))?;
        let exited = sys::pidfd(&child).map_err(Error::step("watching a check's process"))?;
        let woken = self.wait(&exited, self.limit, true)?;
        if woken == Woken::Exited {
            return Ok(Outcome::Ended(verdict(child)?));
        }
        let mut text = format!("the check did not end within {} s", self.limit.as_secs());
        // The call fails if the child has ended meanwhile.
        let _ = child.kill();
        let dead = self.wait(&exited, DYING, false)? == Woken::Exited;
        if dead {
            let _ = child.wait();
        }
        Ok(match woken {
            Woken::Interrupted => Outcome::Interrupted,
            _ if dead => Outcome::Ended(fail(text)),
            _ => {
                text.push_str(&format!(
                    ", and its process {} does not die of SIGKILL within {} s",
                    child.id(),
                    DYING.as_secs()
                ));
                Outcome::Immortal(Finding::Fail(text))
            }
        })
    }

    /// Waits for a child to exit, or for the user.
    fn wait(&self, exited: &OwnedFd, limit: Duration, interruptible: bool) -> Result<Woken> {
        let until = Instant::now() + limit;
        loop {
            let mut files = vec![exited.as_fd()];
            if interruptible {
                files.push(self.end.as_fd());
            }
            let left = until.saturating_duration_since(Instant::now());
            let seen =
                sys::wait(&files, io::stdout().as_fd(), left).map_err(Error::step("waiting"))?;
            if interruptible && (seen.readable[1] || seen.broken) {
                return Ok(Woken::Interrupted);
            }
            if seen.readable[0] {
                return Ok(Woken::Exited);
            }
            if left.is_zero() {
                return Ok(Woken::TimeOver);
            }
        }
    }
}

/// Reads the verdict of a child that has exited, or tells how it ended.
fn verdict(child: Child) -> Result<Verdict> {
    let output = child
        .wait_with_output()
        .map_err(Error::file("a check's output"))?;
    if let Ok(verdict) = serde_json::from_slice(&output.stdout) {
        return Ok(verdict);
    }
    let end = match (output.status.signal(), output.status.code()) {
        (Some(signal), _) => format!("by signal {signal}"),
        (None, code) => format!("with status {}", code.unwrap_or_default()),
    };
    Ok(fail(format!("the check's process ended {end}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(limit: u64) -> Runner {
        Runner::new(Duration::from_secs(limit)).unwrap()
    }

    fn ended(runner: &Runner, script: &str) -> Verdict {
        match runner.outcome(Command::new("sh").args(["-c", script])) {
            Ok(Outcome::Ended(verdict)) => verdict,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_verdict_comes_through() {
        let runner = runner(60);
        for verdict in [
            Ok(()),
            fail("it is wrong"),
            Err(Finding::Info("so it is".into())),
            Err(Finding::NotApplicable("no such thing".into())),
        ] {
            let text = serde_json::to_string(&verdict).unwrap();
            assert_eq!(ended(&runner, &format!("echo '{text}'")), verdict);
        }
    }

    #[test]
    fn what_became_of_the_process_is_told() {
        let runner = runner(60);
        for (script, end) in [
            ("kill -KILL $$", "by signal 9"),
            ("kill -SEGV $$", "by signal 11"),
            ("exit 3", "with status 3"),
            ("echo nothing that it should", "with status 0"),
        ] {
            let found = ended(&runner, script);
            assert_eq!(found, fail(format!("the check's process ended {end}")));
        }
    }

    #[test]
    fn the_time_is_limited() {
        for script in ["exec sleep 60", "kill -STOP $$"] {
            let found = ended(&runner(1), script);
            assert_eq!(found, fail("the check did not end within 1 s"));
        }
    }
}
