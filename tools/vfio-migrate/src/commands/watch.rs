// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate watch`

use std::ops::ControlFlow::{self, Break, Continue};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;

use crate::error::Result;
use crate::output::{seen_enough, Output};
use crate::pci::Address;
use crate::watch::interval;
use crate::watch::sample::Sample;
use crate::watch::source::Source;
use crate::watch::ticker::{Ticker, Wake};
use crate::watch::tracefs::{self, Trace};
use crate::watch::view::View;

/// Show live what the driver knows of a device that another process uses.
///
/// Opens nothing but the driver's file in debugfs, so the device and its user are not disturbed;
/// for root, with debugfs mounted. Ends after --count samples, or on Ctrl-C with exit code 0; a
/// device that loses its driver ends it with exit code 3.
///
/// On a terminal one block shows state, protocol, bytes left, bytes saved and loaded and their
/// rates, dirty pages and the last error. If standard output is no terminal, there is one line for
/// each change, with the seconds since the start and the values under the names that the driver
/// gives them.
///
/// With --json each sample is one object on a line of its own, of the type "sample": time (seconds
/// since 1970), address, driver, state, protocol, pending_bytes, dirty_pages (null: not tracked),
/// images_saved, bytes_saved, images_loaded, bytes_loaded, last_error (null: none), and
/// saved_per_second and loaded_per_second (null in the first sample). An event is of the type
/// "event": time, address, event, task, fields. "lost" counts the events that were not read in
/// time.
#[derive(Args, Debug)]
pub struct Watch {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF")]
    address: Address,

    /// Time from one sample to the next, such as 100ms or 2s; not less than 10ms
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = interval::parse)]
    interval: Duration,

    /// End after that many samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print also the driver's trace events of the device, as they come
    ///
    /// They come from a tracefs instance, instances/vfio-migrate-PID, which is removed at the end;
    /// what others trace does not change. After SIGKILL it stays behind; remove it with rmdir. A
    /// state that is left within the interval shows only here.
    #[arg(long)]
    events: bool,
}

impl Watch {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        seen_enough(self.watch(output))
    }

    fn watch(&self, output: &Output) -> Result<()> {
        let source = Source::new(self.address);
        // What is missing is said before anything is set up.
        source.read()?;
        // Signals are taken over before there is something to remove.
        let mut ticker = Ticker::start(self.interval, None)?;
        let trace = match self.events {
            true => Some(Trace::start(self.address, tracefs::ALL)?),
            false => None,
        };
        ticker.restart();
        let mut session = Session {
            address: self.address,
            ticker,
            trace,
            view: View::new(output),
        };
        let mut before: Option<Sample> = None;
        let mut left = self.count;
        loop {
            let reading = source.read()?;
            let now = session.ticker.clock().now();
            let sample = Sample::new(now, self.address, reading, before.as_ref());
            session.events()?;
            session.view.sample(&sample)?;
            before = Some(sample);
            left = left.map(|left| left - 1);
            if left == Some(0) || session.wait()?.is_break() {
                return Ok(());
            }
        }
    }
}

/// What goes on between two samples.
struct Session {
    address: Address,
    ticker: Ticker,
    trace: Option<Trace>,
    view: View,
}

impl Session {
    /// Shows events until it is time for the next sample, or to end.
    fn wait(&mut self) -> Result<ControlFlow<()>> {
        self.ticker.advance();
        loop {
            let woken = self.ticker.wait(self.trace.as_ref().map(Trace::as_fd))?;
            self.events()?;
            match woken {
                Wake::Due => return Ok(Continue(())),
                Wake::Readable => {}
                Wake::End => return Ok(Break(())),
            }
        }
    }

    /// Shows the events that have come.
    fn events(&mut self) -> Result<()> {
        if let Some(trace) = &mut self.trace {
            for line in trace.lines()? {
                self.view.trace(self.address, self.ticker.clock(), &line)?;
            }
        }
        Ok(())
    }
}
