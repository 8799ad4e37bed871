// SPDX-License-Identifier: GPL-2.0-only

//! The source's side of a migration, for every protocol and every kind of target.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::migrate::dirty::{Bitmap, PAGE};
use crate::migrate::memory::GuestMemory;
use crate::migrate::protocol::{Migration, Pending, Phase};
use crate::migrate::target::Target;

/// How long a device in pre-copy may hand out nothing while it reports bytes that must be copied.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to migrate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pre-copy rounds: at least one.
    pub rounds: u32,
    /// Most bytes of device state in a buffer; without it the data section's size.
    pub chunk: Option<u64>,
}

/// What happens during a migration.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A pre-copy round begins, with that many pages to copy.
    Round {
        /// Number of the round, from 1.
        number: u32,
        /// Pages to copy.
        pages: u64,
    },
    /// A page was copied.
    Page,
    /// A buffer of device state was copied.
    Buffer {
        /// Bytes in it.
        bytes: u64,
        /// What was left before it was copied.
        left: Pending,
    },
    /// The source is about to stop.
    Stopping,
}

/// What the owner of the source does during a migration.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: Event);

    /// Called between two rounds, while the device runs.
    fn between_rounds(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called when pre-copy is over, where a VMM would stop the virtual processors.
    fn before_stop(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a migration moved and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Bytes of device state sent while the source ran.
    pub precopy_bytes: u64,
    /// Bytes of device state sent while it was stopped.
    pub stopped_bytes: u64,
    /// Buffers of device state.
    pub buffers: u64,
    /// Pre-copy rounds.
    pub rounds: u32,
    /// Pages of memory.
    pub memory_pages: u64,
    /// Pages that the device wrote meanwhile, for each query; the last query is that of the stopped
    /// device.
    pub dirty_pages: Vec<u64>,
    /// Seconds from the request to stop the source until the target ran.
    pub stopped_seconds: f64,
    /// Seconds that the whole migration took.
    pub total_seconds: f64,
}

impl Statistics {
    /// Bytes of device state.
    pub fn state_bytes(&self) -> u64 {
        self.precopy_bytes + self.stopped_bytes
    }

    /// Pages that the device wrote meanwhile.
    pub fn dirty_total(&self) -> u64 {
        self.dirty_pages.iter().sum()
    }
}

/// Moves a device's state, and memory if there is some, to a target that then runs.
///
/// If the migration fails, the target is told and the source runs on with nothing lost. Only if the
/// target may already run does the source stay stopped ([`Error::TargetUnknown`]).
pub fn migrate(
    source: &mut dyn Migration,
    memory: Option<&GuestMemory>,
    target: &mut dyn Target,
    observer: &mut dyn Observer,
    options: Options,
) -> Result<Statistics> {
    let mut pass = Pass {
        source,
        memory,
        target,
        observer,
        statistics: Statistics::default(),
        buffer: Vec::new(),
        stopped: false,
    };
    let result = pass.run(options);
    if let Err(error) = &result {
        pass.target.abort(&error.to_string());
        if !matches!(error, Error::TargetUnknown) {
            // The caller reports the error that led here; a source that cannot run on needs a reset
            // anyway.
            let _ = pass.source.cancel();
        }
    }
    result.map(|()| pass.statistics)
}

/// One migration under way.
struct Pass<'a> {
    source: &'a mut dyn Migration,
    memory: Option<&'a GuestMemory>,
    target: &'a mut dyn Target,
    observer: &'a mut dyn Observer,
    statistics: Statistics,
    buffer: Vec<u8>,
    stopped: bool,
}

