// SPDX-License-Identifier: GPL-2.0-only

//! Every order of accesses to the region of November 2018 while saving, against a model.
//!
//! The model is the uAPI header's text: what the data section holds, and what each access returns
//! and does. The client copies as late as it may. Whatever the order, it gets the same image as a
//! client without any query, and each page that the device wrote is reported once.

use std::collections::BTreeSet;

use crate::common::{register, Fake, Side, DATA_OFFSET, DMA};
use migration::protocols::region_2018::{
    layout::{Field, HEADER_LEN},
    state::DeviceState::{self, *},
};

/// What a client or its guest may do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Reads the three counts.
    Pending,
    /// Reads `data.offset`.
    Offset,
    /// Reads `data.offset` by halves.
    OffsetHalves,
    /// Reads `data.size`.
    Size,
    /// Reads the low half of `data.size` and leaves the high one.
    SizeLow,
    /// Reads `data` whole.
    Data,
    /// Reads `pending` and `data` in one access.
    PendingAndData,
    /// Reads from `data.offset` to `copied` in one access.
    DataAndCopied,
    /// Reads the whole header.
    Header,
    /// Reads `copied`.
    Copied,
    /// Reads the low half of `copied` and leaves the high one.
    CopiedLow,
    /// Writes `start_addr` and `total`.
    Arm,
    /// Looks at what the data section holds.
    Bytes,
    /// Writes STOPNCOPY, even if it is the state already.
    Stop,
    /// Writes the state that the device is in.
    SameState,
    /// The device writes another page, if it runs.
    Write,
}

use Step::*;

const ALL: [Step; 16] = [
    Pending,
    Offset,
    OffsetHalves,
    Size,
    SizeLow,
    Data,
    PendingAndData,
    DataAndCopied,
    Header,
    Copied,
    CopiedLow,
    Arm,
    Bytes,
    Stop,
    SameState,
    Write,
];

/// The steps that the effects of all others depend on.
const FEW: [Step; 6] = [Pending, Size, DataAndCopied, Copied, Arm, Write];

/// Pages in a query; they do not fill the last byte.
const TOTAL: u64 = 61;

const MEMORY: usize = 90;
const CHUNK: usize = 40;
const WINDOW: usize = 64;

/// What the data section holds by the rules.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Section {
    Nothing,
    /// That many bytes of the image; the client is done with it or not.
    Buffer {
        size: usize,
        done: bool,
    },
    /// These pages.
    Bitmap(BTreeSet<u64>),
}

/// A client, and what it must find.
struct Client {
    side: Side,
    state: DeviceState,
    /// `threshold_size`, in bytes.
    threshold: usize,
    /// All of the image, and how much of it may go before the stop.
    image: &'static [u8],
    early: usize,
    /// Bytes that the client has.
    have: usize,
    section: Section,
    armed: bool,
    copied: u64,
    /// Pages that were written and not reported yet.
    dirty: BTreeSet<u64>,
    /// The next page to be written.
    page: u64,
    /// Pages that the client knows of.
    told: Vec<u64>,
}

/// The image of a plain client, and its part before the stop.
fn reference() -> (&'static [u8], usize) {
    static IMAGE: std::sync::OnceLock<(Vec<u8>, usize)> = std::sync::OnceLock::new();
    let (image, early) = IMAGE.get_or_init(|| {
        let mut side = Side::new(Fake::filled(MEMORY, CHUNK), WINDOW);
        side.enter(Setup).unwrap();
        side.enter(Precopy).unwrap();
        let mut image = side.take_all().unwrap();
        let early = image.len();
        side.enter(Stopncopy).unwrap();
        image.extend(side.take_all().unwrap());
        side.enter(SaveCompleted).unwrap();

        let mut target = Side::new(Fake::new(MEMORY, CHUNK), WINDOW);
        target.enter(Resume).unwrap();
        target.give_all(&image).unwrap();
        target.enter(ResumeCompleted).unwrap();
        assert_eq!(target.device().contents(), side.device().contents());
        (image, early)
    });
    (image, *early)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| (n << 8) | u64::from(*b))
}

