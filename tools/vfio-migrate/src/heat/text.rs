// SPDX-License-Identifier: GPL-2.0-only

//! The map as text.

use std::env;

use super::colour::{level, step, terminal};
use super::map::Map;
use super::report::amount;

/// Which characters there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Style {
    /// Blocks, and not only ASCII.
    pub blocks: bool,
    /// Colours of a terminal.
    pub colours: bool,
}

/// Columns beside the map: a blank, its left edge, its right edge, a mark.
const EDGES: usize = 4;
/// Lines below the map: pages a second, time, and two that explain.
const BELOW: usize = 4;
/// Most characters of an address.
const ADDRESS: usize = 18;

impl Style {
    /// For output that is no terminal.
    pub const PLAIN: Self = Self {
        blocks: false,
        colours: false,
    };

    /// What the terminal of this process can show, by its environment.
    pub fn of_terminal() -> Self {
        Self::of(|name| env::var(name).unwrap_or_default())
    }

    fn of(variable: impl Fn(&str) -> String) -> Self {
        // The first that is set counts, as in locale(7).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(&variable);
        let locale = locale.iter().find(|value| !value.is_empty());
        let locale = locale.map(|value| value.to_ascii_lowercase().replace('-', ""));
        let term = variable("TERM");
        Self {
            blocks: locale.is_some_and(|locale| locale.contains("utf8")),
            colours: !term.is_empty() && term != "dumb" && variable("NO_COLOR").is_empty(),
        }
    }

    /// From little to much.
    fn shades(self) -> &'static [char] {
        if self.colours && self.blocks {
            &['█']
        } else if self.blocks {
            &['░', '▒', '▓', '█']
        } else {
            &['.', ':', '-', '=', '+', '*', '#', '%', '@']
        }
    }

    /// From low to high.
    fn bars(self) -> &'static [char] {
        if self.blocks {
            &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &['.', ':', '-', '=', '+', '*', '#', '@']
        }
    }

    /// Edges of the map, what is left out, and what is dirty.
    fn marks(self) -> (char, char, char) {
        if self.blocks {
            ('│', '⋮', '◂')
        } else {
            ('|', ':', '<')
        }
    }
}

/// The rows and columns of a map whose text has at most that many lines and columns.
pub fn room(lines: usize, columns: usize) -> (usize, usize) {
    (
        lines.saturating_sub(BELOW).max(1),
        columns.saturating_sub(ADDRESS + EDGES).max(1),
    )
}

/// Shows a map, the highest address first; each line ends with a line feed.
pub fn render(map: &Map, style: Style) -> String {
    if map.is_empty() {
        return "no page was written yet\n".into();
    }
    let addresses: Vec<String> = map
        .axis
        .addresses()
        .map(|address| format!("{address:#x}"))
        .collect();
    let width = addresses.iter().map(String::len).max().unwrap_or(0).max(7);
    let (edge, cut, dirty) = style.marks();

    let mut lines = Vec::new();
    let mut row = 0;
    for (n, band) in map.axis.bands().iter().enumerate() {
        if n > 0 {
            lines.push(format!("{cut:>width$}"));
        }
        for _ in 0..band.rows() {
            let cells = cells(&map.cells[row], map.peak, style);
            let mark = if map.dirty[row] { dirty } else { ' ' };
            let line = format!("{:>width$} {edge}{cells}{edge}{mark}", addresses[row]);
            lines.push(line.trim_end().to_owned());
            row += 1;
        }
    }
    lines.reverse();

    lines.push(format!(
        "{:>width$} {edge}{}{edge}",
        "pages/s",
        rates(map, style)
    ));
    lines.push(format!("{:width$}  {}", "", times(map)));
    lines.extend(legend(map, style));
    lines.join("\n") + "\n"
}

fn cells(cells: &[u64], peak: u64, style: Style) -> String {
    let shades = style.shades();
    let mut text = String::new();
    let mut colour = None;
    for count in cells {
        let level = level(*count, peak);
        let wanted = (style.colours && *count > 0).then(|| terminal(level));
        if wanted != colour {
            text.push_str(&select(wanted));
            colour = wanted;
        }
        text.push(match count {
            0 => ' ',
            _ => shades[step(level, shades.len())],
        });
    }
    if colour.is_some() {
        text.push_str(&select(None));
    }
    text
}

/// Selects one of 256 colours of a terminal, or its usual one.
fn select(colour: Option<u8>) -> String {
    match colour {
        Some(colour) => format!("\x1b[38;5;{colour}m"),
        None => "\x1b[39m".into(),
    }
}

