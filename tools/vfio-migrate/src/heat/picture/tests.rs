// SPDX-License-Identifier: GPL-2.0-only

use migration::iova::PageRange;

use super::layout::{ACROSS, BARS, CUT, DIRTY};
use super::time::{number, round_up};
use super::*;
use crate::heat::canvas::Area;
use crate::heat::colour::{ramp, Rgb};
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
