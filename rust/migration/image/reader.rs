// SPDX-License-Identifier: GPL-2.0-only

//! Verifying an image that comes in pieces, and handing out its sections.

use kernel::prelude::*;

use super::{
    format::{
        seal_of,
        End,
        Frame,
        Header,
        Identity,
        Section,
        CRC_LEN,
        END_PAYLOAD,
        HEADER_LEN,
        HEAD_LEN,
        MAGIC,
        MAJOR,
        MAX_HEADER_LEN,
        MAX_PAYLOAD,
        PREFIX_LEN,
        TYPE_END, //
    },
    refusal::{
        Reason,
        Refusal, //
    },
    Buffer, //
};
use crate::crc32c::Crc32c;

/// Takes the parts of an image that a [`Reader`] has verified.
pub trait Sink {
    /// Takes the header, which fits the device that the reader reads for.
    fn header(&mut self, header: &Header) -> Result {
        let _ = header;
        Ok(())
    }

    /// Takes a section.
    ///
    /// `EOPNOTSUPP` means that its type is unknown: the reader skips an optional section and
    /// refuses the image otherwise. `EINTR` or `ERESTARTSYS` means that a signal came first: the
    /// reader hands the section out again. On any other error the image is refused.
    fn section(&mut self, section: &Section<'_>) -> Result;

    /// Takes the end: the image is complete and right.
    ///
    /// After `EINTR` or `ERESTARTSYS` the reader calls this again; on any other error the image is
    /// refused all the same.
    fn end(&mut self, end: &End) -> Result {
        let _ = end;
        Ok(())
    }
}

/// Why a [`Reader`] takes no more bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Halt {
    /// A signal interrupted the sink, with this error. The reader is as it was: the same bytes may
    /// come again.
    Interrupted(Error),
    /// The image is refused for good.
    Refused(Refusal),
}

/// Returns whether an error means that a signal came before the work was done.
fn is_interruption(error: Error) -> bool {
    error == EINTR || error == ERESTARTSYS
}

/// The part of the image that a reader's buffer holds the beginning of.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The first bytes of the header.
    Prefix,
    /// The header of that many bytes.
    Header(usize),
    /// A section's head.
    Head,
    /// The payload of a section and its checksum.
    Payload(Frame),
    /// The image is complete.
    Complete,
    /// The image was refused.
    Refused(Refusal),
}

/// Reads an image that comes in pieces of any size.
///
/// It has one buffer for one section, allocated at the start.
#[derive(Debug)]
pub struct Reader {
    /// The device that the image must be for.
    device: Option<Identity>,
    /// The part that comes next.
    stage: Stage,
    /// The bytes of that part so far.
    buffer: KVVec<u8>,
    /// Bytes of the image before those in the buffer.
    offset: u64,
    /// Checksum of the checksums before the buffer, up to the end section.
    crc: Crc32c,
    /// Sequence number of the next section.
    sequence: u32,
    /// Length of the image in bytes, if the header tells it.
    total: Option<u64>,
}

impl Reader {
    /// Begins to read an image.
    ///
    /// With `device` the image must be one that this device takes; without, any device's image is
    /// read. `ENOMEM` if there is no memory for the buffer; nothing is allocated later.
    pub fn new(device: Option<Identity>) -> Result<Self> {
        Ok(Self::with(Buffer::new()?, device))
    }

    /// As [`Self::new`], in memory that was allocated before.
    pub fn with(buffer: Buffer, device: Option<Identity>) -> Self {
        Self {
            device,
            stage: Stage::Prefix,
            buffer: buffer.into_bytes(),
            offset: 0,
            crc: Crc32c::new(),
            sequence: 0,
            total: None,
        }
    }

    /// Gives the memory back.
    pub fn into_buffer(self) -> Buffer {
        Buffer::from_bytes(self.buffer)
    }

