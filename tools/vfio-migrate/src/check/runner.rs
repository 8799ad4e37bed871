// SPDX-License-Identifier: GPL-2.0-only

//! Checks in processes of their own: what a driver does to one, the report survives.
//!
//! A driver that follows a null pointer has the kernel kill the caller, and one that waits for ever
//! takes it along. The caller is a child here, which is killed when its time is over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::kept::Kept;
use super::{fail, Check, Entry, Finding, Verdict};
use crate::error::{Error, Result};
use crate::sys;

/// How long a process takes to die of SIGKILL, unless the kernel holds it.
const DYING: Duration = Duration::from_secs(10);

/// Runs checks one after another, as long as that makes sense.
pub struct Runner {
    limit: Duration,
    /// Readable when the user wants it to end.
    end: OwnedFd,
    kept: Kept,
    stopped: bool,
}

/// How a child came to its end.
#[derive(Debug)]
enum Outcome {
    /// The check has ended, by itself or by force.
    Ended(Verdict),
    /// Its process does not die, and has the device: nothing can follow.
    Immortal(Finding),
    /// The user wants an end.
    Interrupted,
}

/// What the waiting for a child was over by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Woken {
    Exited,
    TimeOver,
    Interrupted,
}

impl Runner {
    /// Gives each check that long; takes Ctrl-C and SIGTERM over.
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
        // In a process group of its own, so that Ctrl-C is for the parent to handle.
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
        // It may have ended meanwhile, which is just as well.
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

/// What a child that has exited has to say, or what became of it.
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
