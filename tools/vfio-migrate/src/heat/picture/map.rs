// SPDX-License-Identifier: GPL-2.0-only

//! The map: addresses over time.

use super::layout::{
    fill, write, ACROSS, CUT, DIRTY, FAINT, GAP, GRID, GROUND, INK, LINE, MAP, NOW,
};
use crate::heat::axis::Band;
use crate::heat::canvas::{Anchor, Canvas};
use crate::heat::colour::{level, ramp};
use crate::heat::map::Map;
use crate::heat::report::amount;

/// The map, from the lower edge up, band by band.
pub fn draw(canvas: &mut dyn Canvas, map: &Map) {
    let bands = map.axis.bands();
    let addresses: Vec<u64> = map.axis.addresses().collect();
    // CAST: few bands, rows and columns.
    let gaps = GAP * (bands.len() - 1) as f64;
    let height = (MAP.1 - MAP.0 - gaps) / map.axis.rows() as f64;
    let width = (ACROSS.1 - ACROSS.0) / map.totals.len() as f64;
    let mut row = 0;
    let mut lower = MAP.1;
    let mut labels = Labels {
        last: f64::INFINITY,
    };
    for (n, band) in bands.iter().enumerate() {
        let upper = lower - height * band.rows() as f64;
        if n > 0 {
            cut(canvas, lower + GAP / 2.0);
        }
        fill(canvas, ACROSS, (upper, lower), GROUND);
        labels.draw(canvas, band, &addresses[row..], (upper, lower));
        for index in 0..band.rows() {
            let bottom = lower - height * index as f64;
            let across = (bottom - height, bottom);
            for (column, count) in map.cells[row + index].iter().enumerate() {
                if *count > 0 {
                    let left = ACROSS.0 + width * column as f64;
                    let colour = ramp(level(*count, map.peak));
                    fill(canvas, (left, left + width), across, colour);
                }
            }
            if map.dirty[row + index] {
                fill(canvas, NOW, across, DIRTY);
            }
        }
        row += band.rows();
        lower = upper - GAP;
    }
    let title = match map.axis.bytes_of_row() {
        Some(bytes) => format!("IOVA ({} a row)", amount(bytes)),
        None => "IOVA".into(),
    };
    // Above the label of the uppermost row.
    let corner = (30.0, MAP.0 - 22.0);
    write(canvas, &title, Anchor::Start, corner, FAINT);
}

/// The mark of addresses that are left out: three dots on the axis.
fn cut(canvas: &mut dyn Canvas, middle: f64) {
    for y in [middle - 6.0, middle, middle + 6.0] {
        fill(
            canvas,
            (ACROSS.0 - 2.0, ACROSS.0 + 1.0),
            (y - 1.5, y + 1.5),
            CUT,
        );
    }
}

/// The labels of addresses.
struct Labels {
    /// Where the one below is.
    last: f64,
}

impl Labels {
    /// Writes the labels of a band: that of its first row, and rounder ones above if there is room.
    fn draw(&mut self, canvas: &mut dyn Canvas, band: &Band, addresses: &[u64], edges: (f64, f64)) {
        let (upper, lower) = edges;
        let height = (lower - upper) / band.rows() as f64;
        let mut every = 1;
        while height * (every as f64) < 1.8 * LINE {
            every *= 2;
        }
        for (index, address) in (0..band.rows()).zip(addresses) {
            let bottom = lower - height * index as f64;
            let is_round = (band.first() + index as u64) % every == 0;
            if (index > 0 && !is_round) || self.last - bottom < LINE {
                continue;
            }
            if index > 0 {
                fill(canvas, ACROSS, (bottom - 0.5, bottom + 0.5), GRID);
            }
            fill(
                canvas,
                (ACROSS.0 - 8.0, ACROSS.0),
                (bottom - 1.0, bottom),
                FAINT,
            );
            let text = format!("{address:#x}");
            write(canvas, &text, Anchor::End, (ACROSS.0 - 14.0, bottom), INK);
            self.last = bottom;
        }
    }
}
