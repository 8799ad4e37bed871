// SPDX-License-Identifier: GPL-2.0-only

//! Runs one check in this process, which exists for it alone.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

use super::{fail, Check, Subject, Verdict};

/// Runs a check and turns a panic into a failure.
///
/// This replaces the process's panic hook, so no other code may panic afterwards.
pub fn alone(check: &Check, subject: &Subject) -> Verdict {
    caught(|| check.run(subject))
}

/// Runs a function and turns a panic, in a thread that it started as well, into a failure.
fn caught(run: impl FnOnce() -> Verdict) -> Verdict {
    let first = Arc::new(Mutex::new(None));
    let told = Arc::clone(&first);
    // The first of several panics is the cause: a thread that joins one that panicked panics, too.
    panic::set_hook(Box::new(move |info| {
        if let Ok(mut told) = told.lock() {
            told.get_or_insert_with(|| info.to_string().replace('\n', " "));
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let text = first.lock().ok().and_then(|mut text| text.take());
        fail(format!("the check {}", text.unwrap_or("panicked".into())))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::*;

    #[test]
    fn a_panic_is_a_failure_that_tells_its_cause() {
        let hook = panic::take_hook();
        let found = caught(|| {
            std::thread::scope(|scope| scope.spawn(|| panic!("no such page")).join().is_ok());
            panic!("a thread has panicked")
        });
        panic::set_hook(hook);
        let Err(Finding::Fail(text)) = found else {
            panic!("{found:?}")
        };
        assert!(text.starts_with("the check panicked at "), "{text}");
        assert!(text.ends_with("no such page"), "{text}");
    }
}
