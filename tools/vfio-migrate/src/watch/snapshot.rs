// SPDX-License-Identifier: GPL-2.0-only

//! The driver's file of dirty pages, as `Documentation/ABI/debugfs-rvfio` describes it.

use std::str::FromStr;

use migration::iova::{IovaRange, PageRange};

use crate::error::{Error, Result};

/// The pages that the device wrote and no query has reported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Snapshot {
    /// The driver does not track them.
    NotTracked,
    /// The driver gave up telling them apart.
    Everything,
    /// These.
    Pages {
        /// Number of them.
        count: u64,
        /// Where they are, in ascending order.
        ranges: Vec<PageRange>,
        /// How many of them the driver does not list.
        left_out: u64,
    },
}

impl Snapshot {
    /// The ranges that are listed.
    pub fn ranges(&self) -> &[PageRange] {
        match self {
            Self::Pages { ranges, .. } => ranges,
            Self::NotTracked | Self::Everything => &[],
        }
    }
}

impl FromStr for Snapshot {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let count = match lines
            .next()
            .and_then(|line| line.strip_prefix("dirty_pages: "))
        {
            Some("not tracked") => return Ok(Self::NotTracked),
            Some("everything") => return Ok(Self::Everything),
            Some(number) => number.parse().map_err(|_| unknown(number))?,
            None => return Err(unknown(text.lines().next().unwrap_or_default())),
        };
        let mut ranges = Vec::new();
        let mut left_out = 0;
        for line in lines {
            if let Some(number) = line.strip_prefix("left_out: ") {
                left_out = number.parse().map_err(|_| unknown(line))?;
            } else {
                ranges.push(range(line).ok_or_else(|| unknown(line))?);
            }
        }
        Ok(Self::Pages {
            count,
            ranges,
            left_out,
        })
    }
}

/// `0xFIRST-0xLAST`
fn range(line: &str) -> Option<PageRange> {
    let (first, last) = line.split_once('-')?;
    let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let (first, last) = (address(first)?, address(last)?);
    let more = last.checked_sub(first)?;
    // The whole address space has another name.
    let range = IovaRange::new(first, more.checked_add(1)?).ok()?;
    Some(range.pages())
}

fn unknown(line: &str) -> Error {
    Error::Protocol(format!(
        "the driver's list of dirty pages has a line that is not understood: '{}'",
        line.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use migration::dirty::DirtyLog;

    use super::*;

    /// What the driver's own code writes.
    fn driver(log: &DirtyLog) -> Snapshot {
        let text = migration::dirty::snapshot::Snapshot(log).to_string();
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_the_driver_writes() {
        let mut log = DirtyLog::new();
        assert_eq!(driver(&log), Snapshot::NotTracked);
        log.start();
        let nothing = Snapshot::Pages {
            count: 0,
            ranges: vec![],
            left_out: 0,
        };
        assert_eq!(driver(&log), nothing);
        let marked = [(3, 2), (0x100, 1), (u64::MAX >> 12, 1)];
        for (first, count) in marked {
            let bytes = IovaRange::new(first << 12, count << 12).unwrap();
            log.mark(bytes);
        }
        let ranges = marked.map(|(first, count)| PageRange::new(first, count).unwrap());
        assert_eq!(
            driver(&log),
            Snapshot::Pages {
                count: 4,
                ranges: ranges.to_vec(),
                left_out: 0,
            }
        );
        for page in 0..5000 {
            log.mark(IovaRange::new((1 << 40) + (page << 13), 1).unwrap());
        }
        let Snapshot::Pages {
            count,
            ranges,
            left_out,
        } = driver(&log)
        else {
            panic!("not tracked");
        };
        assert_eq!(count, 5004);
        assert_eq!(
            left_out,
            count - ranges.iter().map(PageRange::count).sum::<u64>()
        );
        assert!(left_out > 0);
        log.mark(IovaRange::new(0, u64::MAX).unwrap());
        assert_eq!(driver(&log), Snapshot::Everything);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, line) in [
            ("", "''"),
            ("state: RUNNING\n", "state: RUNNING"),
            ("dirty_pages: many\n", "many"),
            ("dirty_pages: 1\n0x0-fff\n", "0x0-fff"),
            ("dirty_pages: 1\n0x1000-0xfff\n", "0x1000-0xfff"),
            ("dirty_pages: 1\n0x0-0xfff\nleft_out: x\n", "left_out: x"),
            ("dirty_pages: 1\n0x0-0xffffffffffffffff\n", "0x0-0xf"),
            ("dirty_pages: 1\n\x1b[2J\n", "\\u{1b}[2J"),
        ] {
            let error = text.parse::<Snapshot>().unwrap_err();
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains(line), "{error}");
        }
    }
}
