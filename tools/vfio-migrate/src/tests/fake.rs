// SPDX-License-Identifier: GPL-2.0-only

//! An edu without hardware, for tests, behind the same migration core as in the kernel module.

mod model;

use std::sync::{Arc, Mutex, MutexGuard};

use kernel::error::{code::*, Result as KernelResult};
use migration::device::Access;
use migration::protocols::window::{DataWindow, Progress};
use migration::protocols::{Migratable, MigrationRegion as Header};
use rustix::io::Errno;

use model::{Host, Model};

use crate::edu::{Registers, Width};
use crate::error::{Error, Result};
use crate::migrate::memory::{DmaPage, GuestMemory};
use crate::migrate::region::{Layout, Region};
use crate::migrate::region_2018::{Region2018, HEADER};
use crate::migrate::target::Owner;
use crate::sys::Mapping;

const DATA_OFFSET: u64 = 0x1000;

/// A fake edu with its migration region. Clones are the same device.
#[derive(Clone)]
pub struct FakeEdu {
    shared: Arc<Shared>,
}

struct Shared {
    machine: Mutex<Migratable<Model>>,
    window: Window,
    /// What the device reaches by DMA.
    host: Host,
}

impl FakeEdu {
    /// A fresh device with a data section of that many bytes, and memory for its DMA.
    pub fn new(window: usize, memory: Option<&GuestMemory>) -> Self {
        let host = Host {
            memory: memory.cloned(),
            page: Some(Arc::new(DmaPage::new().unwrap())),
        };
        Self {
            shared: Arc::new(Shared {
                machine: Mutex::new(Migratable::new(Model::default())),
                window: Window(Mapping::anonymous(window).unwrap(), window),
                host,
            }),
        }
    }

    /// The device's migration.
    pub fn migration(&self) -> Region2018 {
        Region2018::new(Box::new(self.clone()))
    }

    /// The page for the internal buffer.
    pub fn page(&self) -> Arc<DmaPage> {
        self.shared.host.page.clone().unwrap()
    }

    fn machine(&self) -> MutexGuard<'_, Migratable<Model>> {
        self.shared.machine.lock().unwrap()
    }
}

impl Owner for FakeEdu {
    fn before_running(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.machine()
            .engine_mut()
            .reset(&self.shared.host)
            .map_err(|error| Error::Step {
                step: "reset".into(),
                errno: Errno::from_raw_os_error(-error.to_errno()),
            })
    }
}

fn errno(error: kernel::error::Error) -> Errno {
    Errno::from_raw_os_error(-error.to_errno())
}

impl Registers for FakeEdu {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.machine()
            .engine_mut()
            .read_register(&self.shared.host, access(offset, width))
            .map_err(errno)
            .map_err(Error::step("reading a register"))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.machine()
            .engine_mut()
            .write_register(&self.shared.host, access(offset, width), value)
            .map_err(errno)
            .map_err(Error::step("writing a register"))
    }
}

fn access(offset: u64, width: Width) -> Access {
    let width = match width {
        Width::B4 => migration::device::Width::B4,
        Width::B8 => migration::device::Width::B8,
    };
    Access {
        bar: 0,
        offset,
        width,
    }
}

struct Window(Mapping, usize);

impl DataWindow for Window {
    fn offset(&self) -> u64 {
        DATA_OFFSET
    }

    fn len(&self) -> usize {
        self.1
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> KernelResult {
        if offset + out.len() > self.1 {
            return Err(EINVAL);
        }
        self.0.read(offset, out);
        Ok(())
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> KernelResult {
        if offset + bytes.len() > self.1 {
            return Err(EINVAL);
        }
        self.0.write(offset, bytes);
        Ok(())
    }
}

impl Region for FakeEdu {
    fn layout(&self) -> Layout {
        let size = self.shared.window.1 as u64;
        Layout {
            size: DATA_OFFSET + size,
            header: HEADER,
            data_offset: DATA_OFFSET,
            data_size: size,
            mapped: true,
        }
    }

    fn read_header(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let Shared { window, host, .. } = &*self.shared;
        self.machine()
            .region_read(Header::Region2018, host, window, offset as usize, bytes)
            .map_err(errno)
    }

    fn write_header(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let Shared { window, host, .. } = &*self.shared;
        let mut machine = self.machine();
        let mut write =
            || machine.region_write(Header::Region2018, host, window, offset as usize, bytes);
        while write().map_err(errno)? == Progress::More {}
        Ok(())
    }

    fn read_data(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let at = (offset - DATA_OFFSET) as usize;
        self.shared.window.read(at, bytes).map_err(errno)
    }

    fn write_data(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let at = (offset - DATA_OFFSET) as usize;
        self.shared.window.write(at, bytes).map_err(errno)
    }
}
