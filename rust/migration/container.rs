// SPDX-License-Identifier: GPL-2.0-only

//! A record of dirty pages beside the engine's own: that of the user's IOMMU container.
//!
//! A client of v1 or v2 may ask the container which pages were written, and not the device. The
//! container counts only pages that it was told of, from the first time on that it was told of one.

use kernel::prelude::*;

use crate::iova::PageRange;

/// Whether a call may wait for others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// The call waits, for a bounded time.
    Yes,
    /// The call fails at once, and is repeated later.
    No,
}

/// What a device's host is to the engine.
///
/// By default nobody has to be told of pages.
pub trait Container {
    /// Returns whether a container may ask for the pages that the device writes.
    fn counts_pages(&self) -> bool {
        false
    }

    /// Tells the container that the device has written `pages`.
    ///
    /// Pages that are not mapped for the device are left out: it cannot write them. On an error the
    /// container may know of some of the pages. `EBUSY` for [`Wait::No`] if the user undoes
    /// mappings at this moment.
    fn tell(&self, pages: PageRange, wait: Wait) -> Result {
        let _ = (pages, wait);
        Ok(())
    }
}
