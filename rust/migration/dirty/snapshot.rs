// SPDX-License-Identifier: GPL-2.0-only

//! The dirty pages of a device as text, for the operator.

use core::fmt;

use super::DirtyLog;
use crate::iova::PAGE_SIZE;

/// Most ranges that a [`Snapshot`] lists, the bound of its length: 4096 lines of at most 38 bytes.
pub const MAX_RANGES: usize = 4096;

/// The dirty pages of a log, none of which it clears.
///
/// The first line is `dirty_pages:` and their number, `not tracked`, or `everything` if the table
/// gave up telling pages apart and not all of them have been reported since. A number is followed
/// by one line for each range of neighbouring dirty pages, in ascending order, `0xFIRST-0xLAST`:
/// IOVA of the range's first byte and of its last one. If there are more ranges than
/// [`MAX_RANGES`], the last line is `left_out:` and the number of pages in the others.
///
/// The format is that of `Documentation/ABI/debugfs-rvfio`.
#[derive(Debug)]
pub struct Snapshot<'a>(pub &'a DirtyLog);

impl fmt::Display for Snapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(table) = self.0.table() else {
            return writeln!(f, "dirty_pages: not tracked");
        };
        if table.is_uncertain() {
            return writeln!(f, "dirty_pages: everything");
        }
        let pages = table.count();
        writeln!(f, "dirty_pages: {}", pages)?;

        let mut listed = 0u64;
        for range in table.ranges().take(MAX_RANGES) {
            let last = range.last() * PAGE_SIZE + (PAGE_SIZE - 1);
            writeln!(f, "{:#x}-{:#x}", range.start(), last)?;
            listed = listed.saturating_add(range.count());
        }
        match pages.saturating_sub(listed) {
            0 => Ok(()),
            left => writeln!(f, "left_out: {}", left),
        }
    }
}
