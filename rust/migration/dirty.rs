// SPDX-License-Identifier: GPL-2.0-only

//! Which pages of guest memory the device has written.

pub mod snapshot;
pub mod table;
mod untold;

use kernel::prelude::*;

use crate::{
    container::{
        Container,
        Wait, //
    },
    iova::{
        IovaRange,
        PageRange, //
    }, //
};
use table::DirtyTable;
use untold::Untold;

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
    /// Pages of which the user's container has not been told; `None` as long as it is told of none
    /// by the engine.
    untold: Option<Untold>,
}

impl DirtyLog {
    /// Returns a log with tracking off.
    pub const fn new() -> Self {
        Self {
            table: None,
            untold: None,
        }
    }

    /// Switches tracking on, with no page dirty.
    pub fn start(&mut self) {
        self.table = Some(DirtyTable::new());
    }

    /// Switches tracking on, with every page dirty.
    pub(crate) fn start_with_everything(&mut self) {
        self.table = Some(DirtyTable::everything());
    }

    /// Switches tracking off and frees its memory.
    pub fn stop(&mut self) {
        self.table = None;
    }

    /// Marks each page that `range` touches as dirty; does nothing while tracking is off.
    ///
    /// Never fails: if memory is short, more pages than these count as dirty.
    #[inline]
    pub fn mark(&mut self, range: IovaRange) {
        if let Some(table) = &mut self.table {
            table.mark(range.pages());
        }
        if let Some(untold) = &mut self.untold {
            untold.mark(range.pages());
        }
    }

    /// Returns the table; `EINVAL` while tracking is off.
    pub fn table(&self) -> Result<&DirtyTable> {
        self.table.as_ref().ok_or(EINVAL)
    }

    /// Returns whether the user's container is told of pages.
    pub(crate) fn is_telling(&self) -> bool {
        self.untold.is_some()
    }

    /// Has the container told of what is marked from now on.
    ///
    /// If there are pages already that it could not be told of, they are forgotten: the client is
    /// about to copy all memory.
    pub(crate) fn tell_begin(&mut self) {
        if !self.is_telling() || !self.is_telling_all() {
            self.untold = Some(Untold::new());
        }
    }

    /// Has the container told of no more pages.
    pub(crate) fn tell_end(&mut self) {
        self.untold = None;
    }

    /// Notes that pages were written that nobody knows: every page counts as dirty.
    pub(crate) fn lose(&mut self) {
        if let Some(table) = &mut self.table {
            table.mark(PageRange::EVERYTHING);
        }
        if let Some(untold) = &mut self.untold {
            untold.lose();
        }
    }

    /// Returns whether the container was told, or will be, of each page that was marked for it.
    ///
    /// True also if nothing is marked for it.
    pub(crate) fn is_telling_all(&self) -> bool {
        self.untold.as_ref().is_none_or(Untold::is_exact)
    }

    /// Returns whether enough pages have come together to tell the container of them.
    pub(crate) fn is_batch_full(&self) -> bool {
        self.untold.as_ref().is_some_and(Untold::is_full)
    }

    /// Tells `container` of the pages that it has not been told of; see [`Untold::tell`].
    pub(crate) fn tell<C: Container + ?Sized>(&mut self, container: &C, wait: Wait) -> Result {
        match &mut self.untold {
            Some(untold) => untold.tell(container, wait),
            None => Ok(()),
        }
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
