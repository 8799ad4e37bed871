// SPDX-License-Identifier: GPL-2.0-only

//! One thread of the client: its generator, its memory for arguments, and what it counts.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::device::{Region, Shared};
use crate::dice::Dice;
use crate::kind::Kind;
use crate::sys::{self, Address, Errno, MapHow, Reservation, Result, PAGE};
use crate::tally::{Protocol, Tally};
use crate::uapi::*;
use crate::watchdog::Place;

/// Bytes of a thread's memory for arguments; what lies behind cannot be accessed.
pub const WINDOW: usize = 16 * PAGE;

/// A page after the window and its guard, which can only be read.
const READ_ONLY: usize = WINDOW + PAGE;

/// A thread of the client.
pub struct Client<'a> {
    /// The device.
    pub shared: &'a Shared,
    /// The generator of the present step.
    pub dice: Dice,
    /// What was counted.
    pub tally: Tally,
    /// All threads, to send signals to.
    pub places: &'a [Place],
    number: usize,
    title: &'a str,
    step: u64,
    /// Memory for arguments.
    pub window: Reservation,
}

impl<'a> Client<'a> {
    /// Thread `number` of those at `places`; `title` tells which round of which seed it is.
    pub fn new(
        shared: &'a Shared,
        places: &'a [Place],
        number: usize,
        title: &'a str,
        window: Reservation,
    ) -> Self {
        places[number]
            .thread
            .store(sys::thread(), std::sync::atomic::Ordering::Relaxed);
        Self {
            shared,
            dice: Dice::new(0, 0, 0),
            tally: Tally::default(),
            places,
            number,
            title,
            step: 0,
            window,
        }
    }

    /// Ends the thread's work, and returns what it has counted.
    pub fn finish(self) -> Tally {
        let place = &self.places[self.number];
        place.thread.store(0, std::sync::atomic::Ordering::Relaxed);
        self.tally
    }

    /// Reserves memory for the arguments of a thread.
    pub fn window() -> Result<Reservation> {
        let window = Reservation::new(READ_ONLY + PAGE)?;
        window.map(0, WINDOW, MapHow::MEMORY)?;
        let protection = libc::PROT_READ;
        window.map(
            READ_ONLY,
            PAGE,
            MapHow {
                protection,
                ..MapHow::MEMORY
            },
        )?;
        Ok(window)
    }

    /// Begins a step with a generator of its own.
    pub fn begin(&mut self, step: u64, dice: Dice) {
        self.places[self.number].step(step);
        self.step = step;
        self.dice = dice;
    }

    /// Makes a call that the watchdog watches and the tally counts.
    pub fn call<T>(&mut self, kind: Kind, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let place = &self.places[self.number];
        place.enter(kind);
        let result = call();
        place.leave();
        let errno = match &result {
            Ok(_) => 0,
            Err(errno) => errno.0,
        };
        let (title, number, step) = (self.title, self.number, self.step);
        self.tally.call(kind, errno, || {
            format!("{title}, thread {number}, step {step}")
        });
        result
    }

    /// Drops a file; if this is its last user, the close is a counted call.
    pub fn close(&mut self, file: Option<Arc<OwnedFd>>) {
        if let Some(file) = file.and_then(Arc::into_inner) {
            let _ = self.call(Kind::Close, || {
                drop(file);
                Ok(0)
            });
        }
    }

    /// One of the device's files; `None` while it is closed.
    pub fn device(&mut self) -> Option<Arc<OwnedFd>> {
        let first = self.dice.below(2);
        let devices = &self.shared.devices;
        devices[first].get().or_else(|| devices[1 - first].get())
    }

    /// Returns an address for `len` bytes, most often that of good memory.
    ///
    /// Good memory ends right before pages that cannot be accessed; now and then the bytes reach
    /// into these.
    pub fn address(&mut self, len: usize) -> Address {
        let end = WINDOW - len.min(WINDOW);
        if !self.dice.one_in(12) {
            return self.window.at(end);
        }
        let arena = self.shared.arena;
        match self.dice.below(7) {
            0 => Address::NULL,
            1 => Address::KERNEL,
            2 => Address::NONE,
            // Only a part can be accessed.
            3 => self.window.at(end + len / 2),
            4 => self.window.at(READ_ONLY),
            // Anything in the arena, perhaps a mapping of the device's own data section. The bytes
            // fit, so that the kernel does not reach what lies behind the arena.
            _ => {
                let pages = (arena.len() - len.min(arena.len())) / PAGE;
                arena.at(self.dice.below(pages + 1) * PAGE)
            }
        }
    }

