// SPDX-License-Identifier: GPL-2.0-only

//! The picture: addresses over time, and pages a second below.

use std::time::Duration;

use super::axis::Band;
use super::canvas::{Anchor, Area, Canvas, Font, Place};
use super::colour::{level, ramp, Rgb};
use super::history::History;
use super::map::Map;
use super::report::{amount, Summary};
use crate::watch::snapshot::Snapshot;

/// Width in pixels.
pub const WIDTH: u32 = 1200;
/// Height in pixels.
pub const HEIGHT: u32 = 760;

/// Most rows and columns: none is narrower than four pixels.
const ROWS: usize = 100;
const COLUMNS: usize = 200;

/// Left and right edge of both panels.
const ACROSS: (f64, f64) = (210.0, 1030.0);
/// Upper and lower edge of the map.
const MAP: (f64, f64) = (134.0, 550.0);
/// Upper and lower edge of the pages a second.
const RATE: (f64, f64) = (596.0, 690.0);
/// Left and right edge of what is dirty at the end.
const NOW: (f64, f64) = (1036.0, 1048.0);
/// Left edge of the legend.
const LEGEND: f64 = 1070.0;
/// Between two bands of addresses.
const GAP: f64 = 22.0;
/// Least distance of two labels, one above the other.
const LINE: f64 = 20.0;

const PAPER: Rgb = Rgb(255, 255, 255);
const GROUND: Rgb = Rgb(242, 243, 246);
const GRID: Rgb = Rgb(214, 217, 223);
const INK: Rgb = Rgb(38, 42, 50);
const FAINT: Rgb = Rgb(92, 98, 110);
const BARS: Rgb = Rgb(74, 118, 176);
const CUT: Rgb = Rgb(120, 60, 60);
const DIRTY: Rgb = Rgb(22, 140, 122);

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
            addresses(canvas, &map);
            legend(canvas, &map);
        }
        rates(canvas, &map);
        times(canvas, &map);
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

