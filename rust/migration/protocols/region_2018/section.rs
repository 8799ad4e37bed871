// SPDX-License-Identifier: GPL-2.0-only

//! The content of the data section, and the events that change it.
//!
//! The section holds one thing at a time. Each event is a function of this file:
//!
//! | event | content before | content after |
//! |---|---|---|
//! | `data.size` is read while saving | nothing | the next buffer |
//! | a pending field is read, or the state written | buffer or bitmap | nothing |
//! | a query is armed | buffer | unchanged |
//! | | bitmap | nothing |
//! | the query runs | any | the bitmap |
//! | `data.size` is written while resuming | any | the client's bytes |
//!
//! Reading a pending field, writing the state and arming a query say that the client is done with
//! the content. A query replaces a buffer, and no byte of the image may be lost with it. If the
//! buffer was staged before the query was armed, the client is done with it. If the query was armed
//! already, the engine keeps the bytes until the client is done with them, and stages them again
//! after the bitmap. So nothing is saved from the section before a bitmap is written there.

use core::mem;

use kernel::prelude::*;

use super::{
    Query,
    Region2018, //
};
use crate::{
    device::Device,
    engine::Engine,
    iova::PageRange,
    protocols::window::Side, //
};

/// The content of the data section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Section {
    /// Nothing that the client knows of.
    Nothing,
    /// A buffer of the image.
    Buffer {
        /// Bytes in the buffer; 0 for nothing now, or nothing more.
        size: u64,
        /// Bytes of the buffer that the engine keeps: all of them, or none.
        kept: usize,
    },
    /// The bitmap of a dirty query, of that many bytes.
    Bitmap(u64),
    /// That many bytes of an image, which the client wrote and the engine has taken.
    Taken(u64),
}

impl Section {
    /// Returns how many bytes of the section have a meaning.
    fn size(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Buffer { size, .. } | Self::Bitmap(size) | Self::Taken(size) => size,
        }
    }
}

impl Region2018 {
    /// Returns `data.size`; stages the next buffer if the section holds nothing while saving.
    pub(super) fn data_size<D: Device>(&mut self, side: &mut Side<'_, D>) -> Result<u64> {
        let saving = self.is_owner(side.engine) && side.engine.state().is_saving();
        match self.section {
            Section::Nothing if saving => self.section = self.stage(side)?,
            // The device is lost, and the image with it.
            Section::Buffer { .. } if !saving => self.section = Section::Nothing,
            _ => {}
        }
        Ok(self.section.size())
    }

    /// Stages the next buffer.
    fn stage<D: Device>(&self, side: &mut Side<'_, D>) -> Result<Section> {
        if let Query::Armed(_) = self.query {
            let kept = side.show(self.threshold)?;
            let size = u64::try_from(kept)?;
            return Ok(Section::Buffer { size, kept });
        }
        let size = side.fill(self.threshold)?;
        Ok(Section::Buffer { size, kept: 0 })
    }

    /// Handles the read of a pending field or a write of the state: the client is done with the
    /// content.
    pub(super) fn done<D: Device>(&mut self, side: &mut Side<'_, D>) {
        self.hand_over(side);
        if let Section::Buffer { .. } | Section::Bitmap(_) = self.section {
            self.section = Section::Nothing;
        }
    }

    /// Arms a query of `range`: the client is done with the content.
    ///
    /// It may still copy a buffer until the query runs.
    pub(super) fn arm<D: Device>(&mut self, side: &mut Side<'_, D>, range: PageRange) {
        self.hand_over(side);
        if let Section::Bitmap(_) = self.section {
            self.section = Section::Nothing;
        }
        self.query = Query::Armed(range);
    }

    /// Notes that a query has run and has written its bitmap of `size` bytes.
    ///
    /// If the bitmap replaces a buffer whose bytes the engine keeps, these are staged next.
    pub(super) fn show_bitmap(&mut self, size: u64) {
        self.section = Section::Bitmap(size);
    }

    /// Notes that the engine has taken `size` bytes of the client's.
    pub(super) fn took(&mut self, size: u64) {
        self.section = Section::Taken(size);
    }

    /// Forgets the content: it is about to be overwritten, or the migration is over.
    pub(super) fn forget(&mut self) {
        self.section = Section::Nothing;
    }

    /// Returns whether the whole image has been handed out, if the client is done with the content.
    pub(super) fn is_handed_out<D: Device>(&self, engine: &Engine<D>, host: &D::Host) -> bool {
        match self.section {
            Section::Buffer { size, kept: 1.. } => engine.pending(host).total() == size,
            _ => engine.is_saved(),
        }
    }

    /// Lets the engine consume the buffer in the section.
    fn hand_over<D: Device>(&mut self, side: &mut Side<'_, D>) {
        if let Section::Buffer { kept, .. } = &mut self.section {
            let kept = mem::take(kept);
            if kept != 0 {
                side.engine.consume(kept);
            }
        }
    }
}
