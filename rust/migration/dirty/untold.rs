// SPDX-License-Identifier: GPL-2.0-only

//! Pages that a container has not been told of yet.
//!
//! A container takes its lock for each run of pages, so pages are told in batches.

use kernel::prelude::*;

use super::table::DirtyTable;
use crate::{
    container::{
        Container,
        Wait, //
    },
    iova::PageRange, //
};

/// Pages of a batch: with this many, the container is told without waiting for more.
const BATCH: u64 = 512;

/// Pages that a container has not been told of yet.
#[derive(Debug)]
pub(super) struct Untold {
    /// The pages. Its bound of memory is that of a table.
    table: DirtyTable,
    /// Pages that were marked since the container was last told, counted each time.
    marks: u64,
    /// Pages are missing that nobody knows.
    is_incomplete: bool,
}

impl Untold {
    /// Returns a set of no pages.
    pub(super) const fn new() -> Self {
        Self {
            table: DirtyTable::new(),
            marks: 0,
            is_incomplete: false,
        }
    }

    /// Adds pages.
    pub(super) fn mark(&mut self, pages: PageRange) {
        self.table.mark(pages);
        self.marks = self.marks.saturating_add(pages.count());
    }

    /// Notes that there are pages that nobody knows.
    pub(super) fn lose(&mut self) {
        self.is_incomplete = true;
    }

    /// Returns whether the pages are exactly those that were marked.
    pub(super) fn is_exact(&self) -> bool {
        !self.is_incomplete && !self.table.is_uncertain()
    }

    /// Returns whether there are as many pages as a batch has.
    pub(super) fn is_full(&self) -> bool {
        self.marks >= BATCH
    }

    /// Tells `container` of the pages, and forgets them.
    ///
    /// On an error of the container all pages are kept and will be told again. If not all of the
    /// pages are known, the container is told nothing more: [`Self::is_exact`] stays false.
    pub(super) fn tell<C: Container + ?Sized>(&mut self, container: &C, wait: Wait) -> Result {
        // Those who do not wait try again when as many pages have come as before.
        self.marks = 0;
        if self.is_exact() {
            for pages in self.table.ranges() {
                container.tell(pages, wait)?;
            }
        } else {
            self.is_incomplete = true;
        }
        self.table = DirtyTable::new();
        Ok(())
    }
}
