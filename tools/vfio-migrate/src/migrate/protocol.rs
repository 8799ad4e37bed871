// SPDX-License-Identifier: GPL-2.0-only

//! What every migration protocol can do, whatever its own words for it.

use std::fmt;

use serde::Serialize;
use vfio_bindings::bindings::vfio as uapi;

use crate::error::Result;
use crate::migrate::dirty::Bitmap;
use crate::migrate::region::{Layout, REGION_2018};

/// A protocol by which a VFIO device migrates.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Protocol {
    /// The migration region of November 2018.
    #[serde(rename = "region-2018")]
    Region2018,
    /// The migration region of Linux 5.8 to 5.17, which QEMU 5.2 to 7.2 use.
    #[serde(rename = "region-v1")]
    RegionV1,
    /// The device features of Linux 5.18 and later, which QEMU 8 and later use.
    #[serde(rename = "v2")]
    V2,
}

impl Protocol {
    /// Type and subtype of the protocol's region, if it is one.
    pub fn region(self) -> Option<(u32, u32)> {
        match self {
            Self::Region2018 => Some(REGION_2018),
            Self::RegionV1 => Some((
                uapi::VFIO_REGION_TYPE_MIGRATION_DEPRECATED,
                uapi::VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED,
            )),
            Self::V2 => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Region2018 => "region-2018",
            Self::RegionV1 => "region-v1",
            Self::V2 => "v2",
        })
    }
}

/// Where a device stands in a migration.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Stopped, no migration.
    Stopped,
    /// Runs.
    Running,
    /// Runs; written pages are recorded.
    Setup,
    /// Runs and hands out state.
    PreCopy,
    /// Stopped; hands out what is left.
    StopAndCopy,
    /// Stopped; all was handed out.
    SaveCompleted,
    /// Takes state.
    Resume,
    /// Has taken the state; stopped.
    ResumeCompleted,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Setup => "setup",
            Self::PreCopy => "pre-copy",
            Self::StopAndCopy => "stop-and-copy",
            Self::SaveCompleted => "save completed",
            Self::Resume => "resuming",
            Self::ResumeCompleted => "resume completed",
        })
    }
}

/// How many bytes of device state are left.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Pending {
    /// Must be copied before the target starts, and can be while the source runs.
    pub precopy_only: u64,
    /// Can be copied at any time.
    pub compatible: u64,
    /// Can be copied only after the source has stopped.
    pub postcopy_only: u64,
}

impl Pending {
    /// Returns the number of bytes left.
    pub fn total(&self) -> u64 {
        self.precopy_only
            .saturating_add(self.compatible)
            .saturating_add(self.postcopy_only)
    }

    /// Returns the number of bytes that can be copied while the source runs.
    pub fn while_running(&self) -> u64 {
        self.precopy_only.saturating_add(self.compatible)
    }
}

/// A device that a protocol migrates.
pub trait Migration: Send {
    /// The protocol.
    fn protocol(&self) -> Protocol;

    /// The layout of the protocol's region, if it has one.
    fn layout(&self) -> Option<Layout>;

    /// Reads the device's phase.
    fn phase(&mut self) -> Result<Phase>;

    /// Takes the device to a phase; returns once it is there.
    fn enter(&mut self, phase: Phase) -> Result<()>;

    /// Ends a migration early: a source runs on with nothing lost, a target is reset and runs.
    fn cancel(&mut self) -> Result<()>;

    /// Reads how many bytes of state are left to save.
    fn pending(&mut self) -> Result<Pending>;

    /// Limits the buffers that the device hands out to `bytes` each.
    fn limit_buffer(&mut self, bytes: u64) -> Result<()>;

    /// Appends the next buffer of device state to `out` and returns its size in bytes: 0 if there
    /// is nothing now (the device runs) or nothing more (it is stopped).
    fn take_buffer(&mut self, out: &mut Vec<u8>) -> Result<u64>;

    /// Returns the most bytes that [`Self::put_buffer`] takes.
    fn buffer_capacity(&self) -> usize;

    /// Hands a buffer to a resuming device; returns once the device has consumed it.
    fn put_buffer(&mut self, bytes: &[u8]) -> Result<()>;

    /// Marks in the map the pages that the device wrote since the last query.
    ///
    /// Page 0 of the map is the page at the I/O virtual address `iova`.
    fn query_dirty(&mut self, iova: u64, dirty: &mut Bitmap) -> Result<()>;
}