fn rates(map: &Map, style: Style) -> String {
    let bars = style.bars();
    let most = map.totals.iter().copied().max().unwrap_or(0).max(1);
    map.totals
        .iter()
        .map(|pages| match pages {
            0 => ' ',
            // CAST: not more exact than a bar.
            pages => bars[step(*pages as f64 / most as f64, bars.len())],
        })
        .collect()
}

/// The start and the end of the columns.
fn times(map: &Map) -> String {
    let end = format!("{:.1} s", map.length().as_secs_f64());
    let columns = map.totals.len();
    let width = columns.saturating_sub(1).max(end.len() + 2);
    format!("0{end:>width$}")
}

fn legend(map: &Map, style: Style) -> [String; 2] {
    let (_, _, dirty) = style.marks();
    let row = map.axis.bytes_of_row().map_or_else(|| "all".into(), amount);
    let most = map.rates().fold(0.0, f64::max);
    let shade = |count: u64| cells(&[count], map.peak, style);
    let scale = match map.peak {
        0 | 1 => format!("{} 1 page", shade(1)),
        peak => format!("{} 1 to {} {peak} pages", shade(1), shade(peak)),
    };
    [
        format!(
            "a row {row}, a column {:.2} s, at most {most:.1} pages/s",
            map.column.as_secs_f64()
        ),
        format!("{scale}, {dirty} dirty and not reported yet"),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::heat::history::History;
    use crate::heat::map::tests::sample;
    use crate::watch::snapshot::Snapshot;

    fn map() -> Map {
        let (history, snapshot) = sample();
        Map::new(&history, &snapshot, Duration::from_millis(500), 20, 80)
    }

    #[test]
    fn plain_text_for_files() {
        assert_eq!(
            render(&map(), Style::PLAIN),
            "\
0x40000000 |   . |
         :
  0x105000 |     |<
  0x104000 |     |
  0x103000 |  .  |<
  0x102000 |     |
  0x101000 |..   |
  0x100000 |@    |
   pages/s |@--- |
            0  0.5 s
a row 4 KiB, a column 0.10 s, at most 30.0 pages/s
. 1 to @ 2 pages, < dirty and not reported yet
"
        );
    }

    #[test]
    fn blocks_and_colours_for_terminals() {
        let blocks = Style {
            blocks: true,
            colours: false,
        };
        let text = render(&map(), blocks);
        assert!(text.contains("0x101000 │░░   │\n"), "{text}");
        assert!(text.contains("0x103000 │  ░  │◂\n"), "{text}");
        assert!(text.contains("  pages/s │█▃▃▃ │\n"), "{text}");
        let both = Style {
            blocks: true,
            colours: true,
        };
        let text = render(&map(), both);
        assert!(text.contains("│\x1b[38;5;222m██\x1b[39m   │\n"), "{text:?}");
        assert!(text.contains("│\x1b[38;5;163m█\x1b[39m    │\n"), "{text:?}");
    }

    #[test]
    fn a_map_fits_in_its_room() {
        let mut history = History::new(Duration::from_millis(100));
        for n in 0..1000u32 {
            let page = u64::from(n) * u64::from(n) * 40 + (u64::MAX >> 13);
            let pages = migration::iova::PageRange::new(page, 3).unwrap();
            history.add(Duration::from_millis(70) * n, pages);
        }
        for (lines, columns) in [(24, 80), (50, 200), (10, 40), (8, 30)] {
            let (rows, width) = room(lines, columns);
            let now = Duration::from_secs(70);
            let map = Map::new(&history, &Snapshot::Everything, now, rows, width);
            let text = render(&map, Style::PLAIN);
            assert!(text.lines().count() <= lines, "{text}");
            let lines: Vec<_> = text.lines().collect();
            // The explanation is not cut short for a terminal that is very narrow.
            let (_, picture) = lines.split_last().unwrap();
            assert!(
                picture[..picture.len() - 1]
                    .iter()
                    .all(|line| line.len() <= columns),
                "{text}"
            );
        }
    }

    #[test]
    fn the_environment_tells_what_a_terminal_can_show() {
        let style = |set: &[(&str, &str)]| {
            let found = |name: &str| set.iter().find(|(other, _)| *other == name);
            let style = Style::of(|name| found(name).map_or("", |(_, value)| value).to_owned());
            (style.blocks, style.colours)
        };
        assert_eq!(style(&[]), (false, false));
        assert_eq!(
            style(&[("LANG", "C.UTF-8"), ("TERM", "linux")]),
            (true, true)
        );
        assert_eq!(
            style(&[("LC_ALL", "C"), ("LANG", "de_DE.utf8")]),
            (false, false)
        );
        assert_eq!(
            style(&[("LC_CTYPE", "C.utf8"), ("TERM", "dumb")]),
            (true, false)
        );
        assert_eq!(
            style(&[("TERM", "xterm"), ("NO_COLOR", "1")]),
            (false, false)
        );
    }
}
