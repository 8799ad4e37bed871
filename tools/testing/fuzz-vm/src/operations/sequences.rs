// SPDX-License-Identifier: GPL-2.0-only

//! Whole migrations by each protocol, which other threads may disturb.

use std::os::fd::{AsRawFd, OwnedFd};

use super::{guest, streams};
use crate::client::{long, words, Client};
use crate::device::Region;
use crate::kind::Kind;
use crate::sys::{self, Errno, Result};
use crate::tally::{self, V2};
use crate::uapi::*;

/// Images that are kept.
const IMAGES: usize = 4;

/// More buffers than any image has.
const MOST_BUFFERS: usize = 20_000;

/// Keeps an image, unless other threads took all of its bytes.
fn keep(client: &mut Client<'_>, image: Vec<u8>, event: &'static str) {
    if image.is_empty() {
        return;
    }
    client.tally.event(event, 1);
    let images = client.shared.images.lock();
    let mut images = images.unwrap_or_else(|poisoned| poisoned.into_inner());
    if images.len() == IMAGES {
        images.remove(0);
    }
    images.push(image);
}

/// The length of a piece.
fn piece(client: &mut Client<'_>, image: usize) -> usize {
    match client.dice.below(4) {
        0 => 1 + client.dice.below(64),
        1 => 512,
        _ => image.max(1),
    }
}

/// Lets the guest do something in between.
fn meanwhile(client: &mut Client<'_>) {
    match client.dice.below(6) {
        0 => guest::compute(client),
        1 => guest::move_data(client),
        2 => guest::refused_transfer(client),
        _ => {}
    }
}

/// A region's protocol: the kinds of its accesses, and its states.
#[derive(Clone, Copy)]
struct Protocol {
    read: Kind,
    write: Kind,
    tally: &'static tally::Protocol,
}

const REGION_2018: Protocol = Protocol {
    read: Kind::Region2018Read,
    write: Kind::Region2018Write,
    tally: &tally::REGION_2018,
};

const REGION_V1: Protocol = Protocol {
    read: Kind::RegionV1Read,
    write: Kind::RegionV1Write,
    tally: &tally::REGION_V1,
};

impl Protocol {
    fn region(self, client: &Client<'_>) -> Region {
        match self.read {
            Kind::RegionV1Read => client.shared.layout.region_v1,
            _ => client.shared.layout.region_2018,
        }
    }

    fn get(self, client: &mut Client<'_>, offset: u64, len: usize) -> Result<Vec<u8>> {
        let region = self.region(client);
        client.read(self.read, region, offset, len)
    }

    fn put(self, client: &mut Client<'_>, offset: u64, bytes: &[u8]) -> Result<()> {
        let region = self.region(client);
        client.write(self.write, region, offset, bytes)
    }

    /// Writes the state and reads it back.
    fn enter(self, client: &mut Client<'_>, state: u32) -> Result<()> {
        let result = self.put(client, 0, &state.to_le_bytes());
        let bytes = self.get(client, 0, 4)?;
        client.saw(self.tally, &bytes);
        result
    }

    /// Appends the staged buffer, which the driver says has `size` bytes, to an image.
    fn take(self, client: &mut Client<'_>, size: u64, image: &mut Vec<u8>) -> Result<()> {
        let region = self.region(client);
        let mut at = DATA;
        let end = DATA + size;
        while at < end {
            let len = (end - at).min(32_768) as usize;
            image.extend(client.read(Kind::DataRead, region, at, len)?);
            at += len as u64;
        }
        Ok(())
    }
}

pub fn save_region_2018(client: &mut Client<'_>) {
    let mut image = Vec::new();
    if try_save_region_2018(client, &mut image).is_ok() {
        keep(client, image, "images saved by region-2018");
    }
    let end = *client.dice.pick(&[1, 1, 8, 9, 0]);
    let _ = REGION_2018.enter(client, end);
}

