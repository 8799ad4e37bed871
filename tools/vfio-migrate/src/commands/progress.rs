// SPDX-License-Identifier: GPL-2.0-only

//! Shows a migration that is under way.

use indicatif::ProgressBar;

use crate::migrate::live::{Event, Observer};
use crate::output::{Output, Unit};

/// Draws bars on a terminal and prints a line for each round.
pub struct Progress {
    output: Output,
    pages: ProgressBar,
    state: ProgressBar,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(output: &Output) -> Self {
        Self {
            output: *output,
            pages: ProgressBar::hidden(),
            state: ProgressBar::hidden(),
        }
    }
}

impl Observer for Progress {
    fn event(&mut self, event: Event) {
        match event {
            Event::Round { number, pages } => {
                self.pages.finish_and_clear();
                if pages != 0 {
                    self.output
                        .note(format_args!("round {number}: {pages} pages"));
                    self.pages = self.output.bar("memory", Unit::Pages, pages);
                }
            }
            Event::Page => self.pages.inc(1),
            Event::Buffer { bytes, left } => {
                self.pages.finish_and_clear();
                if self.state.length().is_none() {
                    self.state = self.output.bar("device state", Unit::Bytes, 0);
                }
                self.state
                    .set_length(self.state.position() + left.total().max(bytes));
                self.state.inc(bytes);
            }
            Event::Stopping => self.output.note("stopping the source"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.pages.finish_and_clear();
        self.state.finish_and_clear();
    }
}
