// SPDX-License-Identifier: GPL-2.0-only

//! What a guest does: registers, transfers, configuration space.

use std::os::fd::AsRawFd;

use crate::client::Client;
use crate::device::Region;
use crate::kind::Kind;
use crate::sys;
use crate::uapi::*;

/// Addresses of transfers: where memory may be mapped, and where none ever is.
const PLACES: &[u64] = &[
    0x10_0000,
    0x10_1000,
    0,
    0x1000,
    0xfff_f000,
    1 << 28,
    1 << 40,
    u64::MAX,
];

/// A place in the BAR and a width.
fn register(client: &mut Client<'_>) -> (u64, usize) {
    let dice = &mut client.dice;
    match dice.below(10) {
        0..=3 => (*dice.pick(edu::NARROW), 4),
        4..=6 => (*dice.pick(edu::WIDE), *dice.pick(&[8, 8, 4])),
        7 => (*dice.pick(edu::WIDE), dice.length(64)),
        8 => (dice.value() % 0x10_0000, dice.length(512)),
        _ => (0x10_0000 - dice.number() % 16, dice.length(64)),
    }
}

/// Reads from a region, at any address.
pub fn read(client: &mut Client<'_>, kind: Kind, region: Region, offset: u64, len: usize) {
    let Some(device) = client.device() else {
        return;
    };
    let address = client.address(len);
    let position = region.position.wrapping_add(offset);
    let _ = client.call(kind, || {
        sys::pread(device.as_raw_fd(), address, len, position)
    });
    client.close(Some(device));
}

/// Writes to a region, from any address.
pub fn write(client: &mut Client<'_>, kind: Kind, region: Region, offset: u64, bytes: &[u8]) {
    let Some(device) = client.device() else {
        return;
    };
    client.store(bytes);
    let address = client.address(bytes.len());
    let position = region.position.wrapping_add(offset);
    let _ = client.call(kind, || {
        sys::pwrite(device.as_raw_fd(), address, bytes.len(), position)
    });
    client.close(Some(device));
}

pub fn read_register(client: &mut Client<'_>) {
    let (offset, len) = register(client);
    let bar = client.shared.layout.regions[BAR0];
    read(client, Kind::RegisterRead, bar, offset, len);
}

pub fn write_register(client: &mut Client<'_>) {
    let (offset, len) = register(client);
    let mut bytes = client.dice.bytes(len);
    let value = match offset {
        // A large operand keeps the device busy for seconds.
        edu::FACTORIAL if !client.dice.one_in(200) => client.dice.number() % 100_000,
        edu::DMA_COMMAND => client.dice.number() % 8,
        _ => client.dice.value(),
    };
    let known = len.min(8);
    bytes[..known].copy_from_slice(&value.to_le_bytes()[..known]);
    // A write of a range must not put a random operand into the factorial register.
    if offset < edu::FACTORIAL + 4 && len > 8 {
        return;
    }
    let bar = client.shared.layout.regions[BAR0];
    write(client, Kind::RegisterWrite, bar, offset, &bytes);
}

/// Computes a factorial, with or without an interrupt.
pub fn compute(client: &mut Client<'_>) {
    let status = *client.dice.pick(&[0, 0x80]);
    let operand = *client.dice.pick(&[0, 1, 5, 12, 34, 35, 1000]);
    let _ = client.set_register(edu::STATUS, status);
    if client.set_register(edu::FACTORIAL, operand).is_ok() {
        client.tally.event("factorials begun", 1);
    }
    if client.dice.one_in(2) {
        let _ = client.register(edu::FACTORIAL);
        let pending = client.register(edu::INTERRUPT_STATUS).unwrap_or(0);
        let _ = client.set_register(edu::ACKNOWLEDGE, pending);
    }
}

/// Moves data between guest memory and the device.
pub fn move_data(client: &mut Client<'_>) {
    let dice = &mut client.dice;
    let count = 1 + dice.below(4096) as u64;
    let at = edu::BUFFER + dice.below(4097 - count as usize) as u64;
    let memory = *dice.pick(&PLACES[..4]) + dice.number() % 2 * (dice.number() % 4096);
    let command = *dice.pick(&[0, 4]);
    let started = match dice.one_in(2) {
        true => client.transfer(at, memory, count, command | edu::TO_MEMORY),
        false => client.transfer(memory, at, count, command),
    };
    if started.is_ok() {
        client.tally.event("transfers commanded", 1);
    }
}

/// Commands a transfer that would crash an old QEMU, or that leaves the device's address range.
pub fn refused_transfer(client: &mut Client<'_>) {
    let dice = &mut client.dice;
    let memory = *dice.pick(PLACES);
    let (at, count) = match dice.below(4) {
        0 => (edu::BUFFER + 4095, 2 + dice.number() % 5000),
        1 => (edu::BUFFER - 1, 1 + dice.number() % 4096),
        2 => (edu::BUFFER, dice.value() | (1 << 13)),
        _ => (dice.value() | (1 << 32), dice.number() % 5000),
    };
    let refused = match dice.one_in(2) {
        true => client.transfer(at, memory, count, edu::TO_MEMORY),
        false => client.transfer(memory, at, count, 0),
    };
    if refused == Err(sys::Errno(libc::EINVAL)) {
        client.tally.event("transfers refused", 1);
    }
}

/// A place in configuration space.
fn config(client: &mut Client<'_>) -> (u64, usize) {
    let dice = &mut client.dice;
    match dice.below(4) {
        0 => (COMMAND, 2),
        1 => (
            *dice.pick(&[0x10, 0x34, 0x3c, 0x40, 0x42, 0x44, 0x48]),
            dice.length(4),
        ),
        2 => (dice.number() % 256, dice.length(300)),
        _ => (dice.value() % 5000, dice.length(5000)),
    }
}

pub fn read_config(client: &mut Client<'_>) {
    let (offset, len) = config(client);
    let region = client.shared.layout.regions[CONFIG];
    read(client, Kind::ConfigRead, region, offset, len);
}

pub fn write_config(client: &mut Client<'_>) {
    let (offset, len) = config(client);
    let region = client.shared.layout.regions[CONFIG];
    let mut bytes = client.dice.bytes(len);
    if (offset, len) == (COMMAND, 2) && !client.dice.one_in(4) {
        bytes = COMMAND_BITS.to_le_bytes().into();
    }
    write(client, Kind::ConfigWrite, region, offset, &bytes);
}
