// SPDX-License-Identifier: GPL-2.0-only

//! Lines of a trace, as `include/rvfio/trace.h` and the kernel's tracing write them.

use std::time::Duration;

use serde_json::{Map, Value};

/// Each line of an event has this between its head and the rest of its name.
const MARK: &str = ": rvfio_";

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// An event of the driver.
    Event(Event),
    /// Events came faster than they were read.
    Lost(Option<u64>),
    /// Anything else.
    Other(String),
}

/// An event of the driver.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it was, by the trace's clock.
    pub time: Duration,
    /// Name of the event.
    pub name: String,
    /// Command and number of the task that caused it.
    pub task: String,
    /// What the driver says, without the device.
    pub text: String,
}

impl Line {
    /// Reads a line.
    pub fn parse(line: &str) -> Self {
        // A task may have any name, even one with control characters.
        let line: String = line
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        if let Some(event) = event(&line) {
            return Self::Event(event);
        }
        match lost(&line) {
            Some(number) => Self::Lost(number),
            None => Self::Other(line),
        }
    }
}

/// `TASK-PID [CPU] FLAGS SECONDS.MICROS: EVENT: DEVICE TEXT`
fn event(line: &str) -> Option<Event> {
    // No value of an event has the mark in it.
    let (head, tail) = line.split_at(line.rfind(MARK)?);
    let (name, text) = tail.strip_prefix(": ")?.split_once(": ")?;
    let (_device, text) = text.split_once(' ')?;
    let (task, _) = head.rsplit_once('[')?;
    Some(Event {
        time: time(head.split_whitespace().next_back()?)?,
        name: name.to_owned(),
        task: task.trim().to_owned(),
        text: text.trim_end().to_owned(),
    })
}

fn time(text: &str) -> Option<Duration> {
    let (seconds, micros) = text.split_once('.')?;
    if micros.len() != 6 {
        return None;
    }
    let micros: u64 = micros.parse().ok()?;
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros))
}

/// `CPU:N [LOST N EVENTS]`, or without the second number
fn lost(line: &str) -> Option<Option<u64>> {
    let (_, rest) = line.strip_prefix("CPU:")?.split_once(" [LOST ")?;
    let number = rest.strip_suffix("EVENTS]")?.trim();
    Some(number.parse().ok())
}

impl Event {
    /// The event's fields by name. A word without a name is the direction of a buffer.
    pub fn fields(&self) -> Map<String, Value> {
        self.text
            .split_whitespace()
            .map(|word| match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), number_or_text(value)),
                None => ("direction".to_owned(), word.into()),
            })
            .collect()
    }
}

fn number_or_text(value: &str) -> Value {
    if let Some(digits) = value.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).map_or_else(|_| value.into(), Value::from);
    }
    if let Ok(number) = value.parse::<u64>() {
        return number.into();
    }
    value
        .parse::<i64>()
        .map_or_else(|_| value.into(), Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STATE: &str = "         python3-412     [001] .....    23.123456: rvfio_state: \
        0000:00:10.0 protocol=region-2018 from=RUNNING to=PRE_COPY";

    fn parse(line: &str) -> Event {
        match Line::parse(line) {
            Line::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_a_change_of_state() {
        let event = parse(STATE);
        assert_eq!(event.time, Duration::from_micros(23_123_456));
        assert_eq!(event.name, "rvfio_state");
        assert_eq!(event.task, "python3-412");
        assert_eq!(event.text, "protocol=region-2018 from=RUNNING to=PRE_COPY");
        assert_eq!(
            Value::from(event.fields()),
            json!({"protocol": "region-2018", "from": "RUNNING", "to": "PRE_COPY"})
        );
    }

    #[test]
    fn reads_every_event() {
        for (text, fields) in [
            (
                "rvfio_buffer: 0000:00:10.0 save bytes=4096",
                json!({"direction": "save", "bytes": 4096}),
            ),
            (
                "rvfio_dirty_query: 0000:00:10.0 pages=17",
                json!({"pages": 17}),
            ),
            (
                "rvfio_private_dma: 0000:00:10.0 microseconds=101234 error=0",
                json!({"microseconds": 101_234, "error": 0}),
            ),
            (
                "rvfio_refused: 0000:00:10.0 bar=0 offset=0x98 value=0xffffffffffffffff error=-16",
                json!({"bar": 0, "offset": 0x98, "value": u64::MAX, "error": -16}),
            ),
            (
                "rvfio_state: 0000:00:10.0 protocol=4 from=RUNNING to=0x9",
                json!({"protocol": 4, "from": "RUNNING", "to": 9}),
            ),
        ] {
            let line = format!("  qemu-system-x86-7 [000] d..1. 5.000001: {text}");
            assert_eq!(Value::from(parse(&line).fields()), fields, "{line}");
        }
    }

    #[test]
    fn tasks_may_have_any_name() {
        for task in ["CPU 0/KVM-55", "a: rvfio_b: [1] c-3", "[x]-1", "<...>-9"] {
            let event = parse(&STATE.replace("python3-412", task));
            assert_eq!(event.task, task);
            assert_eq!(event.name, "rvfio_state");
            assert_eq!(event.time, Duration::from_micros(23_123_456));
        }
        let event = parse(&STATE.replace("python3", "\x1b[2J\u{9b}x"));
        assert_eq!(event.task, "?[2J?x-412");
    }

    #[test]
    fn lost_events_are_counted() {
        assert_eq!(
            Line::parse("CPU:1 [LOST 1234 EVENTS]"),
            Line::Lost(Some(1234))
        );
        assert_eq!(Line::parse("CPU:1 [LOST EVENTS]"), Line::Lost(None));
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        for line in [
            "",
            "something else",
            ": rvfio_",
            ": rvfio_state: ",
            "[0] x: rvfio_state: 0000:00:10.0 a=b",
            "t-1 [0] . 1.5: rvfio_state: 0000:00:10.0 a=b",
            "t-1 . 1.500000: rvfio_state: 0000:00:10.0 a=b",
            "CPU:1 [LOST 3",
        ] {
            assert_eq!(Line::parse(line), Line::Other(line.into()), "{line}");
        }
    }
}
