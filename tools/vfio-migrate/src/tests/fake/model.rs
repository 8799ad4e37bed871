// SPDX-License-Identifier: GPL-2.0-only

//! What the fake device is: registers, an internal buffer, and DMA into what it is connected to.

use std::sync::Arc;

use kernel::error::{code::*, Result as KernelResult};
use migration::container::Container;
use migration::device::{Access, Amount, Device, Phase, Remaining};
use migration::dirty::DirtyLog;
use migration::image::{Identity, Payload, Section, SectionHead};
use migration::iova::IovaRange;

use crate::edu::{factorial, BUFFER_SIZE};
use crate::migrate::memory::{DmaPage, GuestMemory};
use crate::pci;

/// What the device is connected to.
#[derive(Default)]
pub struct Host {
    /// The guest's memory.
    pub memory: Option<GuestMemory>,
    /// The page for the internal buffer.
    pub page: Option<Arc<DmaPage>>,
}

impl Container for Host {}

/// The registers and the internal buffer; a transfer lands when its command has been read twice.
pub struct Model {
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