impl Client {
    fn new(state: DeviceState, threshold: u64) -> Self {
        let (image, early) = reference();
        let mut side = Side::new(Fake::filled(MEMORY, CHUNK), WINDOW);
        side.set(Field::ThresholdSize, threshold).unwrap();
        side.enter(Setup).unwrap();
        let mut client = Self {
            side,
            state: Precopy,
            threshold: threshold as usize,
            image,
            early,
            have: 0,
            section: Section::Nothing,
            armed: false,
            copied: 0,
            dirty: BTreeSet::new(),
            page: 0,
            told: Vec::new(),
        };
        client.side.enter(Precopy).unwrap();
        client.write();
        client.enter(state);
        client
    }

    fn read(&mut self, offset: usize, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.side.read(offset, &mut out).unwrap();
        out
    }

    fn enter(&mut self, state: DeviceState) {
        self.done();
        self.side.enter(state).unwrap();
        self.state = state;
    }

    fn write(&mut self) {
        if self.state != Precopy || self.page == TOTAL {
            return;
        }
        let host = &self.side.host;
        let object = &mut self.side.object;
        object
            .engine_mut()
            .write_register(host, register(DMA), self.page)
            .unwrap();
        object.engine_mut().device_mut().land(host);
        self.dirty.insert(self.page);
        self.page += 1;
    }

