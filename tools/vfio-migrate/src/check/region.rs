// SPDX-License-Identifier: GPL-2.0-only

//! What the checks of both migration regions share.

use rustix::io::Errno;

use super::subject::{Open, Subject};
use super::{ensure, fail, fails, fails_with, not_applicable, succeeds, Verdict};
use crate::error::explain;
use crate::migrate::protocol::Protocol;
use crate::sys::{page_size, How};
use crate::vfio::{Area, RegionInfo};

/// Demands that a region is longer than its header and ends within a file's size, so that offsets
/// in it do not overflow.
fn plausible(info: &RegionInfo, header: u64) -> Verdict {
    let ends = info
        .offset
        .checked_add(info.size)
        .is_some_and(|end| i64::try_from(end).is_ok());
    ensure(info.size > header && ends, || {
        format!(
            "the region has {} bytes at {:#x} of the device's file, and the header alone {header}",
            info.size, info.offset
        )
    })
}

/// Demands that an area is not empty and lies in the region.
pub fn lies_in(area: &Area, info: &RegionInfo) -> Verdict {
    let inside = area
        .offset
        .checked_add(area.size)
        .is_some_and(|end| end <= info.size && area.size > 0);
    ensure(inside, || {
        format!(
            "the area of {} bytes at {} does not lie in a region of {}",
            area.size, area.offset, info.size
        )
    })
}

/// A migration region of an open device.
pub struct Raw {
    /// The device.
    pub open: Open,
    /// The region.
    pub info: RegionInfo,
}

impl Raw {
    /// Opens the device and makes it run.
    pub fn open(subject: &Subject, protocol: Protocol, header: u64) -> Verdict<Self> {
        let region = Self::open_fresh(subject, protocol, header)?;
        // Only the checks of close judge what a close leaves.
        if region.u32(0)? != 1 {
            region.reset()?;
        }
        Ok(region)
    }

    /// Opens the device as the last close left it, and finds the region.
    pub fn open_fresh(subject: &Subject, protocol: Protocol, header: u64) -> Verdict<Self> {
        let open = subject.open()?;
        let kind = protocol.region().expect("a protocol with a region");
        let Some(info) = open.device.region_of(kind).cloned() else {
            return not_applicable(format!("the device does not offer {protocol}"));
        };
        plausible(&info, header)?;
        Ok(Self { open, info })
    }

    /// Returns the offset of a byte of the region in the device's file. `at` may come from the
    /// device.
    fn place(&self, at: u64) -> Result<u64, Errno> {
        self.info.offset.checked_add(at).ok_or(Errno::OVERFLOW)
    }

