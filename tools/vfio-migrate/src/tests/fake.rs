// SPDX-License-Identifier: GPL-2.0-only

//! An edu without hardware for tests, behind the very migration core that the kernel module has.

use std::sync::{Arc, Mutex, MutexGuard};

use kernel::error::{code::*, Result as KernelResult};
use migration::device::{Access, Amount, Device, Phase, Remaining};
use migration::dirty::DirtyLog;
use migration::image::{Identity, Payload, Section, SectionHead};
use migration::iova::IovaRange;
use migration::migratable::Migratable;
use migration::protocols::window::{DataWindow, Progress};
use migration::protocols::MigrationRegion as Header;
use rustix::io::Errno;

use crate::edu::{factorial, Registers, Width, BUFFER_SIZE};
use crate::error::{Error, Result};
use crate::migrate::memory::{DmaPage, GuestMemory};
use crate::migrate::region::{Layout, Region};
use crate::migrate::region_2018::{Region2018, HEADER};
use crate::migrate::target::Owner;
use crate::pci;
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

/// What the device is connected to.
#[derive(Default)]
struct Host {
    memory: Option<GuestMemory>,
    page: Option<Arc<DmaPage>>,
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
            .read_register(&self.shared.host, access(offset, width))
            .map_err(errno)
            .map_err(Error::step("reading a register"))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.machine()
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

/// The registers and the internal buffer; a transfer lands when its command has been read twice.
struct Model {
    liveness: u32,
    operand: u32,
    status: u32,
    interrupts: u32,
    /// Source, destination, count, command.
    dma: [u64; 4],
    /// Reads of the command until the transfer lands.
    flight: u32,
    buffer: Vec<u8>,
    buffer_unsent: bool,
    registers_unsent: bool,
    staged: Option<Vec<u8>>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            liveness: 0,
            operand: 34,
            status: 0,
            interrupts: 0,
            dma: [0; 4],
            flight: 0,
            buffer: vec![0; BUFFER_SIZE],
            buffer_unsent: false,
            registers_unsent: false,
            staged: None,
        }
    }
}

impl Model {
    fn to_memory(&self) -> bool {
        self.dma[3] & 2 != 0
    }

    fn land(&mut self, host: &Host) {
        if self.dma[3] & 1 == 0 {
            return;
        }
        let [source, destination, count, _] = self.dma;
        let (iova, buffer) = if self.to_memory() {
            (destination, source)
        } else {
            (source, destination)
        };
        let place = match (&host.page, &host.memory) {
            (Some(page), _) if iova >= page.iova => Some((&page.memory, iova - page.iova)),
            (_, Some(memory)) => Some((memory.mapping(), iova - GuestMemory::IOVA)),
            _ => None,
        };
        let start = (buffer - 0x40000) as usize;
        let inside = start..start + count as usize;
        if let Some((memory, at)) = place {
            if self.to_memory() {
                memory.write(at as usize, &self.buffer[inside]);
            } else {
                memory.read(at as usize, &mut self.buffer[inside]);
                self.buffer_unsent = true;
            }
        }
        if self.dma[3] & 4 != 0 {
            self.interrupts |= 0x100;
        }
        self.dma[3] &= !1;
        self.flight = 0;
    }

    fn registers(&self) -> [u32; 6] {
        let result = factorial(self.operand);
        let Self {
            status,
            liveness,
            operand,
            interrupts,
            ..
        } = *self;
        [status, liveness, operand, result, interrupts, 0]
    }
}

impl Device for Model {
    type Host = Host;

    fn identity(&self) -> Identity {
        Identity {
            vendor: pci::Identity::EDU.vendor,
            device: pci::Identity::EDU.device,
            state_major: 1,
            ..Identity::default()
        }
    }

    fn quiesce(&mut self, host: &Host) -> KernelResult {
        self.land(host);
        Ok(())
    }

    fn resume(&mut self, _: &Host) -> KernelResult {
        Ok(())
    }

    fn reset(&mut self, host: &Host) -> KernelResult {
        self.land(host);
        *self = Self::default();
        Ok(())
    }