fn try_save_region_2018(client: &mut Client<'_>, image: &mut Vec<u8>) -> Result<()> {
    let this = REGION_2018;
    if client.dice.one_in(3) {
        let threshold = *client.dice.pick(&[0, 1, 100, 4096]);
        this.put(client, region_2018::THRESHOLD, &u64::to_le_bytes(threshold))?;
    }
    if !client.dice.one_in(3) {
        this.enter(client, 2)?;
        meanwhile(client);
        this.enter(client, 3)?;
        for _ in 0..client.dice.below(4) {
            meanwhile(client);
            query(client)?;
            this.get(client, region_2018::PENDING, 24)?;
            let size = long(&this.get(client, region_2018::OFFSET, 16)?, 8);
            this.take(client, size, image)?;
        }
        this.get(client, region_2018::PENDING, 24)?;
    }
    this.enter(client, 4)?;
    if client.dice.one_in(2) {
        // The device refuses this if no pages are recorded.
        let _ = query(client);
        this.get(client, region_2018::PENDING, 24)?;
    }
    for _ in 0..MOST_BUFFERS {
        let size = long(&this.get(client, region_2018::OFFSET, 16)?, 8);
        this.take(client, size, image)?;
        let pending = this.get(client, region_2018::PENDING, 24)?;
        if size == 0 && (0..3).all(|at| long(&pending, at * 8) == 0) {
            return this.enter(client, 5);
        }
    }
    Err(Errno(0))
}

/// A query of dirty pages.
fn query(client: &mut Client<'_>) -> Result<()> {
    let range = [0_u64.to_le_bytes(), (1_u64 << 20).to_le_bytes()].concat();
    REGION_2018.put(client, region_2018::START, &range)?;
    let copied = long(&REGION_2018.get(client, region_2018::COPIED, 8)?, 0);
    let event = if copied == 0 {
        "clean queries"
    } else {
        "dirty queries"
    };
    client.tally.event(event, 1);
    Ok(())
}

pub fn load_region_2018(client: &mut Client<'_>) {
    let Some(image) = streams::image(client) else {
        return;
    };
    let this = REGION_2018;
    if this.enter(client, 6).is_err() {
        return;
    }
    let loaded = feed(client, this, &image, |client, size| {
        this.put(client, region_2018::OFFSET, &DATA.to_le_bytes())?;
        this.put(client, region_2018::SIZE, &size.to_le_bytes())
    });
    if loaded.is_ok() && this.enter(client, 7).is_ok() {
        client.tally.event("images loaded by region-2018", 1);
        let _ = client.enable();
    }
    let end = *client.dice.pick(&[1, 1, 9]);
    let _ = this.enter(client, end);
}