    /// Reads in one call; a short read is `EIO`.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        match self.open.device.raw_read(self.place(at)?, bytes)? {
            n if n == bytes.len() => Ok(()),
            _ => Err(Errno::IO),
        }
    }

    /// Writes in one call; a short write is `EIO`.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        match self.open.device.raw_write(self.place(at)?, bytes)? {
            n if n == bytes.len() => Ok(()),
            _ => Err(Errno::IO),
        }
    }

    /// Reads a field.
    pub fn u32(&self, at: u64) -> Verdict<u32> {
        let mut bytes = [0; 4];
        succeeds(
            self.read(at, &mut bytes),
            &format!("reading 4 bytes at {at}"),
        )?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a field.
    pub fn u64(&self, at: u64) -> Verdict<u64> {
        let mut bytes = [0; 8];
        succeeds(
            self.read(at, &mut bytes),
            &format!("reading 8 bytes at {at}"),
        )?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Tries to write a value to a field.
    pub fn try_u32(&self, at: u64, value: u32) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// Tries to write a value to a field.
    pub fn try_u64(&self, at: u64, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// Writes `device_state`.
    pub fn set(&self, state: u32) -> Verdict {
        succeeds(
            self.try_u32(0, state),
            &format!("writing device_state {state}"),
        )
    }

    /// Demands a `device_state`.
    pub fn is_in(&self, expected: u32, when: &str) -> Verdict {
        let found = self.u32(0)?;
        ensure(found == expected, || {
            format!("{when} device_state is {found} instead of {expected}")
        })
    }

    /// Resets the device and demands that it runs.
    pub fn reset(&self) -> Verdict {
        match self.open.device.raw_reset() {
            Ok(()) => self.is_in(1, "after VFIO_DEVICE_RESET"),
            Err(errno) => fail(format!("VFIO_DEVICE_RESET fails: {}", explain(errno))),
        }
    }

    /// Returns the data section; not applicable if the region does not name exactly one area.
    pub fn section(&self) -> Verdict<Area> {
        match self.info.sparse.as_deref() {
            Some([area]) => {
                lies_in(area, &self.info)?;
                Ok(*area)
            }
            Some(areas) => not_applicable(format!("the region has {} areas", areas.len())),
            None => not_applicable("the region names no area that can be mapped"),
        }
    }

    /// Copies a staged buffer out.
    pub fn copy_out(&self, offset: u64, size: u64, out: &mut Vec<u8>) -> Verdict {
        let inside = offset
            .checked_add(size)
            .is_some_and(|end| end <= self.info.size && offset > 0);
        ensure(inside, || {
            format!("{size} bytes at {offset} do not lie in the region")
        })?;
        let start = out.len();
        // CAST: less than the region.
        out.resize(start + size as usize, 0);
        succeeds(
            self.read(offset, &mut out[start..]),
            "reading the data section",
        )
    }

    /// Demands that the data section can be mapped, and neither header, gap nor what follows.
    pub fn mmap_bounds(&self) -> Verdict {
        let area = self.section()?;
        let page = page_size() as u64;
        ensure(
            area.offset % page == 0 && area.size % page == 0 && area.offset > 0,
            || format!("the area is {} bytes at {}", area.size, area.offset),
        )?;
        // CAST: sizes of mappings.
        let map = |at, len: u64, how| {
            self.open
                .device
                .try_map(self.info.offset + at, len as usize, how)
        };
        succeeds(map(area.offset, area.size, How::Shared), "mapping the area")?;
        succeeds(
            map(area.offset, page, How::ReadOnly),
            "mapping its first page",
        )?;
        let last = area.offset + area.size - page;
        succeeds(map(last, page, How::Shared), "mapping its last page")?;
        fails(map(0, page, How::Shared), "mapping the header")?;
        fails(
            map(0, self.info.size, How::Shared),
            "mapping the whole region",
        )?;
        let size = self.info.size.next_multiple_of(page);
        fails(
            map(size, page, How::Shared),
            "mapping what follows the region",
        )?;
        fails(
            map(last, 2 * page, How::Shared),
            "mapping across the region's end",
        )
        .map(drop)
    }

    /// Demands that private and executable mappings are refused.
    pub fn mmap_protection(&self) -> Verdict {
        let area = self.section()?;
        let at = self.info.offset + area.offset;
        let map = |how| self.open.device.try_map(at, page_size(), how);
        fails(map(How::Private), "a private mapping")?;
        fails(map(How::Executable), "an executable mapping").map(drop)
    }

    /// Demands that calls and a mapping see the same bytes.
    pub fn mmap_is_the_section(&self) -> Verdict {
        let area = self.section()?;
        let mapping = self
            .open
            .device
            .map(self.info.offset + area.offset, page_size());
        let mapping = succeeds(mapping, "mapping the data section")?;
        let mut found = [0; 5];
        succeeds(
            self.write(area.offset + 3, b"hello"),
            "writing to the data section",
        )?;
        mapping.read(3, &mut found);
        ensure(&found == b"hello", || {
            "the mapping does not show what was written".into()
        })?;
        mapping.write(3, b"again");
        succeeds(
            self.read(area.offset + 3, &mut found),
            "reading the data section",
        )?;
        ensure(&found == b"again", || {
            "a read does not show what was stored".into()
        })
    }

    /// Demands that accesses for which `legal(offset, length)` is false are refused and change
    /// nothing.
    pub fn refuses_other_accesses(
        &self,
        header: u64,
        legal: impl Fn(u64, usize) -> bool,
    ) -> Verdict {
        for at in 0..header + 4 {
            for len in [1, 2, 3, 4, 5, 8, 12, 16, 24, 32] {
                if legal(at, len) {
                    continue;
                }
                let what = format!("{len} bytes at {at}");
                let read = self.read(at, &mut vec![0xff; len]);
                fails_with(read, Errno::INVAL, &format!("reading {what}"))?;
                let write = self.write(at, &vec![0; len]);
                fails_with(write, Errno::INVAL, &format!("writing {what}"))?;
            }
        }
        self.is_in(1, "after accesses that are refused")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(offset: u64, size: u64) -> RegionInfo {
        RegionInfo {
            offset,
            size,
            ..RegionInfo::default()
        }
    }

    #[test]
    fn what_a_device_tells_of_its_region_is_not_believed() {
        assert!(plausible(&region(1 << 40, 64), 32).is_ok());
        for (offset, size) in [
            (0, 0),
            (0, 32),
            (1 << 63, 64),
            (u64::MAX, 64),
            (0, u64::MAX),
        ] {
            assert!(plausible(&region(offset, size), 32).is_err(), "{size}");
        }
    }

    #[test]
    fn an_area_lies_in_its_region() {
        let inside = |offset, size| lies_in(&Area { offset, size }, &region(0, 8192)).is_ok();
        assert!(inside(4096, 4096) && inside(0, 1));
        assert!(!inside(4096, 0) && !inside(4097, 4096) && !inside(u64::MAX, 2));
    }
}
