// SPDX-License-Identifier: GPL-2.0-only

//! Numbers of what a device wrote, for people and for programs.

use std::fmt;
use std::time::Duration;

use indicatif::HumanCount;
use migration::iova::PageRange;
use serde::{Serialize, Serializer};

use super::history::History;
use crate::pci::Address;
use crate::watch::clock::Time;
use crate::watch::snapshot::Snapshot;

/// What is known at one time.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// When.
    pub time: Time,
    /// Device.
    pub address: Address,
    /// Name of its driver.
    pub driver: String,
    /// Seconds since the start.
    #[serde(serialize_with = "seconds")]
    pub seconds: Duration,
    /// Number of writes.
    pub writes: u64,
    /// Pages written since the start, repeats included.
    pub pages: u64,
    /// Different pages among them; `None` if they are too many to tell apart.
    pub distinct_pages: Option<u64>,
    /// Pages written in a second: since the previous sample, or since the start in the last report.
    pub pages_per_second: f64,
    /// What the driver has not reported yet.
    pub dirty_pages: Dirty,
    /// How many of them the driver does not list, because they are too scattered.
    pub unlisted_pages: u64,
    /// Least number of writes that are missing because they came faster than they could be read.
    pub lost: u64,
}

/// The number of pages that no query has reported; in JSON a number, null, or "everything".
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Dirty {
    /// That many.
    Pages(u64),
    /// The driver does not track them.
    NotTracked(Option<()>),
    /// All pages count as dirty.
    Everything(&'static str),
}

impl From<&Snapshot> for Dirty {
    fn from(snapshot: &Snapshot) -> Self {
        match snapshot {
            Snapshot::NotTracked => Self::NotTracked(None),
            Snapshot::Everything => Self::Everything("everything"),
            Snapshot::Pages { count, .. } => Self::Pages(*count),
        }
    }
}

impl fmt::Display for Dirty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages(count) => HumanCount(*count).fmt(f),
            Self::NotTracked(_) => f.write_str("not tracked by the driver"),
            Self::Everything(text) => f.write_str(text),
        }
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// Pages in a second; 0 if no time has passed.
pub fn rate(pages: u64, time: Duration) -> f64 {
    if time.is_zero() {
        return 0.0;
    }
    // CAST: not more exact than a rate.
    pages as f64 / time.as_secs_f64()
}

impl Summary {
    /// Sums up the history.
    pub fn new(
        time: Time,
        address: Address,
        driver: &str,
        history: &History,
        snapshot: &Snapshot,
        lost: u64,
    ) -> Self {
        Self {
            time,
            address,
            driver: driver.to_owned(),
            seconds: time.elapsed,
            writes: history.writes(),
            pages: history.pages(),
            distinct_pages: history.distinct(),
            pages_per_second: rate(history.pages(), time.elapsed),
            dirty_pages: snapshot.into(),
            unlisted_pages: match snapshot {
                Snapshot::Pages { left_out, .. } => *left_out,
                Snapshot::NotTracked | Snapshot::Everything => 0,
            },
            lost,
        }
    }

    /// The numbers in words, on two lines.
    pub fn lines(&self) -> [String; 2] {
        let distinct = match self.distinct_pages {
            Some(count) => format!("{} different ones", HumanCount(count)),
            None => "too many to tell apart".into(),
        };
        let unlisted = match self.unlisted_pages {
            0 => String::new(),
            unlisted => format!(", {} of them not shown", HumanCount(unlisted)),
        };
        let lost = match self.lost {
            0 => String::new(),
            lost => format!("; {} writes LOST, not shown", HumanCount(lost)),
        };
        [
            format!(
                "{:.1} s, {} pages written, {distinct}, {:.1} pages/s",
                self.seconds.as_secs_f64(),
                HumanCount(self.pages),
                self.pages_per_second,
            ),
            format!(
                "dirty, not reported yet: {}{unlisted}{lost}",
                self.dirty_pages
            ),
        ]
    }
}

/// One line, under the names that JSON has.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:10.3} pages_per_second={:.1} pages={} distinct_pages=",
            self.seconds.as_secs_f64(),
            self.pages_per_second,
            self.pages,
        )?;
        match self.distinct_pages {
            Some(pages) => write!(f, "{pages}")?,
            None => f.write_str("unknown")?,
        }
        match self.dirty_pages {
            Dirty::Pages(pages) => write!(f, " dirty_pages={pages}")?,
            Dirty::NotTracked(_) => f.write_str(" dirty_pages=untracked")?,
            Dirty::Everything(text) => write!(f, " dirty_pages={text}")?,
        }
        write!(f, " lost={}", self.lost)
    }
}

/// Neighbouring pages, in JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Range {
    /// Address of the first page.
    iova: u64,
    /// Number of pages.
    pages: u64,
}

impl From<PageRange> for Range {
    fn from(range: PageRange) -> Self {
        Self {
            iova: range.start(),
            pages: range.count(),
        }
    }
}

/// Shows a number of bytes that is a power of two.
pub fn amount(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    // CAST: there are 64 bits.
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    format!("{} {}", bytes >> (10 * unit), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heat::map::tests::sample;
    use crate::watch::clock::Clock;

    fn summary(lost: u64) -> Summary {
        let (history, snapshot) = sample();
        let clock = Clock::at(Duration::ZERO, Duration::from_secs(1000));
        let time = clock.time(Duration::from_millis(500));
        let address = "00:04.0".parse().unwrap();
        Summary::new(time, address, "edu_vfio_pci", &history, &snapshot, lost)
    }

    #[test]
    fn numbers_for_programs() {
        assert_eq!(
            serde_json::to_value(summary(0)).unwrap(),
            serde_json::json!({
                "time": 1000.5,
                "address": "0000:00:04.0",
                "driver": "edu_vfio_pci",
                "seconds": 0.5,
                "writes": 5,
                "pages": 6,
                "distinct_pages": 4,
                "pages_per_second": 12.0,
                "dirty_pages": 2,
                "unlisted_pages": 0,
                "lost": 0,
            })
        );
        let json = |snapshot: Snapshot| serde_json::to_string(&Dirty::from(&snapshot)).unwrap();
        assert_eq!(json(Snapshot::NotTracked), "null");
        assert_eq!(json(Snapshot::Everything), "\"everything\"");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            summary(0).lines(),
            [
                "0.5 s, 6 pages written, 4 different ones, 12.0 pages/s",
                "dirty, not reported yet: 2"
            ]
        );
        assert!(summary(3).lines()[1].ends_with("; 3 writes LOST, not shown"));
        assert_eq!(
            summary(0).to_string(),
            "     0.500 pages_per_second=12.0 pages=6 distinct_pages=4 dirty_pages=2 lost=0"
        );
    }

    #[test]
    fn amounts_have_units() {
        for (bytes, text) in [
            (1, "1 B"),
            (4096, "4 KiB"),
            (2 << 20, "2 MiB"),
            (512 << 30, "512 GiB"),
            (1 << 63, "8 EiB"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }
}
