// SPDX-License-Identifier: GPL-2.0-only

//! Which protocols have a migration region.

use crate::{
    kabi2018,
    region_v1, //
};

/// A migration region: a header, which is the protocol's, and the data section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Region {
    /// The region of November 2018.
    Kabi2018,
    /// The region of Linux 5.8 to 5.17.
    V1,
}

impl Region {
    /// Returns the bytes of the header.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Kabi2018 => kabi2018::layout::HEADER_LEN,
            Self::V1 => region_v1::HEADER_LEN,
        }
    }
}