    /// Stores bytes at [`Client::good`].
    pub fn store(&self, bytes: &[u8]) {
        let stored = self.window.store(WINDOW - bytes.len(), bytes);
        assert_eq!(stored, Ok(bytes.len()), "the window is this thread's own");
    }

    /// Loads bytes from [`Client::good`].
    pub fn load(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let loaded = self.window.load(WINDOW - len, &mut bytes);
        assert_eq!(loaded, Ok(len), "the window is this thread's own");
        bytes
    }

    /// The address of `len` good bytes.
    pub fn good(&self, len: usize) -> Address {
        self.window.at(WINDOW - len)
    }

    /// Issues an ioctl with a structure, at any address, and takes back what the kernel wrote.
    pub fn ioctl(&mut self, kind: Kind, fd: &OwnedFd, request: u32, argument: &mut [u8]) -> Result {
        self.store(argument);
        let address = self.address(argument.len());
        let kind = match address == self.good(argument.len()) {
            true => kind,
            false => kind.elsewhere(),
        };
        let result = self.call(kind, || sys::ioctl(fd.as_raw_fd(), request, address));
        argument.copy_from_slice(&self.load(argument.len()));
        result
    }

    /// Issues an ioctl with a structure, at a good address, and takes back what the kernel wrote.
    pub fn good_ioctl(
        &mut self,
        kind: Kind,
        fd: &OwnedFd,
        request: u32,
        argument: &mut [u8],
    ) -> Result {
        self.store(argument);
        let address = self.good(argument.len());
        let result = self.call(kind, || sys::ioctl(fd.as_raw_fd(), request, address));
        argument.copy_from_slice(&self.load(argument.len()));
        result
    }

    /// Reads all of a small piece of a region.
    pub fn read(&mut self, kind: Kind, region: Region, offset: u64, len: usize) -> Result<Vec<u8>> {
        let device = self.device().ok_or(Errno(libc::ENODEV))?;
        let address = self.good(len);
        let position = region.position + offset;
        let moved = self.call(kind, || {
            sys::pread(device.as_raw_fd(), address, len, position)
        });
        self.close(Some(device));
        match moved? {
            moved if moved == len => Ok(self.load(len)),
            _ => Err(Errno(0)),
        }
    }

    /// Writes all of a small piece of a region.
    pub fn write(&mut self, kind: Kind, region: Region, offset: u64, bytes: &[u8]) -> Result<()> {
        let device = self.device().ok_or(Errno(libc::ENODEV))?;
        self.store(bytes);
        let (address, position) = (self.good(bytes.len()), region.position + offset);
        let moved = self.call(kind, || {
            sys::pwrite(device.as_raw_fd(), address, bytes.len(), position)
        });
        self.close(Some(device));
        match moved? {
            moved if moved == bytes.len() => Ok(()),
            _ => Err(Errno(0)),
        }
    }

    /// Reads a register of 32 bits.
    pub fn register(&mut self, offset: u64) -> Result<u32> {
        let bar = self.shared.layout.regions[BAR0];
        Ok(word(&self.read(Kind::RegisterRead, bar, offset, 4)?, 0))
    }

    /// Writes a register of 32 bits.
    pub fn set_register(&mut self, offset: u64, value: u32) -> Result<()> {
        let bar = self.shared.layout.regions[BAR0];
        self.write(Kind::RegisterWrite, bar, offset, &value.to_le_bytes())
    }

    /// Writes a register of 64 bits.
    pub fn set_wide(&mut self, offset: u64, value: u64) -> Result<()> {
        let bar = self.shared.layout.regions[BAR0];
        self.write(Kind::RegisterWrite, bar, offset, &value.to_le_bytes())
    }

    /// Starts a transfer.
    pub fn transfer(
        &mut self,
        source: u64,
        destination: u64,
        count: u64,
        command: u64,
    ) -> Result<()> {
        self.set_wide(edu::SOURCE, source)?;
        self.set_wide(edu::DESTINATION, destination)?;
        self.set_wide(edu::COUNT, count)?;
        self.set_wide(edu::DMA_COMMAND, command | edu::RUN)
    }

    /// Lets the device answer to accesses and reach memory.
    pub fn enable(&mut self) -> Result<()> {
        let config = self.shared.layout.regions[CONFIG];
        self.write(
            Kind::ConfigWrite,
            config,
            COMMAND,
            &COMMAND_BITS.to_le_bytes(),
        )
    }

    /// Counts a state that a register or a feature has told.
    pub fn saw(&mut self, protocol: &Protocol, bytes: &[u8]) -> u32 {
        let state = word(bytes, 0);
        self.tally.state(protocol, state);
        state
    }
}

/// A number of 32 bits in bytes.
pub fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A number of 64 bits in bytes.
pub fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A structure of words of 32 bits.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
