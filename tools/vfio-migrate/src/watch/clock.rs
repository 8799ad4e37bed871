// SPDX-License-Identifier: GPL-2.0-only

//! The time of samples and events.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use crate::sys;

/// Turns the kernel's monotonic time into what users read.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Duration,
    /// Time of day at the start, since 1970.
    time_of_day: Duration,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let time_of_day = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::at(sys::monotonic(), time_of_day.unwrap_or_default())
    }

    /// A clock that started at that monotonic time and time of day.
    pub fn at(start: Duration, time_of_day: Duration) -> Self {
        Self { start, time_of_day }
    }

    /// Reads the clock.
    pub fn now(&self) -> Time {
        self.time(sys::monotonic())
    }

    /// Converts a reading of the kernel's monotonic clock.
    pub fn time(&self, monotonic: Duration) -> Time {
        let elapsed = monotonic.saturating_sub(self.start);
        Time {
            elapsed,
            time_of_day: self.time_of_day + elapsed,
        }
    }
}

/// A point in time; in JSON seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Time {
    /// Since the clock's start.
    pub elapsed: Duration,
    time_of_day: Duration,
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.time_of_day.as_micros() as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_elapsed_and_of_the_day() {
        let clock = Clock::at(Duration::from_secs(50), Duration::from_secs(1_800_000_000));
        let time = clock.time(Duration::from_micros(51_500_001));
        assert_eq!(time.elapsed, Duration::from_micros(1_500_001));
        assert_eq!(serde_json::to_string(&time).unwrap(), "1800000001.500001");
        // What happened before the start happened at the start.
        assert_eq!(clock.time(Duration::ZERO).elapsed, Duration::ZERO);
        assert!(Clock::start().now().elapsed < Duration::from_secs(60));
    }
}
