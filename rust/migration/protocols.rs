// SPDX-License-Identifier: GPL-2.0-only

//! Front ends, one for each migration protocol, and which of them have a migration region.

pub mod region_2018;
pub mod region_v1;
pub mod v2;
pub mod window;

/// A migration region: a header, which is the protocol's, and the data section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MigrationRegion {
    /// The region of November 2018.
    Region2018,
    /// The region of Linux 5.8 to 5.17.
    RegionV1,
}

impl MigrationRegion {
    /// Returns the bytes of the header.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Region2018 => region_2018::layout::HEADER_LEN,
            Self::RegionV1 => region_v1::HEADER_LEN,
        }
    }
}
