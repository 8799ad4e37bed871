// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate dirty`

use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use migration::dirty::table::DirtyTable;

use crate::error::Result;
use crate::files::place;
use crate::heat::history::History;
use crate::heat::picture::Picture;
use crate::heat::report::{rate, Range, Summary};
use crate::heat::target::Name;
use crate::heat::view::{Pages, View};
use crate::heat::write;
use crate::output::{seen_enough, Output};
use crate::pci::Address;
use crate::watch::clock::Time;
use crate::watch::event::Line;
use crate::watch::interval;
use crate::watch::snapshot::Snapshot;
use crate::watch::source::Source;
use crate::watch::ticker::{Ticker, Wake};
use crate::watch::tracefs::{self, Trace};

/// Resolution of the map in time at the start, if samples are not closer.
const SLICE: Duration = Duration::from_millis(100);

/// Show which guest memory a device writes over time, while another process uses the device.
///
/// A heat map: addresses (IOVA) upwards, time to the right, and how many pages of 4096 bytes were
/// written. Only memory that was written is shown, with long gaps cut out. If the driver tracks
/// dirty pages, those that no query has reported are marked beside the map. Below are the pages
/// written in a second.
///
/// Looks through the driver's trace event rvfio_dirty and its file in debugfs, so neither the
/// device nor its user is disturbed, whatever protocol that one speaks; for root, with debugfs and
/// tracefs mounted. Ends after --for, or on Ctrl-C with exit code 0; a device that loses its driver
/// ends it with exit code 3. The picture is written in all these cases.
///
/// On a terminal the map changes as it is watched. If standard output is no terminal, there is a
/// line for each change, and the map, in ASCII, at the end.
///
/// With --json each sample is one object on a line of its own, of the type "sample": time (seconds
/// since 1970), address, driver, seconds (since the start), writes, pages and distinct_pages (since
/// the start), pages_per_second, dirty_pages (null: not tracked, or "everything"), unlisted_pages
/// (those of them that the driver does not list), lost (writes that were not read in time), and
/// written (ranges since the sample before: iova, pages). The last object is of the type "map": the
/// same of the whole time, bytes_of_row, seconds_of_column, rows (iova, pages of each column,
/// dirty) and picture.
///
/// The events come from a tracefs instance, instances/vfio-migrate-PID, which is removed at the
/// end; what others trace does not change. After SIGKILL it stays behind; remove it with rmdir.
#[derive(Args, Debug)]
pub struct Dirty {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF")]
    address: Address,

    /// How long to look, in seconds or as 500ms, 2s, 5m; without it until Ctrl-C
    #[arg(long = "for", value_name = "SECONDS", value_parser = interval::parse_length)]
    length: Option<Duration>,

    /// Time from one sample to the next, such as 100ms or 2s; not less than 10ms
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = interval::parse)]
    interval: Duration,

    /// Draw the map to this file in the end; its name ends in .png or .svg. '-' is a PNG on
    /// standard output, and all that is printed goes to standard error then
    #[arg(short, long = "output", value_name = "FILE", value_parser = Name::parse)]
    output: Option<Name>,
}