/// Hands an image over, buffer by buffer.
fn feed(
    client: &mut Client<'_>,
    this: Protocol,
    image: &[u8],
    commit: impl Fn(&mut Client<'_>, u64) -> Result<()>,
) -> Result<()> {
    let region = this.region(client);
    let piece = piece(client, image.len()).min(32_768);
    for part in image.chunks(piece) {
        client.write(Kind::DataWrite, region, DATA, part)?;
        commit(client, part.len() as u64)?;
    }
    Ok(())
}

pub fn save_region_v1(client: &mut Client<'_>) {
    let mut image = Vec::new();
    if try_save_region_v1(client, &mut image).is_ok() {
        keep(client, image, "images saved by region-v1");
    }
    let end = *client.dice.pick(&[1, 1, 0]);
    let _ = REGION_V1.enter(client, end);
}

fn try_save_region_v1(client: &mut Client<'_>, image: &mut Vec<u8>) -> Result<()> {
    let this = REGION_V1;
    if client.dice.one_in(2) {
        this.enter(client, 3)?;
        for _ in 0..client.dice.below(4) {
            meanwhile(client);
            this.get(client, region_v1::PENDING, 8)?;
            this.get(client, region_v1::OFFSET, 8)?;
            let size = long(&this.get(client, region_v1::SIZE, 8)?, 0);
            this.take(client, size, image)?;
        }
    }
    this.enter(client, 2)?;
    for _ in 0..MOST_BUFFERS {
        if long(&this.get(client, region_v1::PENDING, 8)?, 0) == 0 {
            return this.enter(client, 0);
        }
        this.get(client, region_v1::OFFSET, 8)?;
        let size = long(&this.get(client, region_v1::SIZE, 8)?, 0);
        this.take(client, size, image)?;
    }
    Err(Errno(0))
}

pub fn load_region_v1(client: &mut Client<'_>) {
    let Some(image) = streams::image(client) else {
        return;
    };
    let this = REGION_V1;
    if this.enter(client, 4).is_err() {
        return;
    }
    let loaded = feed(client, this, &image, |client, size| {
        this.get(client, region_v1::OFFSET, 8)?;
        this.put(client, region_v1::SIZE, &size.to_le_bytes())
    });
    let _ = client.enable();
    if this.enter(client, 1).is_ok() && loaded.is_ok() {
        client.tally.event("images loaded by region-v1", 1);
    }
}

/// Asks for the state.
fn look(client: &mut Client<'_>) {
    if let Some(device) = client.device() {
        let mut argument = words(&[16, FEATURE_GET | FEATURE_MIG_DEVICE_STATE, 0, 0]);
        let result = client.good_ioctl(Kind::Feature, &device, DEVICE_FEATURE, &mut argument);
        if result.is_ok() {
            client.saw(&V2, &argument[8..]);
        }
        client.close(Some(device));
    }
}

/// Appends to an image what a data file has, in pieces; returns whether it has ended.
fn drain(client: &mut Client<'_>, file: &OwnedFd, image: &mut Vec<u8>) -> Result<bool> {
    let len = piece(client, 8192);
    for _ in 0..MOST_BUFFERS {
        let address = client.good(len);
        match client.call(Kind::StreamRead, || {
            sys::read(file.as_raw_fd(), address, len)
        }) {
            Ok(0) => return Ok(true),
            Ok(moved) => {
                let bytes = client.load(len);
                image.extend(&bytes[..moved]);
            }
            Err(Errno(libc::ENOMSG)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Err(Errno(0))
}

pub fn save_v2(client: &mut Client<'_>) {
    let mut image = Vec::new();
    let first = *client.dice.pick(&[V2_PRE_COPY, V2_STOP_COPY, 7]);
    let Ok(Some(file)) = streams::enter(client, first, true) else {
        return;
    };
    look(client);
    meanwhile(client);
    let mut ended = drain(client, &file, &mut image);
    if first != V2_STOP_COPY && ended == Ok(false) {
        meanwhile(client);
        if client.dice.one_in(2) {
            let _ = streams::enter(client, 7, true);
            look(client);
        }
        ended = streams::enter(client, V2_STOP_COPY, true)
            .and_then(|_| drain(client, &file, &mut image));
        look(client);
    }
    client.close(Some(file));
    if ended == Ok(true) {
        keep(client, image, "images saved by v2");
    }
    let end = *client.dice.pick(&[V2_RUNNING, V2_RUNNING, V2_STOP, 5]);
    let _ = streams::enter(client, end, true);
    look(client);
}

pub fn load_v2(client: &mut Client<'_>) {
    let Some(image) = streams::image(client) else {
        return;
    };
    let Ok(Some(file)) = streams::enter(client, V2_RESUMING, true) else {
        return;
    };
    look(client);
    let len = piece(client, image.len()).min(32_768);
    let mut loaded = true;
    for part in image.chunks(len) {
        client.store(part);
        let address = client.good(part.len());
        let fd = file.as_raw_fd();
        let moved = client.call(Kind::StreamWrite, || sys::write(fd, address, part.len()));
        if moved != Ok(part.len()) {
            loaded = false;
            break;
        }
    }
    client.close(Some(file));
    let _ = client.enable();
    if streams::enter(client, V2_RUNNING, true).is_ok() && loaded {
        client.tally.event("images loaded by v2", 1);
    }
    look(client);
}
