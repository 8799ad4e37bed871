// SPDX-License-Identifier: GPL-2.0-only

//! Client of the migration region of November 2018.
//!
//! The C interface: `include/uapi/linux/vfio_migration_region.h`.

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::migrate::dirty::{Bitmap, PAGE};
use crate::migrate::protocol::{Migration, Pending, Phase, Protocol};
use crate::migrate::region::{Layout, Region};

/// Bytes of `struct vfio_device_migration_info`.
pub const HEADER: u64 = 76;

/// A field of the header.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: &'static str,
    offset: u64,
}

const fn field(name: &'static str, offset: u64) -> Field {
    Field { name, offset }
}

const DEVICE_STATE: Field = field("device_state", 0);
/// The first of three neighbours: `precopy_only`, `compatible`, `postcopy_only`.
const PENDING: Field = field("pending", 4);
const THRESHOLD_SIZE: Field = field("pending.threshold_size", 28);
/// The first of two neighbours: `offset`, `size`.
const DATA: Field = field("data", 36);
const DATA_OFFSET: Field = field("data.offset", 36);
const DATA_SIZE: Field = field("data.size", 44);
const DIRTY_START: Field = field("dirty_pfns.start_addr", 52);
const DIRTY_TOTAL: Field = field("dirty_pfns.total", 60);
const DIRTY_COPIED: Field = field("dirty_pfns.copied", 68);

/// Value of `device_state` that ends a migration early.
const CANCELLED: u32 = 9;

/// A device behind its migration region.
pub struct Region2018 {
    region: Box<dyn Region>,
    /// The client has copied what the data section held, and has not told the driver yet.
    copied: bool,
}

impl Region2018 {
    /// Takes a region of the type [`REGION_2018`](super::region::REGION_2018).
    pub fn new(region: Box<dyn Region>) -> Self {
        Self {
            region,
            copied: false,
        }
    }

    fn read(&self, field: Field, bytes: &mut [u8]) -> Result<()> {
        self.region
            .read_header(field.offset, bytes)
            .map_err(Error::step(format!("reading {}", field.name)))
    }

    fn read_u64(&self, field: Field) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(field, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn write_u64(&self, field: Field, value: u64) -> Result<(), Errno> {
        self.region.write_header(field.offset, &value.to_le_bytes())
    }

    /// Writes `device_state`.
    fn write_state(&mut self, value: u32, step: &str) -> Result<()> {
        self.copied = false;
        self.region
            .write_header(DEVICE_STATE.offset, &value.to_le_bytes())
            .map_err(|errno| refused(step.to_owned(), errno))
    }

    /// Refuses a range that does not lie in the region, past its header.
    fn check_range(&self, offset: u64, size: u64) -> Result<usize> {
        let layout = self.region.layout();
        match offset.checked_add(size) {
            Some(end) if end <= layout.size && offset >= HEADER => Ok(size as usize),
            _ => Err(Error::Protocol(format!(
                "the driver says that {size} bytes lie at {offset:#x} of a region of {:#x} bytes",
                layout.size
            ))),
        }
    }
}

/// The error of a header write that a correct driver refuses only for a wrong image or state.
fn refused(step: String, errno: Errno) -> Error {
    Error::Refused {
        step,
        errno,
        because: None,
    }
}

/// The value of `device_state` for a phase.
fn state_of(phase: Phase) -> u32 {
    match phase {
        Phase::Stopped => 0,
        Phase::Running => 1,
        Phase::Setup => 2,
        Phase::PreCopy => 3,
        Phase::StopAndCopy => 4,
        Phase::SaveCompleted => 5,
        Phase::Resume => 6,
        Phase::ResumeCompleted => 7,
    }
}

impl Migration for Region2018 {
    fn protocol(&self) -> Protocol {
        Protocol::Region2018
    }

    fn layout(&self) -> Option<Layout> {
        Some(self.region.layout())
    }

