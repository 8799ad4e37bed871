// SPDX-License-Identifier: GPL-2.0-only

//! Shows samples and events: a block that changes, lines, or JSON.

use std::fmt;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Map, Value};

use super::clock::{Clock, Time};
use super::event::Line;
use super::sample::Sample;
use super::status::Status;
use crate::error::Result;
use crate::output::Output;
use crate::pci::Address;

/// Shows what is seen of a device.
#[derive(Debug)]
pub struct View {
    output: Output,
    style: Style,
}

#[derive(Debug)]
enum Style {
    /// An object for each sample and event.
    Json,
    /// A line for each change and event.
    Lines { shown: Option<Status> },
    /// A block that changes, with the events above it.
    Block(ProgressBar),
}

/// One line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record<'a> {
    Sample(&'a Sample),
    Event {
        time: Time,
        address: Address,
        event: &'a str,
        task: &'a str,
        fields: Map<String, Value>,
    },
    Lost {
        events: Option<u64>,
    },
    Text {
        text: &'a str,
    },
}

impl View {
    /// Chooses by the options and by what standard output is.
    pub fn new(output: &Output) -> Self {
        let style = if output.json {
            Style::Json
        } else if output.report.is_terminal() {
            let bar = ProgressBar::with_draw_target(None, output.report.draw_target());
            let style = ProgressStyle::with_template("{msg}");
            Style::Block(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner())))
        } else {
            Style::Lines { shown: None }
        };
        Self {
            output: *output,
            style,
        }
    }

    /// Shows a sample.
    pub fn sample(&mut self, sample: &Sample) -> Result<()> {
        match &mut self.style {
            Style::Json => self.output.line(Record::Sample(sample)),
            Style::Lines { shown } if shown.as_ref() == Some(&sample.status) => Ok(()),
            Style::Lines { shown } => {
                *shown = Some(sample.status.clone());
                let line = format!("{} {}", elapsed(sample.time), sample.status);
                self.output.line(line)
            }
            Style::Block(bar) => {
                bar.set_message(sample.to_string());
                bar.force_draw();
                Ok(())
            }
        }
    }

    /// Shows a line of the trace.
    pub fn trace(&mut self, address: Address, clock: &Clock, line: &Line) -> Result<()> {
        let (record, text) = match line {
            Line::Event(event) => {
                let time = clock.time(event.time);
                let record = Record::Event {
                    time,
                    address,
                    event: &event.name,
                    task: &event.task,
                    fields: event.fields(),
                };
                let text = format!(
                    "{} {} {} ({})",
                    elapsed(time),
                    event.name,
                    event.text,
                    event.task
                );
                (record, text)
            }
            Line::Lost(events) => {
                let number = events.map_or_else(|| "some".into(), |number| number.to_string());
                let text = format!("{number} events came faster than they could be read");
                (Record::Lost { events: *events }, text)
            }
            Line::Other(text) => (Record::Text { text }, text.clone()),
        };
        match &self.style {
            Style::Json => self.output.line(record),
            Style::Lines { .. } => self.output.line(text),
            Style::Block(bar) => {
                bar.println(text);
                Ok(())
            }
        }
    }
}

/// Leaves the last block on the terminal.
impl Drop for View {
    fn drop(&mut self) {
        if let Style::Block(bar) = &self.style {
            bar.abandon();
        }
    }
}

/// One line of JSON.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

fn elapsed(time: Time) -> String {
    format!("{:10.3}", time.elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json() {
        let line = Line::parse("t-1 [0] . 5.000001: rvfio_buffer: 0000:00:04.0 load bytes=7");
        let Line::Event(event) = line else {
            panic!("{line:?}");
        };
        let record = Record::Event {
            time: Clock::start().time(event.time),
            address: "00:04.0".parse().unwrap(),
            event: &event.name,
            task: &event.task,
            fields: event.fields(),
        };
        let text = record.to_string();
        assert!(!text.contains('\n'));
        let mut json: Value = serde_json::from_str(&text).unwrap();
        assert!(json["time"].take().is_f64());
        assert_eq!(
            json,
            serde_json::json!({
                "type": "event",
                "time": null,
                "address": "0000:00:04.0",
                "event": "rvfio_buffer",
                "task": "t-1",
                "fields": {"direction": "load", "bytes": 7},
            })
        );
        let lost = Record::Lost { events: Some(2) };
        assert_eq!(lost.to_string(), r#"{"type":"lost","events":2}"#);
    }
}
