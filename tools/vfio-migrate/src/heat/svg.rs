// SPDX-License-Identifier: GPL-2.0-only

//! Pictures as SVG.

use std::fmt::Write;

use super::canvas::{Anchor, Area, Canvas, Font, Place};
use super::colour::Rgb;

/// A picture that is being drawn.
#[derive(Debug)]
pub struct Svg {
    text: String,
}

impl Svg {
    /// An empty picture.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            text: format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
                 viewBox=\"0 0 {width} {height}\" shape-rendering=\"crispEdges\" \
                 font-family=\"Noto Sans Mono, DejaVu Sans Mono, monospace\">\n"
            ),
        }
    }

    /// The file's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.text.push_str("</svg>\n");
        self.text.into_bytes()
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(element);
        self.text.push('\n');
    }
}

impl Canvas for Svg {
    fn fill(&mut self, area: Area, colour: Rgb) {
        let Area {
            x,
            y,
            width,
            height,
        } = area;
        self.add(format_args!(
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
             fill=\"{}\"/>",
            hexadecimal(colour)
        ));
    }

    fn text(&mut self, text: &str, place: Place, font: Font, colour: Rgb) {
        let anchor = match place.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (size, weight) = match font {
            Font::Label => (15, "normal"),
            Font::Title => (18, "bold"),
        };
        self.add(format_args!(
            "<text x=\"{:.2}\" y=\"{:.2}\" text-anchor=\"{anchor}\" font-size=\"{size}\" \
             font-weight=\"{weight}\" fill=\"{}\" dominant-baseline=\"central\">{}</text>",
            place.x,
            place.y,
            hexadecimal(colour),
            escape(text)
        ));
    }
}

fn hexadecimal(Rgb(red, green, blue): Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            // XML has no way to write them.
            c if c.is_control() => "?".into(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_well_formed() {
        let mut svg = Svg::new(30, 20);
        let area = Area {
            x: 1.0,
            y: 2.5,
            width: 3.0,
            height: 4.0,
        };
        svg.fill(area, Rgb(255, 0, 10));
        let place = Place {
            anchor: Anchor::End,
            x: 5.0,
            y: 6.0,
        };
        svg.text("a<b & \x1b c>d \"", place, Font::Title, Rgb(0, 0, 0));
        let bytes = svg.finish();
        let text = std::str::from_utf8(&bytes).unwrap();
        let document = roxmltree::Document::parse(text).unwrap();
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "svg");
        assert_eq!(root.attribute("viewBox"), Some("0 0 30 20"));
        let rect = root
            .children()
            .find(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "rect")));
        assert_eq!(rect.unwrap().attribute("fill"), Some("#ff000a"));
        let words = root
            .descendants()
            .find_map(|node| node.text().filter(|text| text.contains('a')));
        assert_eq!(words, Some("a<b & ? c>d \""));
    }
}
