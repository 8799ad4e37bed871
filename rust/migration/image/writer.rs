// SPDX-License-Identifier: GPL-2.0-only

//! Producing an image, one section at a time.

use kernel::prelude::*;

use super::{
    format::{
        End,
        Frame,
        Header,
        Identity,
        SectionHead,
        CRC_LEN,
        END_LEN,
        HEADER_LEN,
        TYPE_DRIVER_MAX,
        TYPE_END, //
    },
    payload::Payload,
    Buffer, //
};
use crate::crc32c::{
    crc32c,
    Crc32c, //
};

/// The bytes that stand ready to be drained.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Staged {
    /// Nothing.
    Nothing,
    /// The header, which is not in the payload's buffer.
    Header,
    /// A section, in the payload's buffer.
    Section,
}

/// Produces an image.
///
/// It has one buffer for one section, allocated at the start. A section is staged when the one
/// before has been drained.
#[derive(Debug)]
pub struct Writer {
    /// The header's bytes.
    header: [u8; HEADER_LEN],
    /// The staged section.
    payload: Payload,
    /// Which of the two is staged, if one is.
    staged: Staged,
    /// Number of staged bytes that were drained.
    drained: usize,
    /// Bytes staged so far.
    bytes: u64,
    /// Checksum of the checksums staged so far.
    crc: Crc32c,
    /// Sequence number of the next section.
    sequence: u32,
    /// The end section was staged.
    ended: bool,
}

impl Writer {
    /// Begins an image: the header is staged.
    ///
    /// `total` is the length of the whole image in bytes, if it is known. `ENOMEM` if there is no
    /// memory for the buffer; nothing is allocated later.
    pub fn new(identity: Identity, total: Option<u64>) -> Result<Self> {
        Self::with(Buffer::new()?, identity, total)
    }

    /// As [`Self::new`], in memory that was allocated before.
    pub fn with(buffer: Buffer, identity: Identity, total: Option<u64>) -> Result<Self> {
        let mut writer = Self {
            header: Header::new(identity, total).encode(),
            payload: Payload::with(buffer)?,
            staged: Staged::Header,
            drained: 0,
            bytes: 0,
            crc: Crc32c::new(),
            sequence: 0,
            ended: false,
        };
        let [.., a, b, c, d] = writer.header;
        writer.account([a, b, c, d])?;
        Ok(writer)
    }

    /// Gives the memory back.
    pub fn into_buffer(self) -> Buffer {
        self.payload.into_buffer()
    }

    /// Returns the staged bytes that have not been drained.
    pub fn staged(&self) -> &[u8] {
        let all = match self.staged {
            Staged::Nothing => &[],
            Staged::Header => self.header.as_slice(),
            Staged::Section => self.payload.enclosed(),
        };
        all.get(self.drained..).unwrap_or_default()
    }

    /// Drops the first `count` staged bytes, which went out.
    pub fn drain(&mut self, count: usize) {
        let left = self.staged().len();
        self.drained = self.drained.saturating_add(count.min(left));
        if count >= left {
            self.staged = Staged::Nothing;
            self.drained = 0;
        }
    }

    /// Returns whether the end section was staged.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Returns whether the whole image was drained.
    pub fn finished(&self) -> bool {
        self.ended && self.staged().is_empty()
    }

    /// Stages the section that `fill` writes; returns false if it writes none.
    ///
    /// `EBUSY` while staged bytes are left, `EINVAL` after the end section and for a section type
    /// that is not a driver's; an error of `fill` is returned. On an error nothing is staged and
    /// the image may be continued.
    pub fn section(
        &mut self,
        fill: impl FnOnce(&mut Payload) -> Result<Option<SectionHead>>,
    ) -> Result<bool> {
        self.ready()?;
        let Some(head) = fill(&mut self.payload)? else {
            return Ok(false);
        };
        if !(1..=TYPE_DRIVER_MAX).contains(&head.kind) {
            return Err(EINVAL);
        }
        self.stage(head)?;
        Ok(true)
    }

    /// Stages the end section.
    ///
    /// `EBUSY` while staged bytes are left, `EINVAL` if it was staged already.
    pub fn end(&mut self) -> Result {
        self.ready()?;
        let end = End {
            total: self
                .bytes
                .checked_add(u64::try_from(END_LEN)?)
                .ok_or(EOVERFLOW)?,
            sections: self.sequence,
            crc: self.crc.value(),
        };
        self.payload.put_slice(&end.encode())?;
        self.stage(SectionHead::mandatory(TYPE_END, 0))?;
        self.ended = true;
        Ok(())
    }

    /// Makes the payload ready to be filled.
    fn ready(&mut self) -> Result {
        if self.ended {
            return Err(EINVAL);
        }
        if self.staged != Staged::Nothing {
            return Err(EBUSY);
        }
        self.payload.clear();
        Ok(())
    }

    /// Stages the payload as a section.
    fn stage(&mut self, head: SectionHead) -> Result {
        let next = self.sequence.checked_add(1).ok_or(EOVERFLOW)?;
        let frame = Frame {
            head,
            sequence: self.sequence,
            length: u32::try_from(self.payload.len())?,
        };
        let crc = crc32c(self.payload.bytes()).to_le_bytes();
        let head = frame.encode();
        let [.., a, b, c, d] = head;
        self.payload.enclose(head, crc)?;
        self.staged = Staged::Section;
        self.sequence = next;
        self.crc.update(&[a, b, c, d]);
        self.account(crc)
    }

    /// Adds the bytes that were just staged, and their checksum, to those of the image.
    fn account(&mut self, crc: [u8; CRC_LEN]) -> Result {
        let len = u64::try_from(self.staged().len())?;
        self.bytes = self.bytes.checked_add(len).ok_or(EOVERFLOW)?;
        self.crc.update(&crc);
        Ok(())
    }
}
