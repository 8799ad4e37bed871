// SPDX-License-Identifier: GPL-2.0-only

//! The bound of a table's memory.

use kernel::prelude::*;

/// Most bytes that a table has allocated.
///
/// The bound suffices for just under 2 TiB of dirty memory in one piece, at 1/32,700 of it, and for
/// some 60,000 dirty pages in the worst places, each in 16 GiB of its own. The vector of groups
/// shrinks only when the last group is gone: room for groups of the past, at most 3 MiB, comes on
/// top. The memory is charged to the process that starts the device's work.
pub const MAX_BYTES: usize = 64 << 20;

/// The memory that a table has allocated.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// In bytes, at most [`MAX_BYTES`].
    used: usize,
}

impl Budget {
    /// Returns a budget of which nothing is used.
    pub(super) const fn new() -> Self {
        Self { used: 0 }
    }

    /// Returns how many bytes are allocated.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Runs `allocate`, which takes `bytes`; `ENOMEM` if that is beyond the bound.
    pub(super) fn spend<T>(
        &mut self,
        bytes: usize,
        allocate: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let used = self.used.checked_add(bytes).ok_or(ENOMEM)?;
        if used > MAX_BYTES {
            return Err(ENOMEM);
        }
        let result = allocate()?;
        self.used = used;
        Ok(result)
    }

    /// Notes that `bytes` were freed.
    pub(super) fn release(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}
