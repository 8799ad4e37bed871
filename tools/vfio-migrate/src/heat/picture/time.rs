// SPDX-License-Identifier: GPL-2.0-only

//! What lies along the time axis: pages a second, and the axis itself.

use super::layout::{fill, write, ACROSS, BARS, FAINT, GRID, GROUND, INK, MAP, RATE};
use crate::heat::canvas::{Anchor, Canvas};
use crate::heat::map::Map;

/// Pages a second.
pub fn rates(canvas: &mut dyn Canvas, map: &Map) {
    fill(canvas, ACROSS, RATE, GROUND);
    let rates: Vec<f64> = map.rates().collect();
    let most = rates.iter().copied().fold(0.0, f64::max);
    let top = if most > 0.0 { round_up(most) } else { 1.0 };
    for part in [0.0, 0.5, 1.0] {
        let y = RATE.1 - (RATE.1 - RATE.0) * part;
        fill(canvas, ACROSS, (y - 0.5, y + 0.5), GRID);
        write(
            canvas,
            &number(top * part),
            Anchor::End,
            (ACROSS.0 - 14.0, y),
            INK,
        );
    }
    let width = (ACROSS.1 - ACROSS.0) / rates.len() as f64;
    for (column, rate) in rates.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
        let left = ACROSS.0 + width * column as f64;
        let upper = RATE.1 - (RATE.1 - RATE.0) * rate / top;
        // A bar is never so low that it does not show.
        fill(
            canvas,
            (left, left + width),
            (upper.min(RATE.1 - 1.0), RATE.1),
            BARS,
        );
    }
    write(
        canvas,
        "pages/s",
        Anchor::End,
        (ACROSS.0 - 14.0, RATE.0 - 24.0),
        FAINT,
    );
}

/// The time axis of both panels.
pub fn axis(canvas: &mut dyn Canvas, map: &Map) {
    let length = map.length().as_secs_f64();
    let step = round_up(length / 8.0);
    let mut n = 0;
    loop {
        let time = step * f64::from(n);
        if time > length * 1.000_001 {
            break;
        }
        let x = ACROSS.0 + (ACROSS.1 - ACROSS.0) * time / length;
        for lower in [MAP.1, RATE.1] {
            fill(canvas, (x - 0.5, x + 0.5), (lower, lower + 6.0), FAINT);
        }
        write(
            canvas,
            &number(time),
            Anchor::Middle,
            (x, RATE.1 + 20.0),
            INK,
        );
        n += 1;
    }
    let middle = (ACROSS.0 + ACROSS.1) / 2.0;
    let text = format!("seconds ({} a column)", number(map.column.as_secs_f64()));
    write(
        canvas,
        &text,
        Anchor::Middle,
        (middle, RATE.1 + 46.0),
        FAINT,
    );
}

/// The next number that is 1, 2, 2.5 or 5 times a power of ten.
pub fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let found = steps.into_iter().find(|step| *step >= value * 0.999_999);
    found.unwrap_or(value)
}

/// A number without zeros at its end.
pub fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