impl Pass<'_> {
    fn run(&mut self, options: Options) -> Result<()> {
        let start = Instant::now();
        self.source.enter(Phase::Setup)?;
        let capacity = self.source.buffer_capacity() as u64;
        let chunk = options.chunk.unwrap_or(capacity).min(capacity);
        self.source.limit_buffer(chunk)?;
        self.source.enter(Phase::PreCopy)?;
        for number in 1..=options.rounds.max(1) {
            if number > 1 {
                self.observer.between_rounds()?;
            }
            let pages = if number == 1 {
                self.all_pages()
            } else {
                self.dirty_pages()?
            };
            let count = pages.count();
            self.observer.event(Event::Round {
                number,
                pages: count,
            });
            self.copy_pages(&pages)?;
            self.precopy()?;
            self.statistics.rounds = number;
        }
        self.observer.before_stop()?;

        self.observer.event(Event::Stopping);
        let stop = Instant::now();
        self.source.enter(Phase::StopAndCopy)?;
        self.stopped = true;
        let pages = self.dirty_pages()?;
        self.copy_pages(&pages)?;
        loop {
            let left = self.source.pending()?;
            if self.copy_buffer(left)? != 0 {
                continue;
            }
            if left.total() != 0 {
                return Err(Error::Protocol(format!(
                    "the driver says that {} bytes are left but hands out none",
                    left.total()
                )));
            }
            break;
        }
        self.target.ready()?;
        self.source.enter(Phase::SaveCompleted)?;
        self.target.start()?;
        self.statistics.stopped_seconds = stop.elapsed().as_secs_f64();
        self.statistics.total_seconds = start.elapsed().as_secs_f64();
        Ok(())
    }

    /// A map of all the memory.
    fn all_pages(&self) -> Bitmap {
        let pages = self.memory.map_or(0, GuestMemory::pages);
        let mut map = Bitmap::new(pages);
        (0..pages).for_each(|page| map.set(page));
        map
    }

    /// Asks for the pages that the device has written.
    fn dirty_pages(&mut self) -> Result<Bitmap> {
        let mut map = Bitmap::new(self.memory.map_or(0, GuestMemory::pages));
        if self.memory.is_some() {
            self.source.query_dirty(GuestMemory::IOVA, &mut map)?;
            self.statistics.dirty_pages.push(map.count());
        }
        Ok(map)
    }

    fn copy_pages(&mut self, pages: &Bitmap) -> Result<()> {
        let Some(memory) = self.memory else {
            return Ok(());
        };
        let mut bytes = [0; PAGE];
        for page in pages.marked() {
            memory.read_page(page, &mut bytes);
            self.target.page(page, &bytes)?;
            self.statistics.memory_pages += 1;
            self.observer.event(Event::Page);
        }
        Ok(())
    }

    /// Copies state of the running device: first all that must be copied before it stops, then the
    /// rest as long as it shrinks. A busy device always has some left.
    fn precopy(&mut self) -> Result<()> {
        let mut progress = Instant::now();
        let mut before = u64::MAX;
        loop {
            let left = self.source.pending()?;
            let now = left.while_running();
            if now == 0 || (left.precopy_only == 0 && now >= before) {
                return Ok(());
            }
            before = now;
            if self.copy_buffer(left)? != 0 {
                progress = Instant::now();
            } else if left.precopy_only == 0 {
                return Ok(());
            } else if progress.elapsed() > PATIENCE {
                return Err(Error::Timeout {
                    what: format!("pre-copy of the last {} bytes", left.precopy_only),
                    seconds: PATIENCE.as_secs(),
                });
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Copies the next buffer of the device's state and returns its size.
    fn copy_buffer(&mut self, left: Pending) -> Result<u64> {
        self.buffer.clear();
        let bytes = self.source.take_buffer(&mut self.buffer)?;
        if bytes == 0 {
            return Ok(0);
        }
        self.target.device(&self.buffer)?;
        self.statistics.buffers += 1;
        if self.stopped {
            self.statistics.stopped_bytes += bytes;
        } else {
            self.statistics.precopy_bytes += bytes;
        }
        self.observer.event(Event::Buffer { bytes, left });
        Ok(bytes)
    }
}
