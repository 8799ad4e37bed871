// SPDX-License-Identifier: GPL-2.0-only

//! Pictures as PNG.

use noto_sans_mono_bitmap::{get_raster, get_raster_width, FontWeight, RasterHeight};

use super::canvas::{Anchor, Area, Canvas, Font, Place};
use super::colour::Rgb;
use crate::error::{Error, Result};

/// A picture that is being drawn.
#[derive(Debug)]
pub struct Png {
    width: u32,
    height: u32,
    /// Three bytes a pixel, line by line.
    pixels: Vec<u8>,
}

impl Png {
    /// A black picture.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            pixels: vec![0; 3 * width as usize * height as usize],
        }
    }

    /// The file's bytes.
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&self.pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(bytes)
    }

    /// The bytes of a pixel, if there is one.
    fn pixel(&mut self, x: i64, y: i64) -> Option<&mut [u8]> {
        let (x, y) = (u32::try_from(x).ok()?, u32::try_from(y).ok()?);
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = 3 * (y as usize * self.width as usize + x as usize);
        self.pixels.get_mut(at..at + 3)
    }

    /// Mixes a colour into a pixel; with `part` 255 the pixel gets the colour.
    fn mix(&mut self, x: i64, y: i64, colour: Rgb, part: u8) {
        let Rgb(red, green, blue) = colour;
        if let Some(pixel) = self.pixel(x, y) {
            for (byte, new) in pixel.iter_mut().zip([red, green, blue]) {
                let (old, new, part) = (u32::from(*byte), u32::from(new), u32::from(part));
                // CAST: between two bytes.
                *byte = ((old * (255 - part) + new * part) / 255) as u8;
            }
        }
    }
}

fn failed(error: png::EncodingError) -> Error {
    Error::file("the picture")(error.into())
}

/// Weight and raster of a font.
fn raster(font: Font) -> (FontWeight, RasterHeight) {
    match font {
        Font::Label => (FontWeight::Regular, RasterHeight::Size20),
        Font::Title => (FontWeight::Bold, RasterHeight::Size24),
    }
}

/// Width and height of a letter, in pixels.
pub fn font_size(font: Font) -> (f64, f64) {
    let (weight, size) = raster(font);
    // CAST: a few pixels.
    (get_raster_width(weight, size) as f64, size.val() as f64)
}

/// The pixel at which a place begins.
fn at(place: f64) -> i64 {
    // CAST: places are within a picture or near it.
    place.round() as i64
}

impl Canvas for Png {
    fn fill(&mut self, area: Area, colour: Rgb) {
        // Neighbours in the picture are neighbours here: none overlap, nothing shows between them.
        for y in at(area.y)..at(area.y + area.height) {
            for x in at(area.x)..at(area.x + area.width) {
                self.mix(x, y, colour, 255);
            }
        }
    }

    fn text(&mut self, text: &str, place: Place, font: Font, colour: Rgb) {
        let (weight, size) = raster(font);
        let (advance, height) = font_size(font);
        let width = advance * text.chars().count() as f64;
        let left = match place.anchor {
            Anchor::Start => place.x,
            Anchor::Middle => place.x - width / 2.0,
            Anchor::End => place.x - width,
        };
        let top = place.y - height / 2.0;
        for (n, c) in text.chars().enumerate() {
            let Some(glyph) = get_raster(c, weight, size).or_else(|| get_raster('?', weight, size))
            else {
                continue;
            };
            let x = at(left + advance * n as f64);
            for (line, y) in glyph.raster().iter().zip(at(top)..) {
                for (part, x) in line.iter().zip(x..) {
                    self.mix(x, y, colour, *part);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_can_be_read() {
        let mut canvas = Png::new(60, 40);
        let area = Area {
            x: 0.0,
            y: 0.0,
            width: 60.0,
            height: 40.0,
        };
        canvas.fill(area, Rgb(255, 255, 255));
        let corner = Area {
            x: 58.0,
            y: 38.0,
            ..area
        };
        // What lies outside is cut.
        canvas.fill(corner, Rgb(1, 2, 3));
        let place = Place {
            anchor: Anchor::Middle,
            x: 30.0,
            y: 20.0,
        };
        canvas.text("H\u{20ac}", place, Font::Label, Rgb(0, 0, 0));
        let bytes = canvas.finish().unwrap();

        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (60, 40));
        let pixel = |x: usize, y: usize| &pixels[3 * (y * 60 + x)..][..3];
        assert_eq!(pixel(0, 0), [255, 255, 255]);
        assert_eq!(pixel(57, 39), [255, 255, 255]);
        assert_eq!(pixel(59, 39), [1, 2, 3]);
        let dark = |columns: std::ops::Range<usize>| {
            let places = columns.flat_map(|x| (10..30).map(move |y| (x, y)));
            places.filter(|(x, y)| pixel(*x, *y)[0] < 160).count()
        };
        // Both letters are there, around the middle.
        assert!(dark(18..30) > 10 && dark(30..42) > 10);
        assert_eq!(dark(0..18) + dark(42..57), 0);
    }
}
