// SPDX-License-Identifier: GPL-2.0-only

//! Which pages of guest memory the device has written.

pub mod snapshot;
pub mod table;

use kernel::prelude::*;

use crate::iova::{
    IovaRange,
    PageRange, //
};
use table::DirtyTable;

/// Takes a dirty bitmap piece by piece.
///
/// Called with ascending byte offsets and the bytes that belong there. The bitmap is little-endian;
/// bit 0 of byte 0 stands for the first page of the query. Bytes that are not handed over are 0, so
/// a query costs only what its dirty pages cost.
pub type BitmapSink<'a> = dyn FnMut(usize, &[u8]) -> Result + 'a;

/// The pages that the device has written since tracking began.
#[derive(Debug, Default)]
pub struct DirtyLog {
    /// `None` while tracking is off.
    table: Option<DirtyTable>,
}

impl DirtyLog {
    /// Returns a log with tracking off.
    pub const fn new() -> Self {
        Self { table: None }
    }

    /// Switches tracking on, with no page dirty.
    pub fn start(&mut self) {
        self.table = Some(DirtyTable::new());
    }

    /// Switches tracking off and frees its memory.
    pub fn stop(&mut self) {
        self.table = None;
    }

    /// Marks each page that `range` touches as dirty; does nothing while tracking is off.
    #[inline]
    pub fn mark(&mut self, range: IovaRange) {
        if let Some(table) = &mut self.table {
            table.mark(range.pages());
        }
    }

    /// Returns the table; `EINVAL` while tracking is off.
    pub fn table(&self) -> Result<&DirtyTable> {
        self.table.as_ref().ok_or(EINVAL)
    }

    /// Forgets the dirty pages of `range`, except for those of `except`.
    ///
    /// `EINVAL` while tracking is off.
    pub(crate) fn clear(
        &mut self,
        range: PageRange,
        except: impl Iterator<Item = IovaRange>,
    ) -> Result {
        let table = self.table.as_mut().ok_or(EINVAL)?;
        table.clear(range);
        for range in except {
            table.mark(range.pages());
        }
        Ok(())
    }
}
