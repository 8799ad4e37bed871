// SPDX-License-Identifier: GPL-2.0-only

//! The picture: addresses over time, and pages a second below.

mod layout;
mod legend;
mod map;
#[cfg(test)]
pub mod tests;
mod time;

use std::time::Duration;

use layout::{fill, write, ACROSS, FAINT, GROUND, INK, MAP, PAPER};

use super::canvas::{Anchor, Canvas, Font, Place};
use super::history::History;
use super::map::Map;
use super::report::Summary;
use crate::watch::snapshot::Snapshot;

/// Width in pixels.
pub const WIDTH: u32 = 1200;
/// Height in pixels.
pub const HEIGHT: u32 = 760;

/// Most rows and columns: none is narrower than four pixels.
const ROWS: usize = 100;
const COLUMNS: usize = 200;

/// What is to be drawn.
#[derive(Debug)]
pub struct Picture<'a> {
    /// Numbers, for the text above.
    pub summary: &'a Summary,
    /// The pages.
    pub history: &'a History,
    /// What is dirty in the end.
    pub snapshot: &'a Snapshot,
    /// The end.
    pub now: Duration,
}

impl Picture<'_> {
    /// Draws it; the canvas has the size [`WIDTH`] by [`HEIGHT`].
    pub fn draw(&self, canvas: &mut dyn Canvas) {
        let map = Map::new(self.history, self.snapshot, self.now, ROWS, COLUMNS);
        let whole = (f64::from(WIDTH), f64::from(HEIGHT));
        fill(canvas, (0.0, whole.0), (0.0, whole.1), PAPER);
        self.head(canvas);
        if map.is_empty() {
            fill(canvas, ACROSS, MAP, GROUND);
            let middle = ((ACROSS.0 + ACROSS.1) / 2.0, (MAP.0 + MAP.1) / 2.0);
            write(canvas, "no page was written", Anchor::Middle, middle, FAINT);
        } else {
            map::draw(canvas, &map);
            legend::draw(canvas, &map);
        }
        time::rates(canvas, &map);
        time::axis(canvas, &map);
    }

    /// What the picture is of.
    fn head(&self, canvas: &mut dyn Canvas) {
        let Summary {
            address, driver, ..
        } = self.summary;
        let title = format!("{address}  {driver}: guest memory that the device wrote");
        let place = Place {
            anchor: Anchor::Start,
            x: 30.0,
            y: 30.0,
        };
        canvas.text(&title, place, Font::Title, INK);
        for (text, y) in self.summary.lines().iter().zip([60.0, 84.0]) {
            write(canvas, text, Anchor::Start, (30.0, y), FAINT);
        }
    }
}
