// SPDX-License-Identifier: GPL-2.0-only

//! What a protocol needs of a migration region: a trapped header and a window for data.

use std::fmt;

use rustix::io::Errno;
use serde::Serialize;

/// Type and subtype of the migration region of November 2018.
pub const REGION_2018: (u32, u32) = (1 << 30, 1);

/// Where the parts of a migration region lie.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Layout {
    /// Bytes of the whole region.
    pub size: u64,
    /// Bytes of the header at its start.
    pub header: u64,
    /// Offset of the data section in the region.
    pub data_offset: u64,
    /// Bytes of the data section.
    pub data_size: u64,
    /// The data section is mapped; otherwise it is read and written.
    pub mapped: bool,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            size,
            header,
            data_offset,
            data_size,
            mapped,
        } = self;
        let how = if *mapped {
            "mapped"
        } else {
            "read and written"
        };
        write!(
            f,
            "{size} bytes: header of {header}, data section of {data_size} at {data_offset:#x}, \
             {how}"
        )
    }
}

/// Access to a migration region.
///
/// Every access of the header is one call on the device; offsets count from the region's start.
pub trait Region: Send {
    /// Returns where the parts lie.
    fn layout(&self) -> Layout;
    /// Reads from the header.
    fn read_header(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno>;
    /// Writes to the header.
    fn write_header(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno>;
    /// Reads from the data section.
    fn read_data(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno>;
    /// Writes to the data section.
    fn write_data(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno>;
}
