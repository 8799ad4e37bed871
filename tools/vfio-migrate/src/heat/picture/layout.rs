// SPDX-License-Identifier: GPL-2.0-only

//! Where the parts of a picture are, and in which colours.

use crate::heat::canvas::{Anchor, Area, Canvas, Font, Place};
use crate::heat::colour::Rgb;

/// Left and right edge of both panels.
pub const ACROSS: (f64, f64) = (210.0, 1030.0);

/// Upper and lower edge of the map.
pub const MAP: (f64, f64) = (134.0, 550.0);

/// Upper and lower edge of the pages a second.
pub const RATE: (f64, f64) = (596.0, 690.0);

/// Left and right edge of what is dirty at the end.
pub const NOW: (f64, f64) = (1036.0, 1048.0);

/// Left edge of the legend.
pub const LEGEND: f64 = 1070.0;

/// Between two bands of addresses.
pub const GAP: f64 = 22.0;

/// Least distance of two labels, one above the other.
pub const LINE: f64 = 20.0;

/// Around the panels.
pub const PAPER: Rgb = Rgb(255, 255, 255);

/// Of a panel.
pub const GROUND: Rgb = Rgb(242, 243, 246);

/// Lines across a panel.
pub const GRID: Rgb = Rgb(214, 217, 223);

/// Text.
pub const INK: Rgb = Rgb(38, 42, 50);

/// Text of less weight.
pub const FAINT: Rgb = Rgb(92, 98, 110);

/// Pages a second.
pub const BARS: Rgb = Rgb(74, 118, 176);

/// The mark of addresses that are left out.
pub const CUT: Rgb = Rgb(120, 60, 60);

/// What is dirty at the end.
pub const DIRTY: Rgb = Rgb(22, 140, 122);

/// Fills what lies between two edges each way.
pub fn fill(canvas: &mut dyn Canvas, across: (f64, f64), down: (f64, f64), colour: Rgb) {
    let area = Area {
        x: across.0,
        y: down.0,
        width: across.1 - across.0,
        height: down.1 - down.0,
    };
    canvas.fill(area, colour);
}

/// Writes a label.
pub fn write(canvas: &mut dyn Canvas, text: &str, anchor: Anchor, at: (f64, f64), colour: Rgb) {
    let place = Place {
        anchor,
        x: at.0,
        y: at.1,
    };
    canvas.text(text, place, Font::Label, colour);
}
