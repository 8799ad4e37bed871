// SPDX-License-Identifier: GPL-2.0-only

//! Watches threads: calls that do not return, and what the kernel reports meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kind::Kind;
use crate::sys;

/// What a thread is doing.
pub struct Place {
    born: Instant,
    /// Milliseconds from `born` to the beginning of the call, plus 1; 0 outside of calls.
    since: AtomicU64,
    kind: AtomicU64,
    step: AtomicU64,
    /// The thread's id in the system; 0 before it runs and after it has ended.
    pub thread: AtomicI32,
}

impl Place {
    /// The place of a thread that has not begun.
    pub fn new() -> Self {
        Self {
            born: Instant::now(),
            since: AtomicU64::new(0),
            kind: AtomicU64::new(0),
            step: AtomicU64::new(0),
            thread: AtomicI32::new(0),
        }
    }

    /// Notes the step.
    pub fn step(&self, step: u64) {
        self.step.store(step, Ordering::Relaxed);
    }

    /// Notes that a call begins.
    pub fn enter(&self, kind: Kind) {
        // CAST: The enum is small, and the time too.
        self.kind.store(kind as u64, Ordering::Relaxed);
        let now = self.born.elapsed().as_millis() as u64 + 1;
        self.since.store(now, Ordering::Release);
    }

    /// Notes that the call has returned.
    pub fn leave(&self) {
        self.since.store(0, Ordering::Release);
    }

    /// Returns what the thread is doing if its call takes longer than `limit`.
    fn overdue(&self, limit: Duration) -> Option<String> {
        let since = self.since.load(Ordering::Acquire);
        let begun = Duration::from_millis(since.checked_sub(1)?);
        if self.born.elapsed().saturating_sub(begun) <= limit {
            return None;
        }
        // CAST: It came from such a number.
        let kind = Kind::ALL[self.kind.load(Ordering::Relaxed) as usize];
        let step = self.step.load(Ordering::Relaxed);
        Some(format!(
            "step {step}: {} does not return for more than {} s",
            kind.name(),
            limit.as_secs()
        ))
    }
}

/// What the kernel prints when something is wrong; scripts/check-kernel-log looks closer
/// afterwards.
const TROUBLE: &[&str] = &[
    "WARNING: ",
    "BUG: ",
    "kernel BUG at",
    "Oops",
    "general protection fault",
    "nable to handle",
    "INFO: task",
    "INFO: possible",
    "INFO: rcu",
    "refcount_t: ",
    "rust_kernel: panicked",
    "KASAN:",
    "UBSAN:",
    "KFENCE:",
    "list_add corruption",
    "list_del corruption",
    "cut here",
];

/// The kernel's log since this value was made.
pub struct KernelLog(File);

impl KernelLog {
    /// Opens the log at its end.
    pub fn new() -> std::io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// Writes a line to the log, which survives if the machine dies.
    pub fn note(&mut self, line: &str) {
        // If this fails, the line is still on standard output.
        let _ = self.0.write_all(format!("fuzz-vm: {line}\n").as_bytes());
    }

    /// Returns the kernel's complaints since the last call.
    pub fn trouble(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return found,
                Ok(len) => {
                    let text = String::from_utf8_lossy(&record[..len]);
                    let line = text.split_once(';').map_or(&*text, |(_, line)| line);
                    let line = line.lines().next().unwrap_or_default();
                    if TROUBLE.iter().any(|word| line.contains(word)) {
                        found.push(line.to_owned());
                    }
                }
                // Overwritten before it was read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => return found,
            }
        }
    }
}

/// Watches until `is_done`; ends the process if a call hangs or the kernel complains.
///
/// `title` tells which round of which seed it is.
pub fn watch(
    places: &[Place],
    log: &mut KernelLog,
    limit: Duration,
    title: &str,
    is_done: impl Fn() -> bool,
) {
    loop {
        let done = is_done();
        let trouble = log.trouble();
        if !trouble.is_empty() {
            println!("fuzz-vm: FAILED in {title}: the kernel complains:");
            for line in trouble {
                println!("  {line}");
            }
            sys::exit_now(4);
        }
        for (number, place) in places.iter().enumerate() {
            if let Some(what) = place.overdue(limit) {
                println!("fuzz-vm: FAILED in {title}: thread {number}, {what}");
                dump_stacks(places);
                sys::exit_now(3);
            }
        }
        if done {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Prints the kernel's stack of each thread, and has the kernel log those of all blocked tasks.
fn dump_stacks(places: &[Place]) {
    for (number, place) in places.iter().enumerate() {
        let thread = place.thread.load(Ordering::Relaxed);
        if thread == 0 {
            continue;
        }
        let stack = fs::read_to_string(format!("/proc/self/task/{thread}/stack"))
            .unwrap_or_else(|error| error.to_string());
        println!("kernel stack of thread {number}:\n{stack}");
    }
    for key in ["w", "t"] {
        // If that is not allowed, the stacks above are all there is.
        let _ = fs::write("/proc/sysrq-trigger", key);
    }
}
