// SPDX-License-Identifier: GPL-2.0-only

//! What the colours mean.

use super::layout::{fill, write, DIRTY, FAINT, INK, LEGEND, MAP};
use crate::heat::canvas::{Anchor, Canvas};
use crate::heat::colour::{level, ramp};
use crate::heat::map::Map;

/// What the colours mean.
pub fn draw(canvas: &mut dyn Canvas, map: &Map) {
    const STEPS: u32 = 60;
    let (top, bottom) = (MAP.0 + 68.0, MAP.0 + 248.0);
    write(
        canvas,
        "pages",
        Anchor::Start,
        (LEGEND, MAP.0 + 10.0),
        FAINT,
    );
    write(
        canvas,
        "in a cell",
        Anchor::Start,
        (LEGEND, MAP.0 + 32.0),
        FAINT,
    );
    let bar = (LEGEND, LEGEND + 22.0);
    let text = LEGEND + 32.0;
    if map.peak <= 1 {
        fill(canvas, bar, (top, top + 22.0), ramp(0.0));
        write(canvas, "1", Anchor::Start, (text, top + 11.0), INK);
    } else {
        let step = (bottom - top) / f64::from(STEPS);
        for n in 0..STEPS {
            let y = bottom - step * f64::from(n);
            let colour = ramp(f64::from(n) / f64::from(STEPS - 1));
            fill(canvas, bar, (y - step, y), colour);
        }
        // CAST: a number between 1 and the peak.
        let middle = (map.peak as f64).sqrt().round() as u64;
        let mut counts = vec![1, middle, map.peak];
        counts.dedup();
        for count in counts {
            let y = bottom - (bottom - top) * level(count, map.peak);
            write(canvas, &count.to_string(), Anchor::Start, (text, y), INK);
        }
    }
    if map.dirty.contains(&true) {
        let y = MAP.0 + 300.0;
        fill(canvas, (LEGEND, LEGEND + 12.0), (y - 10.0, y + 10.0), DIRTY);
        write(canvas, "dirty at", Anchor::Start, (LEGEND + 22.0, y), INK);
        write(
            canvas,
            "the end",
            Anchor::Start,
            (LEGEND + 22.0, y + 22.0),
            INK,
        );
    }
}
