// SPDX-License-Identifier: GPL-2.0-only

//! Writing and reading the fields of a section's payload.

use kernel::prelude::*;

use super::{
    format::{
        get,
        Section,
        CRC_LEN,
        HEAD_LEN,
        MAX_PAYLOAD, //
    },
    Buffer, //
};

/// The payload of a section that is being written, at most [`MAX_PAYLOAD`] bytes.
///
/// The payload stands in a buffer with room for the section's head before it and the checksum after
/// it, so a section need not be copied together.
///
/// # Invariants
///
/// `buffer` has at least [`HEAD_LEN`] bytes and its capacity suffices for the longest section.
#[derive(Debug)]
pub struct Payload {
    /// Room for a head, then the payload.
    buffer: KVVec<u8>,
}

impl Payload {
    /// Returns an empty payload with all the memory that it will ever need.
    ///
    /// `ENOMEM` if there is not enough.
    pub fn new() -> Result<Self> {
        Self::with(Buffer::new()?)
    }

    /// Returns an empty payload in memory that was allocated before.
    pub(super) fn with(buffer: Buffer) -> Result<Self> {
        let mut buffer = buffer.into_bytes();
        buffer.extend_from_slice(&[0; HEAD_LEN], GFP_KERNEL)?;
        // INVARIANT: Just made so; the capacity is that of a `Buffer`.
        Ok(Self { buffer })
    }

    /// Gives the memory back.
    pub(super) fn into_buffer(self) -> Buffer {
        Buffer::from_bytes(self.buffer)
    }

    /// Returns the bytes that were put.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(HEAD_LEN..).unwrap_or_default()
    }

    /// Returns the number of bytes that were put.
    pub fn len(&self) -> usize {
        self.buffer.len().saturating_sub(HEAD_LEN)
    }

    /// Returns whether no byte was put.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes can still be put.
    pub fn room(&self) -> usize {
        MAX_PAYLOAD.saturating_sub(self.len())
    }

    /// Puts bytes; `EMSGSIZE`, with nothing put, if there is not enough room.
    pub fn put_slice(&mut self, bytes: &[u8]) -> Result {
        if bytes.len() > self.room() {
            return Err(EMSGSIZE);
        }
        self.buffer.extend_from_slice(bytes, GFP_KERNEL)?;
        Ok(())
    }

    /// Puts one byte; `EMSGSIZE` if there is no room.
    pub fn put_u8(&mut self, value: u8) -> Result {
        self.put_slice(&[value])
    }

    /// Puts a little-endian number of two bytes; `EMSGSIZE` if there is no room.
    pub fn put_u16(&mut self, value: u16) -> Result {
        self.put_slice(&value.to_le_bytes())
    }

    /// Puts a little-endian number of four bytes; `EMSGSIZE` if there is no room.
    pub fn put_u32(&mut self, value: u32) -> Result {
        self.put_slice(&value.to_le_bytes())
    }

    /// Puts a little-endian number of eight bytes; `EMSGSIZE` if there is no room.
    pub fn put_u64(&mut self, value: u64) -> Result {
        self.put_slice(&value.to_le_bytes())
    }

    /// Removes every byte that was put.
    pub(super) fn clear(&mut self) {
        self.buffer.truncate(HEAD_LEN);
    }

    /// Puts the head before the payload and the checksum after it.
    pub(super) fn enclose(&mut self, head: [u8; HEAD_LEN], crc: [u8; CRC_LEN]) -> Result {
        let place = self.buffer.first_chunk_mut().ok_or(EINVAL)?;
        *place = head;
        self.buffer.extend_from_slice(&crc, GFP_KERNEL)?;
        Ok(())
    }

    /// Returns the bytes in the buffer: the section, once it is enclosed.
    pub(super) fn enclosed(&self) -> &[u8] {
        &self.buffer
    }
}

impl<'a> Section<'a> {
    /// Returns the payload to be read field by field.
    pub fn fields(&self) -> Fields<'a> {
        Fields(self.payload)
    }
}

/// Reads a payload field by field, in the order in which [`Payload`] put them.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Returns the next `N` bytes.
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let array = get(self.0, 0).ok_or(EINVAL)?;
        self.0 = self.0.get(N..).ok_or(EINVAL)?;
        Ok(array)
    }

    /// Returns the next byte; `EINVAL` if there is none.
    pub fn take_u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Returns the next little-endian number of two bytes; `EINVAL` if there are fewer.
    pub fn take_u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Returns the next little-endian number of four bytes; `EINVAL` if there are fewer.
    pub fn take_u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Returns the next little-endian number of eight bytes; `EINVAL` if there are fewer.
    pub fn take_u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Returns the next `len` bytes; `EINVAL` if there are fewer.
    pub fn take_slice(&mut self, len: usize) -> Result<&'a [u8]> {
        let bytes = self.0.get(..len).ok_or(EINVAL)?;
        self.0 = self.0.get(len..).ok_or(EINVAL)?;
        Ok(bytes)
    }

    /// Returns the number of bytes that are left to read.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether every byte was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the reading; `EINVAL` if bytes are left.
    pub fn finish(self) -> Result {
        if self.is_empty() {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }
}
