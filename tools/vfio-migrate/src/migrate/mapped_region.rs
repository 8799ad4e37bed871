// SPDX-License-Identifier: GPL-2.0-only

//! A device's migration region, its header trapped and its data section mapped.

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::migrate::region::{Layout, Region};
use crate::sys::{page_size, Mapping};
use crate::vfio::{Area, Device, RegionInfo};

/// A migration region of an open device.
#[derive(Debug)]
pub struct MappedRegion {
    device: Device,
    info: RegionInfo,
    header: u64,
    data: Option<(Area, Mapping)>,
}

impl MappedRegion {
    /// Takes the region of a device, whose header has that many bytes.
    ///
    /// The data section is mapped if the device allows it and `mmap` asks for it.
    pub fn new(device: &Device, info: &RegionInfo, header: u64, mmap: bool) -> Result<Self> {
        let area = info
            .sparse
            .as_ref()
            .and_then(|areas| areas.first().copied());
        let data = match area {
            Some(area) if mmap && info.mappable => {
                let size = usize::try_from(area.size).map_err(|_| {
                    Error::Protocol("the region's data section is larger than memory".into())
                })?;
                let mapping = device
                    .map(info.offset + area.offset, size)
                    .map_err(Error::step("mapping the region's data section"))?;
                Some((area, mapping))
            }
            _ => None,
        };
        Ok(Self {
            device: device.clone(),
            info: info.clone(),
            header,
            data,
        })
    }

    /// Returns the mapping and the range's offset in it, if the range is mapped.
    fn mapped(&self, offset: u64, len: usize) -> Option<(&Mapping, usize)> {
        let (area, mapping) = self.data.as_ref()?;
        let at = usize::try_from(offset.checked_sub(area.offset)?).ok()?;
        (at.checked_add(len)? <= mapping.len()).then_some((mapping, at))
    }
}

impl Region for MappedRegion {
    fn layout(&self) -> Layout {
        let declared = self
            .info
            .sparse
            .as_ref()
            .and_then(|areas| areas.first().copied());
        // CAST: page sizes fit.
        let start = self.header.next_multiple_of(page_size() as u64);
        let data = declared.unwrap_or(Area {
            offset: start,
            size: self.info.size.saturating_sub(start),
        });
        Layout {
            size: self.info.size,
            header: self.header,
            data_offset: data.offset,
            data_size: data.size,
            mapped: self.data.is_some(),
        }
    }

    fn read_header(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.device.read(&self.info, offset, bytes)
    }

    fn write_header(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.device.write(&self.info, offset, bytes)
    }

    fn read_data(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        match self.mapped(offset, bytes.len()) {
            Some((mapping, at)) => {
                mapping.read(at, bytes);
                Ok(())
            }
            None => self.device.read_all(&self.info, offset, bytes),
        }
    }

    fn write_data(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        match self.mapped(offset, bytes.len()) {
            Some((mapping, at)) => {
                mapping.write(at, bytes);
                Ok(())
            }
            None => self.device.write_all(&self.info, offset, bytes),
        }
    }
}
