// SPDX-License-Identifier: GPL-2.0-only

//! A device in memory: registers, an internal memory larger than most windows, and DMA that lands
//! some time after its command.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
};

use kernel::error::{code::*, Error, Result};
use migration::{
    container::Container,
    device::{Access, Amount, Device, Phase, Remaining, Width},
    dirty::DirtyLog,
    engine::Engine,
    image::{Fields, Identity, Payload, Section, SectionHead},
    iova::{IovaRange, PAGE_SIZE},
};

pub const MEMORY: u16 = 1;
pub const REGISTERS: u16 = 2;
pub const NOTE: u16 = 3;
pub const REGISTER_COUNT: usize = 6;
/// Register to which a write starts a transfer to the page of that number.
pub const DMA: u64 = 0x80;

pub const IDENTITY: Identity = Identity {
    vendor: 0x1234,
    device: 0x11e8,
    subsystem_vendor: 0x1af4,
    subsystem_device: 0x1100,
    revision: 0x10,
    state_major: 1,
    state_minor: 2,
};

/// An operation of the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd, Ord)]
pub enum Op {
    Quiesce,
    Resume,
    Reset,
    SaveBegin,
    Save,
    LoadBegin,
    Load,
    LoadEnd,
    InFlight,
}

pub const OPS: [Op; 9] = [
    Op::Quiesce,
    Op::Resume,
    Op::Reset,
    Op::SaveBegin,
    Op::Save,
    Op::LoadBegin,
    Op::Load,
    Op::LoadEnd,
    Op::InFlight,
];

/// What surrounds the device: faults, a record of the calls, and the guest's memory.
#[derive(Default)]
pub struct Host {
    /// The operation that fails, the number of its calls that succeed before, and the error.
    pub fail: Cell<Option<(Op, u32, Error)>>,
    /// How often the operation fails again when it is repeated.
    pub again: Cell<u32>,
    /// The device is lost with the failing operation.
    pub lose: Cell<bool>,
    /// What was called.
    pub calls: RefCell<Vec<Op>>,
    /// Version of each page of guest memory that the device has written.
    pub guest: RefCell<BTreeMap<u64, u64>>,
}

/// Nobody asks a container.
impl Container for Host {}

impl Host {
    pub fn fail(&self, op: Op, error: Error) {
        self.fail.set(Some((op, 0, error)));
    }

    pub fn called(&self) -> Vec<Op> {
        self.calls.take()
    }

