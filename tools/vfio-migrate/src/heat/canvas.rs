// SPDX-License-Identifier: GPL-2.0-only

//! What a picture is drawn on.

use super::colour::Rgb;

/// A surface with an origin at the top left, measured in pixels.
pub trait Canvas {
    /// Fills a rectangle.
    fn fill(&mut self, area: Area, colour: Rgb);

    /// Writes one line of ASCII text.
    fn text(&mut self, text: &str, place: Place, font: Font, colour: Rgb);
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// Where a text is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What of the text is at `x`.
    pub anchor: Anchor,
    /// The place from the left.
    pub x: f64,
    /// The middle of the line from the top.
    pub y: f64,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// A font whose letters all have the same width.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Font {
    /// For labels.
    Label,
    /// For the title.
    Title,
}
