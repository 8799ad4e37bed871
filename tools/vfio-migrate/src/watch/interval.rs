// SPDX-License-Identifier: GPL-2.0-only

//! Times on the command line.

use std::time::Duration;

/// The driver holds the device's lock while it answers, so it is not asked more often.
const LEAST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_secs(3600);

/// Reads the time between two samples.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time such as 500ms, 2s or 1m");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let milliseconds = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    let interval = Duration::from_millis(number.saturating_mul(milliseconds));
    if !(LEAST..=MOST).contains(&interval) {
        return Err("the interval is between 10ms and 60m".into());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("60m"), Ok(MOST));
        for wrong in [
            "",
            "5",
            "ms",
            "1.5s",
            "-1s",
            "5h",
            "9ms",
            "0s",
            "61m",
            "5µs",
            "18446744073709551615m",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
