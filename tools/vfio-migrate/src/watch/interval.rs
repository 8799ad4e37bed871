// SPDX-License-Identifier: GPL-2.0-only

//! Times on the command line.

use std::time::Duration;

/// The driver holds the device's lock while it answers, so it is not asked more often.
const LEAST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_secs(3600);
/// Longest time that a command looks for.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads the time between two samples.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time such as 500ms, 2s or 1m");
    let interval = with_unit(text, None).ok_or_else(wrong)?;
    if !(LEAST..=MOST).contains(&interval) {
        return Err("the interval is between 10ms and 60m".into());
    }
    Ok(interval)
}

/// Reads how long to look: a number of seconds, or a time with its unit.
pub fn parse_length(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time such as 10, 500ms, 2s or 1m");
    let length = with_unit(text, Some("s")).ok_or_else(wrong)?;
    if !(LEAST..=LONGEST).contains(&length) {
        return Err("the time is between 10ms and a week".into());
    }
    Ok(length)
}

/// Reads a number and its unit, which can be left out if there is a `usual` one.
fn with_unit(text: &str, usual: Option<&str>) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let unit = match &text[digits.len()..] {
        "" => usual?,
        unit => unit,
    };
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(milliseconds)))
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
    #[test]
    fn lengths() {
        assert_eq!(parse_length("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_length("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_length("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_length("604800"), Ok(LONGEST));
        for wrong in ["", "s", "-1", "0", "9ms", "1.5", "2h", "604801"] {
            assert!(parse_length(wrong).is_err(), "{wrong}");
        }
    }
}