    fn enter(&self, op: Op) -> Result {
        self.calls.borrow_mut().push(op);
        match self.fail.get() {
            Some((which, 0, error)) if which == op => {
                match self.again.get() {
                    0 => self.fail.set(None),
                    left => self.again.set(left - 1),
                }
                Err(error)
            }
            Some((which, left, error)) if which == op => {
                self.fail.set(Some((op, left - 1, error)));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The device.
#[derive(Debug)]
pub struct Fake {
    pub identity: Identity,
    pub registers: [u32; REGISTER_COUNT],
    pub memory: Vec<u8>,
    /// Bytes of memory in a section.
    pub chunk: usize,
    /// The device sends an optional section.
    pub note: bool,
    pub running: bool,
    pub lost: bool,
    /// The device works on its memory, which cannot be read meanwhile; a stop ends that.
    pub busy: bool,
    /// Transfers under way.
    pub transfers: VecDeque<u64>,
    /// Chunks of memory that are still to be sent.
    unsent: Vec<usize>,
    registers_unsent: bool,
    note_unsent: bool,
    /// Registers that came with an image.
    staged: Option<[u32; REGISTER_COUNT]>,
}

impl Fake {
    pub fn new(memory: usize, chunk: usize) -> Self {
        Self {
            identity: IDENTITY,
            registers: [0; REGISTER_COUNT],
            memory: vec![0; memory],
            chunk,
            note: false,
            running: true,
            lost: false,
            busy: false,
            transfers: VecDeque::new(),
            unsent: Vec::new(),
            registers_unsent: false,
            note_unsent: false,
            staged: None,
        }
    }

    /// A device with something in it.
    pub fn filled(memory: usize, chunk: usize) -> Self {
        let mut fake = Self::new(memory, chunk);
        for (index, byte) in fake.memory.iter_mut().enumerate() {
            *byte = (index * 7 + index / 251 + 1) as u8;
        }
        for (index, register) in fake.registers.iter_mut().enumerate() {
            *register = 0xa5a5_0000 + index as u32;
        }
        fake
    }

    /// What a migration must move.
    pub fn contents(&self) -> ([u32; REGISTER_COUNT], Vec<u8>) {
        (self.registers, self.memory.clone())
    }

    /// The device itself changes a byte of its memory while it runs.
    pub fn poke(&mut self, at: usize, value: u8) {
        self.memory[at] = value;
        let chunk = at / self.chunk;
        if !self.unsent.contains(&chunk) {
            self.unsent.push(chunk);
        }
    }

    /// The oldest transfer lands.
    pub fn land(&mut self, host: &Host) {
        if let Some(page) = self.transfers.pop_front() {
            *host.guest.borrow_mut().entry(page).or_default() += 1;
        }
    }

    fn chunk_bytes(&self, chunk: usize) -> &[u8] {
        let start = chunk * self.chunk;
        &self.memory[start..(start + self.chunk).min(self.memory.len())]
    }

    fn result(&mut self, host: &Host, op: Op) -> Result {
        let result = host.enter(op);
        if result.is_err() && host.lose.get() {
            self.lost = true;
        }
        result
    }
}

impl Device for Fake {
    type Host = Host;

    fn identity(&self) -> Identity {
        self.identity
    }

    fn quiesce(&mut self, host: &Host) -> Result {
        self.result(host, Op::Quiesce)?;
        while !self.transfers.is_empty() {
            self.land(host);
        }
        self.running = false;
        self.busy = false;
        Ok(())
    }

    fn resume(&mut self, host: &Host) -> Result {
        self.result(host, Op::Resume)?;
        assert!(!self.running, "a running device is not resumed");
        self.running = true;
        Ok(())
    }

    fn reset(&mut self, host: &Host) -> Result {
        self.result(host, Op::Reset)?;
        let (identity, chunk, note) = (self.identity, self.chunk, self.note);
        *self = Self::new(self.memory.len(), chunk);
        (self.identity, self.note) = (identity, note);
        Ok(())
    }

    fn lost(&self) -> bool {
        self.lost
    }

    fn size(&self, _host: &Host) -> Amount {
        Amount {
            bytes: (self.memory.len() + 4 * REGISTER_COUNT) as u64,
            sections: self.memory.len().div_ceil(self.chunk) as u64 + 1,
        }
    }

    fn save_begin(&mut self, host: &Host) -> Result {
        self.result(host, Op::SaveBegin)?;
        self.unsent = (0..self.memory.len().div_ceil(self.chunk)).collect();
        self.registers_unsent = true;
        self.note_unsent = self.note;
        Ok(())
    }

    fn remaining(&self, _host: &Host) -> Remaining {
        let bytes: usize = self.unsent.iter().map(|c| self.chunk_bytes(*c).len()).sum();
        let note = u64::from(self.note_unsent);
        let registers = u64::from(self.registers_unsent);
        let memory = Amount {
            bytes: bytes as u64,
            sections: self.unsent.len() as u64,
        };
        let (now, later) = match self.busy {
            false => (memory, Amount::default()),
            true => (Amount::default(), memory),
        };
        Remaining {
            running: Amount {
                bytes: now.bytes + 3 * note,
                sections: now.sections + note,
            },
            later,
            stopped: Amount {
                bytes: registers * 4 * REGISTER_COUNT as u64,
                sections: registers,
            },
        }
    }

    fn save(
        &mut self,
        host: &Host,
        phase: Phase,
        payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        self.result(host, Op::Save)?;
        assert!(payload.is_empty());
        assert!(phase == Phase::Running || !self.running);
        if self.note_unsent {
            payload.put_slice(b"hi!")?;
            self.note_unsent = false;
            return Ok(Some(SectionHead::optional(NOTE, 0)));
        }
        if let Some(chunk) = self.unsent.first().copied().filter(|_| !self.busy) {
            payload.put_slice(self.chunk_bytes(chunk))?;
            self.unsent.remove(0);
            let offset = (chunk * self.chunk) as u64;
            return Ok(Some(SectionHead::mandatory(MEMORY, offset)));
        }
        if phase == Phase::Stopped && self.registers_unsent {
            for register in self.registers {
                payload.put_u32(register)?;
            }
            self.registers_unsent = false;
            return Ok(Some(SectionHead::mandatory(REGISTERS, 0)));
        }
        Ok(None)
    }

    fn load_begin(&mut self, host: &Host) -> Result {
        self.result(host, Op::LoadBegin)?;
        assert!(!self.running);
        self.staged = None;
        Ok(())
    }

    fn load(&mut self, host: &Host, section: &Section<'_>) -> Result {
        self.result(host, Op::Load)?;
        assert!(!self.running);
        match section.head.kind {
            MEMORY => {
                let start = usize::try_from(section.head.offset)?;
                let end = start.checked_add(section.payload.len()).ok_or(EINVAL)?;
                let place = self.memory.get_mut(start..end).ok_or(EINVAL)?;
                place.copy_from_slice(section.payload);
                Ok(())
            }
            REGISTERS => {
                let mut fields: Fields<'_> = section.fields();
                let mut registers = [0; REGISTER_COUNT];
                for register in &mut registers {
                    *register = fields.take_u32()?;
                }
                fields.finish()?;
                self.staged = Some(registers);
                Ok(())
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    fn load_end(&mut self, host: &Host) -> Result {
        self.result(host, Op::LoadEnd)?;
        assert!(!self.running);
        self.registers = self.staged.take().ok_or(EINVAL)?;
        Ok(())
    }

    fn in_flight(&mut self, host: &Host, report: &mut dyn FnMut(IovaRange)) -> Result {
        self.result(host, Op::InFlight)?;
        for page in &self.transfers {
            report(IovaRange::new(page * PAGE_SIZE, PAGE_SIZE)?);
        }
        Ok(())
    }

    fn read(&mut self, _host: &Host, access: Access) -> Result<u64> {
        let register = self
            .registers
            .get(access.offset as usize / 4)
            .ok_or(EINVAL)?;
        Ok(u64::from(*register))
    }

    fn write(&mut self, _host: &Host, log: &mut DirtyLog, access: Access, value: u64) -> Result {
        assert!(self.running, "a stopped device gets no command");
        if access.offset == DMA {
            log.mark(IovaRange::new(value * PAGE_SIZE, PAGE_SIZE)?);
            self.transfers.push_back(value);
            return Ok(());
        }
        let register = self.registers.get_mut(access.offset as usize / 4);
        *register.ok_or(EINVAL)? = value as u32;
        Ok(())
    }
}

/// The access of a 4-byte register of BAR 0.
pub fn register(offset: u64) -> Access {
    Access {
        bar: 0,
        offset,
        width: Width::B4,
    }
}

/// Copies the next bytes of the image to `out`; returns how many.
///
/// 0, for an `out` that is not empty, means nothing now or nothing more. The next call meets again
/// an error that came after some bytes.
pub fn read(engine: &mut Engine<Fake>, host: &Host, out: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        let staged = match engine.stage(host) {
            Ok(staged) => staged,
            Err(error) if filled == 0 => return Err(error),
            Err(_) => break,
        };
        let count = staged.len().min(out.len() - filled);
        if count == 0 {
            break;
        }
        out[filled..filled + count].copy_from_slice(&staged[..count]);
        engine.consume(count);
        filled += count;
    }
    Ok(filled)
}

/// Gives all of `bytes` to a device that takes an image.
pub fn write_all(engine: &mut Engine<Fake>, host: &Host, mut bytes: &[u8]) -> Result {
    while !bytes.is_empty() {
        let taken = engine.write(host, bytes)?;
        assert!(taken.bytes > 0, "a call that takes nothing fails");
        bytes = &bytes[taken.bytes..];
    }
    Ok(())
}
