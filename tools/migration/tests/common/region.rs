// SPDX-License-Identifier: GPL-2.0-only

//! A data section in memory, and a client of the migration region.

use std::cell::{Cell, RefCell};

use kernel::error::{code::*, Result};
use migration::protocols::{
    region_2018::{layout::Field, state::DeviceState},
    window::{DataWindow, Progress},
    Migratable, MigrationRegion,
};

use super::{Fake, Host};

pub const DATA_OFFSET: u64 = 0x1000;

/// The data section.
pub struct Window {
    pub bytes: RefCell<Vec<u8>>,
    /// Number of accesses that succeed before one fails.
    pub fail: Cell<Option<u32>>,
}

impl Window {
    pub fn new(len: usize) -> Self {
        Self {
            bytes: RefCell::new(vec![0xee; len]),
            fail: Cell::new(None),
        }
    }

    fn permit(&self) -> Result {
        match self.fail.get() {
            Some(0) => {
                self.fail.set(None);
                Err(EFAULT)
            }
            Some(left) => {
                self.fail.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl DataWindow for Window {
    fn offset(&self) -> u64 {
        DATA_OFFSET
    }

    fn len(&self) -> usize {
        self.bytes.borrow().len()
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result {
        self.permit()?;
        let bytes = self.bytes.borrow();
        out.copy_from_slice(bytes.get(offset..offset + out.len()).ok_or(EINVAL)?);
        Ok(())
    }

    fn write(&self, offset: usize, from: &[u8]) -> Result {
        self.permit()?;
        let mut bytes = self.bytes.borrow_mut();
        let place = bytes.get_mut(offset..offset + from.len()).ok_or(EINVAL)?;
        place.copy_from_slice(from);
        Ok(())
    }
}

/// One side of a migration: a device, its surroundings, its region.
pub struct Side {
    pub object: Migratable<Fake>,
    pub host: Host,
    pub window: Window,
}

impl Side {
    pub fn new(device: Fake, window: usize) -> Self {
        Self {
            object: Migratable::new(device),
            host: Host::default(),
            window: Window::new(window),
        }
    }

    pub fn read(&mut self, offset: usize, out: &mut [u8]) -> Result {
        self.object.region_read(
            MigrationRegion::Region2018,
            &self.host,
            &self.window,
            offset,
            out,
        )
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result {
        self.write_to(MigrationRegion::Region2018, offset, bytes)
    }

    /// Writes a region's header as the kernel does: repeats the write until it is complete.
    pub fn write_to(&mut self, region: MigrationRegion, offset: usize, bytes: &[u8]) -> Result {
        while self.step(region, offset, bytes)? == Progress::More {}
        Ok(())
    }

    /// Writes a region's header once, up to the end of a section.
    pub fn step(
        &mut self,
        region: MigrationRegion,
        offset: usize,
        bytes: &[u8],
    ) -> Result<Progress> {
        self.object
            .region_write(region, &self.host, &self.window, offset, bytes)
    }

    pub fn get(&mut self, field: Field) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(field.offset(), &mut bytes[..field.width()])?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn set(&mut self, field: Field, value: u64) -> Result {
        self.write(field.offset(), &value.to_le_bytes()[..field.width()])
    }

    pub fn state(&mut self) -> u32 {
        self.get(Field::DeviceState).unwrap() as u32
    }

    pub fn enter(&mut self, state: DeviceState) -> Result {
        self.set(Field::DeviceState, state.number().into())
    }

    /// The pending counts, added up.
    pub fn pending(&mut self) -> u64 {
        [Field::PrecopyOnly, Field::Compatible, Field::PostcopyOnly]
            .into_iter()
            .map(|field| self.get(field).unwrap())
            .sum()
    }

    /// Takes one buffer.
    pub fn take(&mut self) -> Result<Vec<u8>> {
        assert_eq!(self.get(Field::DataOffset)?, DATA_OFFSET);
        let size = self.get(Field::DataSize)? as usize;
        let bytes = self.window.bytes.borrow()[..size].to_vec();
        self.pending();
        Ok(bytes)
    }

    /// Takes buffers until there are none.
    pub fn take_all(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let buffer = self.take()?;
            if buffer.is_empty() {
                return Ok(all);
            }
            all.extend(buffer);
        }
    }

    /// Gives one buffer.
    pub fn give(&mut self, bytes: &[u8]) -> Result {
        self.window.bytes.borrow_mut()[..bytes.len()].copy_from_slice(bytes);
        self.set(Field::DataOffset, DATA_OFFSET)?;
        self.set(Field::DataSize, bytes.len() as u64)
    }

    /// Gives an image in buffers as large as the window.
    pub fn give_all(&mut self, image: &[u8]) -> Result {
        let len = self.window.bytes.borrow().len();
        image.chunks(len).try_for_each(|chunk| self.give(chunk))
    }

    pub fn device(&mut self) -> &mut Fake {
        self.object.engine_mut().device_mut()
    }
}
