// SPDX-License-Identifier: GPL-2.0-only

//! How much memory one bit of a dirty bitmap stands for.

use kernel::prelude::*;

use crate::iova::PAGE_SIZE;

/// The page size of a dirty bitmap: a power of two of bytes, at least [`PAGE_SIZE`].
///
/// A client may ask for a coarser bitmap than the table keeps; that is the rule of
/// `struct vfio_device_feature_dma_logging_report` in `<linux/vfio.h>`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Granule {
    /// Base-2 logarithm of the number of pages that a bit stands for, below 64.
    shift: u32,
}

impl Granule {
    /// One bit for each page.
    pub const PAGE: Self = Self { shift: 0 };

    /// Returns the granule of `bytes`.
    ///
    /// `EINVAL` unless that is a power of two and at least [`PAGE_SIZE`].
    pub fn new(bytes: u64) -> Result<Self> {
        if !bytes.is_power_of_two() || bytes < PAGE_SIZE {
            return Err(EINVAL);
        }
        Ok(Self {
            shift: (bytes / PAGE_SIZE).trailing_zeros(),
        })
    }

    /// Returns the number of the bit for the page that is `page` pages after the first.
    pub(super) fn bit(self, page: u64) -> u64 {
        page >> self.shift
    }
}