    fn phase(&mut self) -> Result<Phase> {
        let mut bytes = [0; 4];
        self.read(DEVICE_STATE, &mut bytes)?;
        Ok(match u32::from_le_bytes(bytes) {
            0 => Phase::Stopped,
            1 => Phase::Running,
            2 => Phase::Setup,
            3 => Phase::PreCopy,
            4 => Phase::StopAndCopy,
            5 => Phase::SaveCompleted,
            6 => Phase::Resume,
            7 => Phase::ResumeCompleted,
            other => return Err(Error::Protocol(format!("device_state reads {other}"))),
        })
    }

    fn enter(&mut self, phase: Phase) -> Result<()> {
        self.write_state(state_of(phase), &format!("the state '{phase}' was"))
    }

    fn cancel(&mut self) -> Result<()> {
        self.write_state(CANCELLED, "cancelling the migration was")
    }

    fn pending(&mut self) -> Result<Pending> {
        let mut bytes = [0; 24];
        self.read(PENDING, &mut bytes)?;
        self.copied = false;
        let count =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Ok(Pending {
            precopy_only: count(0),
            compatible: count(8),
            postcopy_only: count(16),
        })
    }

    fn limit_buffer(&mut self, bytes: u64) -> Result<()> {
        self.write_u64(THRESHOLD_SIZE, bytes)
            .map_err(Error::step(format!("writing {}", THRESHOLD_SIZE.name)))
    }

    fn take_buffer(&mut self, out: &mut Vec<u8>) -> Result<u64> {
        if self.copied {
            // Reading a pending field tells the driver that the last buffer, or bitmap, was copied.
            self.pending()?;
        }
        let mut bytes = [0; 16];
        self.read(DATA, &mut bytes)?;
        let offset = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        let size = u64::from_le_bytes(bytes[8..].try_into().expect("eight bytes"));
        if size == 0 {
            return Ok(0);
        }
        let len = self.check_range(offset, size)?;
        let start = out.len();
        out.resize(start + len, 0);
        self.region
            .read_data(offset, &mut out[start..])
            .map_err(Error::step("reading the data section"))?;
        self.copied = true;
        Ok(size)
    }

    fn buffer_capacity(&self) -> usize {
        usize::try_from(self.region.layout().data_size).unwrap_or(usize::MAX)
    }

    fn put_buffer(&mut self, bytes: &[u8]) -> Result<()> {
        let layout = self.region.layout();
        if bytes.len() > self.buffer_capacity() {
            return Err(Error::Protocol(
                "a buffer larger than the data section".into(),
            ));
        }
        self.region
            .write_data(layout.data_offset, bytes)
            .map_err(Error::step("writing the data section"))?;
        self.write_u64(DATA_OFFSET, layout.data_offset)
            .map_err(|errno| refused(format!("the write of {}", DATA_OFFSET.name), errno))?;
        self.write_u64(DATA_SIZE, bytes.len() as u64)
            .map_err(|errno| refused(format!("the image ({} bytes of it)", bytes.len()), errno))
    }

    fn query_dirty(&mut self, iova: u64, dirty: &mut Bitmap) -> Result<()> {
        let total = dirty.pages();
        let mut first = 0;
        while first < total {
            let left = (total - first) as u64;
            let start = iova + (first * PAGE) as u64;
            self.copied = true;
            self.write_u64(DIRTY_START, start)
                .map_err(Error::step(format!("writing {}", DIRTY_START.name)))?;
            self.write_u64(DIRTY_TOTAL, left)
                .map_err(Error::step(format!("writing {}", DIRTY_TOTAL.name)))?;
            let copied = self.read_u64(DIRTY_COPIED)?;
            if copied == 0 {
                return Ok(());
            }
            if copied > left {
                return Err(Error::Protocol(format!(
                    "the driver reports {copied} pages of {left} asked for"
                )));
            }
            let offset = self.region.layout().data_offset;
            let mut bits = vec![0; self.check_range(offset, copied.div_ceil(8))?];
            self.region
                .read_data(offset, &mut bits)
                .map_err(Error::step("reading the dirty bitmap"))?;
            // CAST: at most `left`, which came from a `usize`.
            let copied = copied as usize;
            dirty.merge(first, copied, &bits);
            first += copied;
        }
        Ok(())
    }
}
