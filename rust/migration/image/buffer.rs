// SPDX-License-Identifier: GPL-2.0-only

//! The memory that producing or taking an image needs.

use kernel::prelude::*;

use super::format::{
    CRC_LEN,
    HEAD_LEN,
    MAX_PAYLOAD, //
};

/// Memory for one section with its head and checksum: all that a [`Writer`] or a [`Reader`] needs.
///
/// [`Writer`]: super::Writer
/// [`Reader`]: super::Reader
///
/// # Invariants
///
/// The capacity suffices for the longest section.
#[derive(Debug)]
pub struct Buffer(KVVec<u8>);

impl Buffer {
    /// Allocates the memory; `ENOMEM` if there is not enough.
    pub fn new() -> Result<Self> {
        // INVARIANT: Just made so.
        Ok(Self(KVVec::with_capacity(
            HEAD_LEN + MAX_PAYLOAD + CRC_LEN,
            GFP_KERNEL,
        )?))
    }

    /// Takes back the memory that [`Self::into_bytes`] gave.
    pub(super) fn from_bytes(bytes: KVVec<u8>) -> Self {
        // INVARIANT: A vector keeps its capacity if it is never filled beyond it.
        Self(bytes)
    }

    /// Returns the memory as an empty vector.
    pub(super) fn into_bytes(self) -> KVVec<u8> {
        let mut bytes = self.0;
        bytes.clear();
        bytes
    }
}