    fn size(&self, _: &Host) -> Amount {
        Amount {
            bytes: BUFFER_SIZE as u64 + 56,
            sections: 2,
        }
    }

    fn save_begin(&mut self, _: &Host) -> KernelResult {
        self.buffer_unsent = true;
        self.registers_unsent = true;
        Ok(())
    }

    fn remaining(&self, _: &Host) -> Remaining {
        let amount = |unsent: bool, bytes: u64| Amount {
            bytes: if unsent { bytes } else { 0 },
            sections: unsent.into(),
        };
        Remaining {
            running: amount(self.buffer_unsent, BUFFER_SIZE as u64),
            later: Amount::default(),
            stopped: amount(self.registers_unsent, 56),
        }
    }

    fn save(
        &mut self,
        _: &Host,
        phase: Phase,
        payload: &mut Payload,
    ) -> KernelResult<Option<SectionHead>> {
        if self.buffer_unsent {
            payload.put_slice(&self.buffer)?;
            self.buffer_unsent = false;
            return Ok(Some(SectionHead::mandatory(2, 0)));
        }
        if phase == Phase::Stopped && self.registers_unsent {
            for register in self.registers() {
                payload.put_u32(register)?;
            }
            for register in self.dma {
                payload.put_u64(register)?;
            }
            self.registers_unsent = false;
            return Ok(Some(SectionHead::mandatory(1, 0)));
        }
        Ok(None)
    }

    fn load_begin(&mut self, _: &Host) -> KernelResult {
        Ok(())
    }

    fn load(&mut self, _: &Host, section: &Section<'_>) -> KernelResult {
        match section.head.kind {
            1 => self.staged = Some(section.payload.to_vec()),
            2 => self.buffer.copy_from_slice(section.payload),
            _ => return Err(EOPNOTSUPP),
        }
        Ok(())
    }

    fn load_end(&mut self, _: &Host) -> KernelResult {
        let staged = self.staged.take().ok_or(EINVAL)?;
        let word = |at: usize| u32::from_le_bytes(staged[at..at + 4].try_into().unwrap());
        (self.status, self.liveness) = (word(0), word(4));
        (self.operand, self.interrupts) = (word(8), word(16));
        for (register, bytes) in self.dma.iter_mut().zip(staged[24..].chunks_exact(8)) {
            *register = u64::from_le_bytes(bytes.try_into().unwrap());
        }
        Ok(())
    }

    fn in_flight(&mut self, _: &Host, report: &mut dyn FnMut(IovaRange)) -> KernelResult {
        if self.dma[3] & 3 == 3 {
            report(IovaRange::new(self.dma[1], self.dma[2])?);
        }
        Ok(())
    }

    fn read(&mut self, host: &Host, access: Access) -> KernelResult<u64> {
        let registers = self.registers();
        Ok(match access.offset {
            0x00 => 0x0100_00ed,
            0x04 => registers[1].into(),
            0x08 => registers[3].into(),
            0x20 => registers[0].into(),
            0x24 => registers[4].into(),
            0x80 | 0x88 | 0x90 => self.dma[(access.offset as usize - 0x80) / 8],
            0x98 => {
                let command = self.dma[3];
                self.flight = self.flight.saturating_sub(1);
                if self.flight == 0 {
                    self.land(host);
                }
                command
            }
            _ => u64::MAX,
        })
    }

    fn write(&mut self, _: &Host, log: &mut DirtyLog, access: Access, value: u64) -> KernelResult {
        match access.offset {
            0x04 => self.liveness = !(value as u32),
            0x08 => {
                self.operand = value as u32;
                self.interrupts |= u32::from(self.status != 0);
            }
            0x20 => self.status = value as u32 & 0x80,
            0x60 => self.interrupts |= value as u32,
            0x64 => self.interrupts &= !(value as u32),
            0x98 => {
                self.dma[3] = value;
                self.flight = 2;
                if value & 3 == 3 {
                    log.mark(IovaRange::new(self.dma[1], self.dma[2])?);
                }
            }
            0x80 | 0x88 | 0x90 => self.dma[(access.offset as usize - 0x80) / 8] = value,
            _ => {}
        }
        Ok(())
    }
}