    /// Takes all of the next bytes of the image, for a sink that no signal interrupts.
    ///
    /// Once the image is refused, each further call fails in the same way. An interruption counts
    /// as a refusal here.
    pub fn feed<S: Sink + ?Sized>(
        &mut self,
        mut bytes: &[u8],
        sink: &mut S,
    ) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            match self.take(bytes, sink) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Halt::Interrupted(error)) => return Err(self.refuse(Reason::Apply(error))),
                Err(Halt::Refused(refusal)) => return Err(refusal),
            }
        }
        match self.stage {
            Stage::Refused(refusal) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Takes bytes up to the end of the part of the image that they begin in, and returns how many:
    /// at least one, unless `bytes` is empty.
    ///
    /// A part is at most one section, so the sink is called at most once. If the sink is
    /// interrupted, none of `bytes` is taken.
    pub fn take<S: Sink + ?Sized>(&mut self, bytes: &[u8], sink: &mut S) -> Result<usize, Halt> {
        if let Stage::Refused(refusal) = self.stage {
            return Err(Halt::Refused(refusal));
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let before = self.buffer.len();
        match self.step(bytes, sink) {
            Ok(count) => Ok(count),
            Err(Reason::Section(_, error) | Reason::Apply(error)) if is_interruption(error) => {
                self.buffer.truncate(before);
                Err(Halt::Interrupted(error))
            }
            Err(reason) => Err(Halt::Refused(self.refuse(reason))),
        }
    }

    /// Checks that the image is complete and right; [`Reason::Truncated`] if bytes are missing.
    pub fn finish(&self) -> Result<(), Refusal> {
        match self.stage {
            Stage::Complete => Ok(()),
            Stage::Refused(refusal) => Err(refusal),
            _ => Err(Refusal {
                reason: Reason::Truncated,
                offset: self.position(),
            }),
        }
    }

    /// Refuses the image, unless it was refused before.
    fn refuse(&mut self, reason: Reason) -> Refusal {
        if let Stage::Refused(refusal) = self.stage {
            return refusal;
        }
        let refusal = Refusal {
            reason,
            offset: self.offset,
        };
        self.stage = Stage::Refused(refusal);
        refusal
    }

    /// Returns why the image was refused, if it was.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.stage {
            Stage::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Returns how many bytes of the image were taken.
    pub fn position(&self) -> u64 {
        // CAST: a buffer's length always fits in 64 bits.
        self.offset.saturating_add(self.buffer.len() as u64)
    }

    /// Takes bytes up to the end of the current part, and then the part if it is whole.
    ///
    /// Returns how many bytes. If the sink fails, only the buffer has changed.
    fn step<S: Sink + ?Sized>(&mut self, bytes: &[u8], sink: &mut S) -> Result<usize, Reason> {
        let need = match self.stage {
            Stage::Prefix => PREFIX_LEN,
            Stage::Header(length) => length,
            Stage::Head => HEAD_LEN,
            // CAST: the length was checked to be at most `MAX_PAYLOAD`.
            Stage::Payload(frame) => frame.length as usize + CRC_LEN,
            Stage::Complete => return Err(Reason::Trailing),
            Stage::Refused(refusal) => return Err(refusal.reason),
        };
        let missing = need.saturating_sub(self.buffer.len());
        let part = bytes.get(..missing).unwrap_or(bytes);
        self.buffer
            .extend_from_slice(part, GFP_KERNEL)
            .map_err(|error| Reason::Transport(error.into()))?;
        if part.len() < missing {
            return Ok(part.len());
        }

        match self.stage {
            Stage::Prefix => {
                self.prefix()?;
                return Ok(part.len());
            }
            Stage::Header(_) => self.header(sink)?,
            Stage::Head => self.head()?,
            Stage::Payload(frame) => self.payload(frame, sink)?,
            Stage::Complete | Stage::Refused(_) => {}
        }
        self.offset = self.position();
        self.buffer.clear();
        Ok(part.len())
    }

    /// Takes the start of the header, which stays in the buffer.
    fn prefix(&mut self) -> Result<(), Reason> {
        if !self.buffer.starts_with(&MAGIC) {
            return Err(Reason::Magic);
        }
        let field = |at| self.buffer.get(at..).and_then(<[u8]>::first_chunk::<4>);
        let (Some([a, b, ..]), Some(length)) = (field(8), field(12)) else {
            return Err(Reason::Magic);
        };
        let major = u16::from_le_bytes([*a, *b]);
        if major != MAJOR {
            return Err(Reason::Major(major));
        }
        let found = u32::from_le_bytes(*length);
        match usize::try_from(found) {
            Ok(length) if (HEADER_LEN..=MAX_HEADER_LEN).contains(&length) => {
                self.stage = Stage::Header(length);
                Ok(())
            }
            _ => Err(Reason::HeaderLength(found)),
        }
    }

    /// Takes the header.
    fn header<S: Sink + ?Sized>(&mut self, sink: &mut S) -> Result<(), Reason> {
        let seal = seal_of(&self.buffer).ok_or(Reason::HeaderChecksum)?;
        let header = Header::decode(&self.buffer).ok_or(Reason::HeaderChecksum)?;
        if let Some(device) = &self.device {
            if !device.same_device(&header.identity) {
                return Err(Reason::Device(header.identity));
            }
            if !device.reads_state_of(&header.identity) {
                return Err(Reason::State {
                    major: header.identity.state_major,
                    minor: header.identity.state_minor,
                });
            }
        }
        sink.header(&header).map_err(Reason::Apply)?;
        self.total = header.total;
        self.crc.update(&seal);
        self.stage = Stage::Head;
        Ok(())
    }

    /// Takes a section's head.
    fn head(&mut self) -> Result<(), Reason> {
        let seal = seal_of(&self.buffer).ok_or(Reason::HeadChecksum)?;
        let frame = Frame::decode(&self.buffer).ok_or(Reason::HeadChecksum)?;
        if frame.sequence != self.sequence {
            return Err(Reason::Sequence {
                expected: self.sequence,
                found: frame.sequence,
            });
        }
        let is_end = frame.head.kind == TYPE_END;
        let fits = match usize::try_from(frame.length) {
            Ok(length) if is_end => length == END_PAYLOAD,
            Ok(length) => length <= MAX_PAYLOAD,
            Err(_) => false,
        };
        if !fits || frame.head.offset.checked_add(frame.length.into()).is_none() {
            return Err(Reason::Length(frame.length));
        }
        if is_end && !(frame.head.mandatory && frame.head.offset == 0) {
            return Err(Reason::End);
        }
        if !is_end {
            self.crc.update(&seal);
        }
        self.stage = Stage::Payload(frame);
        Ok(())
    }

    /// Takes the payload of a section and its checksum.
    fn payload<S: Sink + ?Sized>(&mut self, frame: Frame, sink: &mut S) -> Result<(), Reason> {
        let seal = seal_of(&self.buffer).ok_or(Reason::PayloadChecksum)?;
        let (payload, _) = self
            .buffer
            .split_last_chunk::<CRC_LEN>()
            .ok_or(Reason::PayloadChecksum)?;
        if frame.head.kind == TYPE_END {
            let end = End::decode(payload).ok_or(Reason::End)?;
            self.end(end, sink)?;
            self.stage = Stage::Complete;
            return Ok(());
        }

        let kind = frame.head.kind;
        let section = Section {
            head: frame.head,
            payload,
        };
        match sink.section(&section) {
            Ok(()) => {}
            Err(EOPNOTSUPP) if frame.head.mandatory => return Err(Reason::Unknown(kind)),
            Err(EOPNOTSUPP) => {}
            Err(error) => return Err(Reason::Section(kind, error)),
        }
        self.crc.update(&seal);
        // If the numbers are used up, no section can follow in order.
        self.sequence = self
            .sequence
            .checked_add(1)
            .ok_or(Reason::Length(frame.length))?;
        self.stage = Stage::Head;
        Ok(())
    }

    /// Takes the end section.
    fn end<S: Sink + ?Sized>(&mut self, end: End, sink: &mut S) -> Result<(), Reason> {
        let total = self.position();
        let fits = end.total == total
            && self.total.is_none_or(|announced| announced == total)
            && end.sections == self.sequence
            && end.crc == self.crc.value();
        if !fits {
            return Err(Reason::End);
        }
        sink.end(&end).map_err(Reason::Apply)
    }
}