impl Dirty {
    /// Whether standard output is for the picture.
    pub fn takes_stdout(&self) -> bool {
        let path = self.output.as_ref().map(Name::path);
        path.is_some_and(place::is_standard_output)
    }

    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        seen_enough(self.watch(output))
    }

    fn watch(&self, output: &Output) -> Result<()> {
        let source = Source::new(self.address);
        // Anything missing is reported before anything is set up.
        let (driver, snapshot) = source.dirty()?;
        let target = self.output.as_ref().map(Name::create).transpose()?;
        // Signals are taken over before there is something to remove.
        let mut ticker = Ticker::start(self.interval, self.length)?;
        let trace = Trace::start(self.address, tracefs::DIRTY)?;
        ticker.restart();
        let mut session = Session {
            address: self.address,
            source,
            trace,
            history: History::new(self.interval.min(SLICE)),
            now: ticker.clock().now(),
            ticker,
            driver,
            snapshot,
            fresh: DirtyTable::new(),
            before: None,
            lost: 0,
            view: View::new(output),
        };
        let watched = session.watch();

        // What was seen until then is not lost with the device.
        let summary = session.summary();
        let picture = Picture {
            summary: &summary,
            history: &session.history,
            snapshot: &session.snapshot,
            now: session.now.elapsed,
        };
        let drawn = target.map_or(Ok(()), |target| target.write(&picture));
        let path = self
            .output
            .as_ref()
            .filter(|_| drawn.is_ok())
            .map(Name::path);
        let shown = session.end(&summary, path);
        watched.and(drawn).and(shown)
    }
}

/// A device that is watched.
struct Session {
    address: Address,
    source: Source,
    ticker: Ticker,
    trace: Trace,
    history: History,
    /// What was read last, and when.
    driver: String,
    snapshot: Snapshot,
    now: Time,
    /// Pages written since the last sample.
    fresh: DirtyTable,
    /// Time and pages of the last sample.
    before: Option<(Duration, u64)>,
    lost: u64,
    view: View,
}

impl Session {
    /// Shows samples until it is time to end.
    fn watch(&mut self) -> Result<()> {
        loop {
            self.read()?;
            self.sample()?;
            if !self.ticker.advance() || !self.wait()? {
                return Ok(());
            }
        }
    }

    /// Takes events until it is time for the next sample; false to end.
    fn wait(&mut self) -> Result<bool> {
        loop {
            let woken = self.ticker.wait(Some(self.trace.as_fd()))?;
            self.events()?;
            match woken {
                Wake::Due => return Ok(true),
                Wake::Readable => {}
                Wake::End => {
                    // What has come since the last sample counts.
                    self.read()?;
                    return Ok(false);
                }
            }
        }
    }

    /// Reads what the driver shows, then the events: a page that is shown dirty has had its event.
    fn read(&mut self) -> Result<()> {
        (self.driver, self.snapshot) = self.source.dirty()?;
        self.now = self.ticker.clock().now();
        self.events()
    }

    /// Takes the events that have come.
    fn events(&mut self) -> Result<()> {
        for line in self.trace.lines()? {
            match line {
                Line::Event(event) => {
                    if let Some(pages) = write::pages(&event) {
                        let time = self.ticker.clock().time(event.time).elapsed;
                        self.history.add(time, pages);
                        self.fresh.mark(pages);
                    }
                }
                Line::Lost(number) => {
                    self.lost = self.lost.saturating_add(number.unwrap_or(1));
                }
                Line::Other(_) => {}
            }
        }
        Ok(())
    }

    /// Sums up all that was seen.
    fn summary(&self) -> Summary {
        Summary::new(
            self.now,
            self.address,
            &self.driver,
            &self.history,
            &self.snapshot,
            self.lost,
        )
    }

    /// Shows what was read.
    fn sample(&mut self) -> Result<()> {
        let mut summary = self.summary();
        let now = self.now.elapsed;
        if let Some((time, pages)) = self.before.replace((now, summary.pages)) {
            summary.pages_per_second = rate(summary.pages - pages, now.saturating_sub(time));
        }
        let written: Vec<Range> = self.fresh.ranges().map(Range::from).collect();
        self.fresh = DirtyTable::new();
        let pages = Pages {
            history: &self.history,
            snapshot: &self.snapshot,
            now,
        };
        self.view.sample(&summary, &written, pages)
    }

    /// Shows the result.
    fn end(&mut self, summary: &Summary, picture: Option<&std::path::Path>) -> Result<()> {
        let pages = Pages {
            history: &self.history,
            snapshot: &self.snapshot,
            now: self.now.elapsed,
        };
        self.view.end(summary, pages, picture)
    }
}
