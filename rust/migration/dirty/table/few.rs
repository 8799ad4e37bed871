// SPDX-License-Identifier: GPL-2.0-only

//! A few pages of a stretch, with no memory of their own.

/// Most pages that a slot lists.
pub(super) const ROOM: usize = 6;

/// Up to [`ROOM`] pages of a stretch, by number in the stretch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Few {
    /// The first `len` are the pages, in ascending order.
    pages: [u16; ROOM],
    /// At most [`ROOM`].
    len: u8,
}

impl Few {
    /// No page.
    pub(super) const NONE: Self = Self {
        pages: [0; ROOM],
        len: 0,
    };

    /// Returns the number of pages.
    pub(super) fn count(&self) -> u32 {
        self.len.into()
    }

    /// Returns the pages in ascending order.
    pub(super) fn pages(&self) -> &[u16] {
        self.pages.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Adds pages `first` to `last`.
    ///
    /// Returns false if there is no room for all of them; then nothing has changed.
    pub(super) fn mark(&mut self, first: u16, last: u16) -> bool {
        if usize::from(last - first) >= ROOM {
            return false;
        }
        let mut more = *self;
        for page in first..=last {
            let len = usize::from(more.len);
            if let Err(at) = more.pages().binary_search(&page) {
                if len == ROOM {
                    return false;
                }
                more.pages.copy_within(at..len, at + 1);
                more.pages[at] = page;
                more.len += 1;
            }
        }
        *self = more;
        true
    }

    /// Removes pages `first` to `last`.
    pub(super) fn clear(&mut self, first: u16, last: u16) {
        let mut rest = Self::NONE;
        let kept = self
            .pages()
            .iter()
            .filter(|page| !(first..=last).contains(*page));
        for (to, page) in rest.pages.iter_mut().zip(kept) {
            *to = *page;
            rest.len += 1;
        }
        *self = rest;
    }

    /// Returns the first word with a dirty page, from word `from` on: its number and its bits.
    ///
    /// A word stands for 64 pages.
    pub(super) fn word_from(&self, from: usize) -> Option<(usize, u64)> {
        let mut found = None;
        for page in self.pages() {
            let (word, bit) = (usize::from(page / 64), 1u64 << (page % 64));
            match &mut found {
                None if word >= from => found = Some((word, bit)),
                Some((at, bits)) if *at == word => *bits |= bit,
                _ => {}
            }
        }
        found
    }
}