/// The map, from the lower edge up, band by band.
fn addresses(canvas: &mut dyn Canvas, map: &Map) {
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
    /// Writes those of a band: its first row's, and rounder ones above as there is room.
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

/// What the colours mean.
fn legend(canvas: &mut dyn Canvas, map: &Map) {
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

/// Pages a second.
fn rates(canvas: &mut dyn Canvas, map: &Map) {
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
fn times(canvas: &mut dyn Canvas, map: &Map) {
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
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let found = steps.into_iter().find(|step| *step >= value * 0.999_999);
    found.unwrap_or(value)
}

/// A number as it is said, without zeros at the end.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn fill(canvas: &mut dyn Canvas, across: (f64, f64), down: (f64, f64), colour: Rgb) {
    let area = Area {
        x: across.0,
        y: down.0,
        width: across.1 - across.0,
        height: down.1 - down.0,
    };
    canvas.fill(area, colour);
}

fn write(canvas: &mut dyn Canvas, text: &str, anchor: Anchor, at: (f64, f64), colour: Rgb) {
    let place = Place {
        anchor,
        x: at.0,
        y: at.1,
    };
    canvas.text(text, place, Font::Label, colour);
}

#[cfg(test)]
pub mod tests {
    use migration::iova::PageRange;

    use super::*;
    use crate::heat::map::tests::sample;
    use crate::heat::png::{font_size, Png};
    use crate::heat::svg::Svg;
    use crate::watch::clock::Clock;

    /// Calls `test` with pictures of different devices, and their names.
    pub fn with_pictures(test: impl Fn(&str, &Picture<'_>)) {
        let mut busy = History::new(Duration::from_millis(100));
        let mut rng = fastrand::Rng::with_seed(4);
        for n in 0..600u32 {
            let time = Duration::from_millis(50) * n;
            let walk = PageRange::new(0x100 + u64::from(n / 2) % 256, 2).unwrap();
            busy.add(time, walk);
            for _ in 0..n / 40 {
                busy.add(time, PageRange::new(0x180 + rng.u64(0..24), 1).unwrap());
            }
            if n % 7 == 0 {
                busy.add(time, PageRange::new((1 << 28) + rng.u64(0..64), 1).unwrap());
            }
        }
        let dirty = Snapshot::Pages {
            count: 45,
            ranges: vec![
                PageRange::new(0x110, 5).unwrap(),
                PageRange::new(0x160, 40).unwrap(),
            ],
            left_out: 0,
        };
        let nothing = History::new(Duration::from_millis(100));
        let (small, few) = sample();
        for (name, history, snapshot, now) in [
            ("busy", busy, dirty, 30_000),
            ("small", small, few, 500),
            ("nothing", nothing, Snapshot::NotTracked, 12_345),
        ] {
            with_picture(&history, &snapshot, now, |picture| test(name, picture));
        }
    }

    /// Calls `test` with the picture of a device that was looked at for that many milliseconds.
    fn with_picture(history: &History, snapshot: &Snapshot, now: u64, test: impl Fn(&Picture<'_>)) {
        let now = Duration::from_millis(now);
        let time = Clock::at(Duration::ZERO, Duration::ZERO).time(now);
        let address = "00:04.0".parse().unwrap();
        let summary = Summary::new(time, address, "edu_vfio_pci", history, snapshot, 0);
        test(&Picture {
            summary: &summary,
            history,
            snapshot,
            now,
        });
    }

    /// Remembers what is drawn.
    #[derive(Default)]
    struct Record {
        areas: Vec<(Area, Rgb)>,
        texts: Vec<(String, Place, Font)>,
    }

    impl Canvas for Record {
        fn fill(&mut self, area: Area, colour: Rgb) {
            self.areas.push((area, colour));
        }
        fn text(&mut self, text: &str, place: Place, font: Font, _: Rgb) {
            self.texts.push((text.to_owned(), place, font));
        }
    }

    #[test]
    fn everything_lies_within_the_picture() {
        with_pictures(|name, picture| {
            let mut record = Record::default();
            picture.draw(&mut record);
            for (area, _) in &record.areas {
                assert!(area.width > 0.0 && area.height > 0.0, "{name}: {area:?}");
                assert!(area.x >= 0.0 && area.x + area.width <= f64::from(WIDTH));
                assert!(area.y >= 0.0 && area.y + area.height <= f64::from(HEIGHT));
            }
            for (text, place, font) in &record.texts {
                assert!(text.is_ascii(), "{text}");
                let area = area(text, *place, *font);
                assert!(
                    area.x >= 0.0 && area.x + area.width <= f64::from(WIDTH),
                    "{name}: {text}"
                );
            }
        });
    }

    /// The area of a text in the PNG; one of an SVG is about as wide.
    fn area(text: &str, place: Place, font: Font) -> Area {
        let (width, height) = font_size(font);
        let width = width * text.len() as f64;
        let left = match place.anchor {
            Anchor::Start => place.x,
            Anchor::Middle => place.x - width / 2.0,
            Anchor::End => place.x - width,
        };
        Area {
            x: left,
            y: place.y - height / 2.0,
            width,
            height,
        }
    }

    #[test]
    fn no_text_lies_on_another() {
        // Rows as narrow as they can be, up to the upper edge, with and without gaps.
        let mut tall = History::new(Duration::from_millis(100));
        tall.add(Duration::ZERO, PageRange::new(1 << 40, 3000).unwrap());
        let mut rows = vec![tall];
        for count in 1..30 {
            let mut some = History::new(Duration::from_millis(100));
            some.add(Duration::ZERO, PageRange::new(0x12_3456, count).unwrap());
            some.add(Duration::ZERO, PageRange::new(1 << 51, count).unwrap());
            rows.push(some);
        }
        let check = |name: &str, picture: &Picture<'_>| {
            let mut record = Record::default();
            picture.draw(&mut record);
            let areas: Vec<_> = record
                .texts
                .iter()
                .map(|(text, place, font)| (text, area(text, *place, *font)))
                .collect();
            for (n, (text, one)) in areas.iter().enumerate() {
                for (other, two) in &areas[..n] {
                    let apart = one.x >= two.x + two.width
                        || two.x >= one.x + one.width
                        || one.y >= two.y + two.height
                        || two.y >= one.y + one.height;
                    assert!(apart, "{name}: '{text}' lies on '{other}'");
                }
            }
        };
        with_pictures(check);
        for history in &rows {
            with_picture(history, &Snapshot::NotTracked, 1000, |picture| {
                check("rows", picture);
            });
        }
    }

    #[test]
    fn a_picture_has_what_was_written_and_its_scale() {
        with_pictures(|name, picture| {
            let mut record = Record::default();
            picture.draw(&mut record);
            let has = |text: &str| record.texts.iter().any(|(other, ..)| other == text);
            let cells = |colour: Rgb| {
                let of_colour = record.areas.iter().filter(|(_, other)| *other == colour);
                of_colour.filter(|(area, _)| area.x < ACROSS.1).count()
            };
            assert!(has("pages/s") && has("0"), "{name}");
            match name {
                "small" => {
                    for text in ["0x100000", "0x40000000", "1", "IOVA (4 KiB a row)"] {
                        assert!(has(text), "{text}");
                    }
                    assert!(has("0.5") && has("seconds (0.1 a column)") && has("2"));
                    // Of one page each, and of two.
                    assert_eq!((cells(ramp(0.0)), cells(ramp(1.0))), (4, 1));
                    assert_eq!((cells(BARS), cells(CUT)), (4, 3));
                    let dirty = record.areas.iter().filter(|(_, colour)| *colour == DIRTY);
                    // And the legend.
                    assert_eq!(dirty.count(), 2 + 1);
                }
                "nothing" => assert!(has("no page was written") && cells(BARS) == 0),
                _ => assert!(has("dirty at") && cells(BARS) > 100),
            }
        });
    }

    #[test]
    fn both_formats_are_drawn() {
        with_pictures(|name, picture| {
            let mut svg = Svg::new(WIDTH, HEIGHT);
            picture.draw(&mut svg);
            let text = String::from_utf8(svg.finish()).unwrap();
            let document = roxmltree::Document::parse(&text).unwrap();
            let rectangles = document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "rect")));
            let mut record = Record::default();
            picture.draw(&mut record);
            assert_eq!(rectangles.count(), record.areas.len(), "{name}");
            let mut png = Png::new(WIDTH, HEIGHT);
            picture.draw(&mut png);
            assert!(png.finish().unwrap().len() > 2000);
        });
    }

    #[test]
    fn scales_are_round() {
        for (value, round) in [
            (0.013, 0.02),
            (0.1, 0.1),
            (3.0, 5.0),
            (21.0, 25.0),
            (51.0, 100.0),
        ] {
            assert!((round_up(value) - round).abs() < 1e-9, "{value}");
        }
        assert_eq!(number(0.0), "0");
        assert_eq!(number(12.5), "12.5");
        assert_eq!(number(100.0), "100");
    }
}
