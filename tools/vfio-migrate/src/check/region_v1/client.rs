// SPDX-License-Identifier: GPL-2.0-only

//! A client of region v1 that does as little as possible on its own.

use rustix::io::Errno;

use crate::check::region::Raw;
use crate::check::{ensure, fail, held, not_applicable, succeeds, Subject, Verdict, HELD};
use crate::migrate::protocol::Protocol;
use crate::sys::Mapping;
use crate::vfio::Area;

/// Bytes of `struct vfio_device_migration_info`.
pub const HEADER: u64 = 32;
/// `pending_bytes`
pub const PENDING_BYTES: u64 = 8;
/// `data_offset`
pub const DATA_OFFSET: u64 = 16;
/// `data_size`
pub const DATA_SIZE: u64 = 24;

/// Opens the device as the last close has left it.
pub fn open_fresh(subject: &Subject) -> Verdict<Raw> {
    Raw::open_fresh(subject, Protocol::RegionV1, HEADER)
}

/// Opens the device and makes it run.
pub fn open(subject: &Subject) -> Verdict<Raw> {
    let region = open_fresh(subject)?;
    if region.u32(0)? != 1 {
        recover(&region)?;
    }
    Ok(region)
}

/// Resets the device and makes it run. The rule says only for the error state that a reset does so.
pub fn recover(region: &Raw) -> Verdict {
    succeeds(region.open.device.raw_reset(), "VFIO_DEVICE_RESET")?;
    if region.u32(0)? != 1 {
        region.set(1)?;
    }
    region.is_in(1, "after VFIO_DEVICE_RESET and RUNNING")
}

/// Where the buffer of an iteration is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Buffer {
    /// `data_offset`
    pub offset: u64,
    /// `data_size`
    pub size: u64,
}

/// Begins an iteration: reads pending bytes, offset and size, in that order. `None` if no bytes are
/// pending.
pub fn iterate(region: &Raw) -> Verdict<Option<Buffer>> {
    let pending = region.u64(PENDING_BYTES)?;
    if pending == 0 {
        return Ok(None);
    }
    held(pending)?;
    let offset = region.u64(DATA_OFFSET)?;
    let size = region.u64(DATA_SIZE)?;
    Ok(Some(Buffer { offset, size }))
}

/// Saves the running device and returns the image buffer by buffer; the device runs again
/// afterwards.
pub fn save(region: &Raw) -> Verdict<Vec<Vec<u8>>> {
    save_and(region, |_, _| Ok(()))
}

/// Does the same and shows `look` every buffer while it is in the data section.
pub fn save_and(
    region: &Raw,
    mut look: impl FnMut(Buffer, &[u8]) -> Verdict,
) -> Verdict<Vec<Vec<u8>>> {
    let (mut image, mut length) = (Vec::new(), 0);
    for state in [3, 2] {
        region.set(state)?;
        while let Some(buffer) = iterate(region)? {
            if buffer.size == 0 {
                ensure(state == 3, || {
                    "data_size is 0 while bytes are pending and the device is stopped".into()
                })?;
                break;
            }
            let mut bytes = Vec::new();
            region.copy_out(buffer.offset, buffer.size, &mut bytes)?;
            look(buffer, &bytes)?;
            length += bytes.len();
            image.push(bytes);
            ensure(length < HELD, || "the state does not end".into())?;
        }
    }
    region.set(1)?;
    if image.is_empty() {
        return not_applicable("the device has no state");
    }
    Ok(image)
}

/// Hands a buffer over, by calls.
pub fn put(region: &Raw, bytes: &[u8]) -> Result<(), Errno> {
    put_by(region, bytes, |offset| region.write(offset, bytes))
}

/// Hands a buffer over; `place` copies it to the offset that it is given.
pub fn put_by(
    region: &Raw,
    bytes: &[u8],
    place: impl FnOnce(u64) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut at = [0; 8];
    region.read(DATA_OFFSET, &mut at)?;
    place(u64::from_le_bytes(at))?;
    // CAST: widening.
    region.try_u64(DATA_SIZE, bytes.len() as u64)
}

/// Returns the most bytes that a resuming device takes in a buffer, at least one.
pub fn room(region: &Raw) -> Verdict<usize> {
    let (offset, size) = (region.u64(DATA_OFFSET)?, region.info.size);
    match size.checked_sub(offset) {
        // CAST: the region's size.
        Some(room @ 1..) => Ok(room as usize),
        _ => fail(format!(
            "data_offset {offset} leaves no room for a buffer in a region of {size} bytes"
        )),
    }
}

/// Loads an image into the running device, which runs again afterwards.
pub fn load(region: &Raw, image: &[Vec<u8>]) -> Verdict {
    region.set(4)?;
    for buffer in image {
        succeeds(put(region, buffer), "handing a buffer over")?;
    }
    region.set(1)
}

/// An area of the region that is mapped.
pub struct Mapped {
    area: Area,
    mapping: Mapping,
}

impl Mapped {
    /// Maps an area that the region names.
    pub fn new(region: &Raw, area: Area) -> Verdict<Self> {
        let size = usize::try_from(area.size);
        let mapped = size.map_err(|_| Errno::NOMEM).and_then(|size| {
            let offset = region.info.offset + area.offset;
            region.open.device.map(offset, size)
        });
        let mapping = succeeds(mapped, "mapping an area that the region names")?;
        Ok(Self { area, mapping })
    }

    /// Returns the offset of a range in the mapping, if all of it is mapped.
    pub fn find(&self, offset: u64, length: usize) -> Option<usize> {
        find(&self.area, offset, length)
    }

    /// The memory.
    pub fn memory(&self) -> &Mapping {
        &self.mapping
    }
}

/// Returns the offset of a range in an area, if all of it lies there.
fn find(area: &Area, offset: u64, length: usize) -> Option<usize> {
    let at = offset.checked_sub(area.offset)?;
    // CAST: widening.
    let end = at.checked_add(length as u64)?;
    (end <= area.size).then(|| usize::try_from(at).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_in_its_area() {
        let area = Area {
            offset: 4096,
            size: 8192,
        };
        assert_eq!(find(&area, 4096, 8192), Some(0));
        assert_eq!(find(&area, 4100, 5), Some(4));
        for (offset, length) in [(0, 1), (4095, 2), (4096, 8193), (u64::MAX, 1)] {
            assert_eq!(find(&area, offset, length), None, "{offset}");
        }
    }
}
