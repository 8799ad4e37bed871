// SPDX-License-Identifier: GPL-2.0-only

//! Shows what a device writes: a map that changes, lines, or JSON.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::history::History;
use super::map::Map;
use super::report::{Dirty, Range, Summary};
use super::text::{self, Style};
use crate::error::Result;
use crate::files::place;
use crate::output::Output;
use crate::watch::snapshot::Snapshot;

/// Lines and columns of a map that goes to no terminal.
const PLAIN: (usize, usize) = (32, 100);
/// Lines above the map, and the one on which the cursor stands.
const OTHERS: usize = 4;

/// Shows what a device writes.
#[derive(Debug)]
pub struct View {
    output: Output,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// An object for each sample, and one for the map in the end.
    Json,
    /// A line for each change, and the map in the end.
    Lines { shown: Option<(u64, Dirty)> },
    /// The map, which changes.
    Block(ProgressBar, Style),
}

/// What is known of the pages.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'a> {
    /// What the device wrote.
    pub history: &'a History,
    /// What is not reported yet.
    pub snapshot: &'a Snapshot,
    /// Time since the start.
    pub now: Duration,
}

/// One line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record<'a> {
    Sample {
        #[serde(flatten)]
        summary: &'a Summary,
        /// Pages written since the sample before.
        written: &'a [Range],
    },
    Map {
        #[serde(flatten)]
        summary: &'a Summary,
        bytes_of_row: Option<u64>,
        seconds_of_column: f64,
        rows: Vec<Row>,
        picture: Option<&'a Path>,
    },
}

/// One row of the map, in JSON.
#[derive(Debug, Serialize)]
struct Row {
    iova: u64,
    /// Pages written in each column.
    pages: Vec<u64>,
    dirty: bool,
}

impl View {
    /// Chooses by the options and by what standard output is.
    pub fn new(output: &Output) -> Self {
        let way = if output.json {
            Way::Json
        } else if output.report.is_terminal() {
            let bar = ProgressBar::with_draw_target(None, output.report.draw_target());
            let style = ProgressStyle::with_template("{msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            Way::Block(bar.with_style(style), Style::of_terminal())
        } else {
            Way::Lines { shown: None }
        };
        Self {
            output: *output,
            way,
        }
    }

    /// Shows a sample; `written` are the pages written since the one before.
    pub fn sample(&mut self, summary: &Summary, written: &[Range], pages: Pages<'_>) -> Result<()> {
        match &mut self.way {
            Way::Json => self.line(&Record::Sample { summary, written }),
            Way::Lines { shown } => {
                let now = Some((summary.pages, summary.dirty_pages));
                if std::mem::replace(shown, now) == now {
                    return Ok(());
                }
                self.output.line(summary)
            }
            Way::Block(bar, style) => {
                bar.set_message(block(
                    summary,
                    pages,
                    *style,
                    self.output.report.terminal_size(),
                ));
                bar.force_draw();
                Ok(())
            }
        }
    }

    /// Shows the result; `picture` is the file that holds it, too.
    pub fn end(
        &mut self,
        summary: &Summary,
        pages: Pages<'_>,
        picture: Option<&Path>,
    ) -> Result<()> {
        match &self.way {
            Way::Json => {
                let (rows, columns) = text::room(PLAIN.0, PLAIN.1);
                let map = pages.map(rows, columns);
                let addresses = map.axis.addresses();
                let rows = addresses.zip(&map.cells).zip(&map.dirty);
                self.line(&Record::Map {
                    summary,
                    bytes_of_row: map.axis.bytes_of_row(),
                    seconds_of_column: map.column.as_secs_f64(),
                    rows: rows
                        .map(|((iova, pages), dirty)| Row {
                            iova,
                            pages: pages.clone(),
                            dirty: *dirty,
                        })
                        .collect(),
                    picture,
                })?;
            }
            Way::Lines { .. } => {
                let (rows, columns) = text::room(PLAIN.0, PLAIN.1);
                let map = text::render(&pages.map(rows, columns), Style::PLAIN);
                self.output.line(format!(
                    "{}\n{}",
                    summary.lines().join("\n"),
                    map.trim_end()
                ))?;
            }
            Way::Block(bar, style) => {
                bar.set_message(block(
                    summary,
                    pages,
                    *style,
                    self.output.report.terminal_size(),
                ));
                bar.abandon();
            }
        }
        if let (Some(picture), false) = (picture, self.output.json) {
            let picture = place::in_words(picture, "standard output");
            self.output.note(format!("picture: {}", picture.display()));
        }
        Ok(())
    }

    fn line(&self, record: &Record<'_>) -> Result<()> {
        // Numbers, names and addresses can always be written.
        let text = serde_json::to_string(record).unwrap_or_else(|error| error.to_string());
        self.output.line(text)
    }
}

impl Pages<'_> {
    fn map(&self, rows: usize, columns: usize) -> Map {
        Map::new(self.history, self.snapshot, self.now, rows, columns)
    }
}

/// What a terminal shows at one time.
fn block(
    summary: &Summary,
    pages: Pages<'_>,
    style: Style,
    size: Option<(usize, usize)>,
) -> String {
    let (columns, lines) = size.unwrap_or((80, 24));
    let (rows, width) = text::room(lines.saturating_sub(OTHERS), columns);
    let [first, second] = summary.lines();
    let map = text::render(&pages.map(rows, width), style);
    let Summary {
        address, driver, ..
    } = summary;
    format!("{address}  {driver}\n{first}\n{second}\n{}", map.trim_end())
}

/// Leaves the last map on the terminal.
impl Drop for View {
    fn drop(&mut self) {
        if let Way::Block(bar, _) = &self.way {
            bar.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heat::map::tests::sample;
    use crate::watch::clock::Clock;

    #[test]
    fn records_are_lines_of_json() {
        let (history, snapshot) = sample();
        let now = Duration::from_millis(500);
        let time = Clock::at(Duration::ZERO, Duration::ZERO).time(now);
        let address = "00:04.0".parse().unwrap();
        let summary = Summary::new(time, address, "edu_vfio_pci", &history, &snapshot, 0);
        let written: Vec<Range> = history.touched().take(1).map(Range::from).collect();
        let record = Record::Sample {
            summary: &summary,
            written: &written,
        };
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["type"], "sample");
        assert_eq!(json["pages"], 6);
        assert_eq!(
            json["written"],
            serde_json::json!([{"iova": 0x10_0000, "pages": 2}])
        );
    }

    #[test]
    fn a_terminal_has_the_numbers_above_the_map() {
        let (history, snapshot) = sample();
        let now = Duration::from_millis(500);
        let time = Clock::at(Duration::ZERO, Duration::ZERO).time(now);
        let address = "00:04.0".parse().unwrap();
        let summary = Summary::new(time, address, "edu_vfio_pci", &history, &snapshot, 0);
        let pages = Pages {
            history: &history,
            snapshot: &snapshot,
            now,
        };
        let text = block(&summary, pages, Style::PLAIN, None);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "0000:00:04.0  edu_vfio_pci");
        assert!(lines[1].contains("6 pages written, 4 different ones"));
        assert!(lines[3].starts_with("0x40000000 |"));
        assert!(lines.last().unwrap().contains("dirty and not reported yet"));
    }
}
