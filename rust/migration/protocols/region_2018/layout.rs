// SPDX-License-Identifier: GPL-2.0-only

//! The fields of the region's header, and the accesses to them that the uAPI allows.
//!
//! `struct vfio_device_migration_info` of `include/uapi/linux/vfio_migration_region.h`, packed and
//! little-endian.

use core::slice;

use kernel::prelude::*;

/// Bytes of the header.
pub const HEADER_LEN: usize = 76;

/// Bytes of half a 64-bit field.
pub(super) const HALF_LEN: usize = 4;

/// A field of the header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Field {
    /// `device_state`.
    DeviceState,
    /// `pending.precopy_only`, in bytes.
    PrecopyOnly,
    /// `pending.compatible`, in bytes.
    Compatible,
    /// `pending.postcopy_only`, in bytes.
    PostcopyOnly,
    /// `pending.threshold_size`, in bytes.
    ThresholdSize,
    /// `data.offset`, in bytes from the start of the region.
    DataOffset,
    /// `data.size`, in bytes.
    DataSize,
    /// `dirty_pfns.start_addr`, an I/O virtual address.
    StartAddr,
    /// `dirty_pfns.total`, in pages.
    Total,
    /// `dirty_pfns.copied`, in pages.
    Copied,
}

impl Field {
    /// Every field, in the order of the offsets.
    pub const ALL: [Field; 10] = [
        Field::DeviceState,
        Field::PrecopyOnly,
        Field::Compatible,
        Field::PostcopyOnly,
        Field::ThresholdSize,
        Field::DataOffset,
        Field::DataSize,
        Field::StartAddr,
        Field::Total,
        Field::Copied,
    ];

    /// Returns the field's offset in bytes.
    pub const fn offset(self) -> usize {
        match self {
            Field::DeviceState => 0,
            Field::PrecopyOnly => 4,
            Field::Compatible => 12,
            Field::PostcopyOnly => 20,
            Field::ThresholdSize => 28,
            Field::DataOffset => 36,
            Field::DataSize => 44,
            Field::StartAddr => 52,
            Field::Total => 60,
            Field::Copied => 68,
        }
    }

    /// Returns the field's length in bytes.
    pub const fn width(self) -> usize {
        match self {
            Field::DeviceState => 4,
            _ => 8,
        }
    }

    /// Returns the offset of the first byte after the field.
    const fn end(self) -> usize {
        self.offset() + self.width()
    }

    /// Returns whether the client may write the field in any state.
    pub const fn is_writable(self) -> bool {
        !matches!(
            self,
            Field::PrecopyOnly | Field::Compatible | Field::PostcopyOnly | Field::Copied
        )
    }

    /// Returns whether a read of the field means that the client is done with what was staged.
    pub(super) const fn is_pending(self) -> bool {
        matches!(
            self,
            Field::PrecopyOnly | Field::Compatible | Field::PostcopyOnly | Field::ThresholdSize
        )
    }
}

/// An access to the header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// One or more whole fields.
    Fields(&'static [Field]),
    /// The low half of a 64-bit field.
    Low(Field),
    /// The high half of a 64-bit field.
    High(Field),
}

/// The fields, of which a part can be borrowed for good.
static FIELDS: [Field; 10] = Field::ALL;

/// Returns what `len` bytes at `offset` are; `EINVAL` if the rules do not allow the access.
pub(super) fn decode(offset: usize, len: usize) -> Result<Access> {
    let end = offset.checked_add(len).ok_or(EINVAL)?;
    let first = FIELDS.iter().position(|field| field.offset() == offset);
    let last = FIELDS.iter().position(|field| field.end() == end);
    if let (Some(first), Some(last)) = (first, last) {
        // If `len` is 0, the last field is the one before the first.
        return match FIELDS.get(first..=last) {
            Some(fields) if !fields.is_empty() => Ok(Access::Fields(fields)),
            _ => Err(EINVAL),
        };
    }
    if len != HALF_LEN {
        return Err(EINVAL);
    }
    match (
        first.and_then(|at| FIELDS.get(at)),
        last.and_then(|at| FIELDS.get(at)),
    ) {
        (Some(field), None) => Ok(Access::Low(*field)),
        (None, Some(field)) => Ok(Access::High(*field)),
        _ => Err(EINVAL),
    }
}

/// Returns each of `fields` with its part of `bytes`, which begin with the first field.
pub(super) fn split<'a>(
    fields: &'static [Field],
    bytes: &'a [u8],
) -> impl Iterator<Item = (Field, &'a [u8])> {
    Split {
        fields: fields.iter(),
        bytes,
    }
}

/// See [`split`].
struct Split<'a> {
    /// The fields that are left.
    fields: slice::Iter<'static, Field>,
    /// Their bytes.
    bytes: &'a [u8],
}

impl<'a> Iterator for Split<'a> {
    type Item = (Field, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let field = *self.fields.next()?;
        let (bytes, rest) = self.bytes.split_at_checked(field.width())?;
        self.bytes = rest;
        Some((field, bytes))
    }
}