    /// Bytes of the image that can be had now.
    fn available(&self) -> &'static [u8] {
        let end = match self.state {
            Precopy => self.early,
            _ => self.image.len(),
        };
        &self.image[self.have..end]
    }

    /// Looks at the section, and copies nothing.
    fn look(&self) -> Section {
        let bytes = self.side.window.bytes.borrow();
        match &self.section {
            Section::Nothing => {}
            Section::Buffer { size, done } => {
                let start = self.have - if *done { *size } else { 0 };
                assert_eq!(bytes[..*size], self.image[start..start + size]);
            }
            Section::Bitmap(pages) => {
                for bit in 0..self.copied.next_multiple_of(8) {
                    let set = (bytes[bit as usize / 8] >> (bit % 8)) & 1 != 0;
                    assert_eq!(set, pages.contains(&bit), "page {bit}");
                }
            }
        }
        self.section.clone()
    }

    /// The client copies what the section holds: its last chance.
    fn take(&mut self) {
        match self.look() {
            Section::Buffer { size, done: false } => {
                self.have += size;
                self.section = Section::Buffer { size, done: true };
            }
            Section::Bitmap(pages) => {
                self.told.extend(pages);
                self.section = Section::Nothing;
            }
            _ => {}
        }
    }

    /// A pending field is read or the state written.
    fn done(&mut self) {
        self.take();
        self.section = Section::Nothing;
    }

    /// `copied` is read.
    fn query(&mut self, copied: u64) {
        if self.armed {
            self.armed = false;
            self.copied = match self.dirty.is_empty() {
                true => 0,
                false => TOTAL,
            };
            self.section = Section::Bitmap(core::mem::take(&mut self.dirty));
        }
        assert_eq!(copied, self.copied);
    }

    /// `data.size` is read.
    fn size(&mut self, found: u64) {
        let found = found as usize;
        match self.section {
            Section::Nothing => {
                let available = self.available().len();
                let most = match self.threshold {
                    0 => WINDOW,
                    threshold => threshold.min(WINDOW),
                };
                assert!(found <= most.min(available));
                // A buffer that is staged while a query is armed may be shorter.
                match self.armed {
                    true => assert_eq!(found == 0, available == 0),
                    false => assert_eq!(found, most.min(available)),
                }
                self.section = Section::Buffer {
                    size: found,
                    done: false,
                };
            }
            Section::Buffer { size, .. } => assert_eq!(found, size),
            Section::Bitmap(_) => assert_eq!(found, self.copied.div_ceil(8) as usize),
        }
    }

    fn pending(&mut self, counts: &[u8]) {
        let counts: Vec<u64> = counts.chunks(8).map(number).collect();
        let left = self.image.len() - self.have;
        assert_eq!(counts.iter().sum::<u64>() as usize, left);
        if self.state == Precopy {
            assert_eq!(counts[0] as usize, self.available().len());
        }
    }

    /// `data.offset`, `data.size` and perhaps all up to `copied` are read.
    fn data(&mut self, bytes: &[u8]) {
        assert_eq!(number(&bytes[..8]), DATA_OFFSET);
        if bytes.len() > 16 {
            // The access describes the bitmap.
            self.query(number(&bytes[32..]));
        }
        self.size(number(&bytes[8..16]));
    }

    fn step(&mut self, step: Step) {
        match step {
            Pending => {
                self.done();
                let counts = self.read(4, 24);
                self.pending(&counts);
            }
            Offset => assert_eq!(number(&self.read(36, 8)), DATA_OFFSET),
            OffsetHalves => {
                assert_eq!(number(&self.read(36, 4)), DATA_OFFSET);
                assert_eq!(number(&self.read(40, 4)), 0);
            }
            Size => {
                let size = number(&self.read(44, 8));
                self.size(size);
            }
            SizeLow => {
                let size = number(&self.read(44, 4));
                self.size(size);
            }
            Data => {
                let bytes = self.read(36, 16);
                self.data(&bytes);
            }
            PendingAndData => {
                self.done();
                let bytes = self.read(4, 48);
                self.pending(&bytes[..24]);
                self.data(&bytes[32..]);
            }
            DataAndCopied => {
                let bytes = self.read(36, 40);
                self.data(&bytes);
            }
            Header => {
                self.done();
                let bytes = self.read(0, HEADER_LEN);
                assert_eq!(number(&bytes[..4]), u64::from(self.state.number()));
                self.pending(&bytes[4..28]);
                self.data(&bytes[36..]);
            }
            Copied => {
                let copied = number(&self.read(68, 8));
                self.query(copied);
            }
            CopiedLow => {
                let copied = number(&self.read(68, 4));
                self.query(copied);
            }
            Arm => {
                let range = [0, TOTAL].map(u64::to_le_bytes).concat();
                self.take();
                self.side.write(52, &range).unwrap();
                self.armed = true;
            }
            Bytes => {}
            Stop => self.enter(Stopncopy),
            SameState => self.enter(self.state),
            Write => self.write(),
        }
        self.look();
    }

    /// The client goes on in the plain order until it has everything.
    fn finish(mut self) {
        self.enter(Stopncopy);
        loop {
            self.step(Pending);
            self.step(Size);
            if let Section::Buffer { size: 0, .. } = self.section {
                break;
            }
        }
        self.step(Arm);
        self.step(Copied);
        self.enter(SaveCompleted);
        assert_eq!(self.have, self.image.len());
        self.told.sort_unstable();
        assert!(self.told.into_iter().eq(0..self.page));
    }
}

/// Runs every sequence of `steps` that is `depth` long.
fn every(steps: &[Step], depth: u32, threshold: u64) {
    for state in [Precopy, Stopncopy] {
        for number in 0..steps.len().pow(depth) {
            let sequence: Vec<Step> = (0..depth)
                .map(|at| steps[number / steps.len().pow(at) % steps.len()])
                .collect();
            let run = || {
                let mut client = Client::new(state, threshold);
                sequence.iter().for_each(|step| client.step(*step));
                client.finish();
            };
            if std::panic::catch_unwind(run).is_err() {
                panic!("in {state:?}, {threshold} bytes at a time: {sequence:?}");
            }
        }
    }
}

#[test]
fn every_order_of_all_steps() {
    every(&ALL, 3, 7);
    every(&ALL, 4, 0);
}

#[test]
fn every_order_of_a_few_steps_to_a_greater_depth() {
    every(&FEW, 5, 0);
    every(&FEW, 6, 50);
}
