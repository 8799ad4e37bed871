// SPDX-License-Identifier: GPL-2.0-only

//! Accesses to the migration regions, and to those that there are not.

use crate::client::Client;
use crate::device::Region;
use crate::kind::Kind;
use crate::operations::{guest, streams};
use crate::uapi::{header, v1, DATA};

/// Any region, or none.
fn any(client: &mut Client<'_>) -> (Region, u64) {
    let regions = &client.shared.layout.regions;
    let dice = &mut client.dice;
    // The BAR and configuration space have operations of their own, which know what they do.
    let index = 1 + dice.below(31);
    let region = match regions.get(index) {
        Some(region) if ![0, 7].contains(&index) && region.size > 0 => *region,
        _ => Region {
            position: ((index as u64) << 40) | ((dice.value() & 1) << 63),
            size: dice.value(),
        },
    };
    let index = region.position >> 40;
    if index == 0 || index == 7 {
        return (
            Region {
                position: 3 << 40,
                size: 0,
            },
            0,
        );
    }
    let offset = match dice.below(3) {
        0 => dice.value() & ((1 << 40) - 1),
        1 => region.size.wrapping_add(dice.number() % 16).wrapping_sub(8) & ((1 << 40) - 1),
        _ => dice.number() % 8192,
    };
    (region, offset)
}

pub fn read_any(client: &mut Client<'_>) {
    let (region, offset) = any(client);
    let len = client.dice.length(10_000);
    guest::read(client, Kind::OtherRead, region, offset, len);
}

pub fn write_any(client: &mut Client<'_>) {
    let (region, offset) = any(client);
    let len = client.dice.length(10_000);
    let bytes = client.dice.bytes(len);
    guest::write(client, Kind::OtherWrite, region, offset, &bytes);
}

/// A field of a header, as a whole or not.
fn field(client: &mut Client<'_>, fields: &[(u64, usize)]) -> (u64, usize) {
    let dice = &mut client.dice;
    let (offset, len) = *dice.pick(fields);
    match dice.below(8) {
        0 => (offset, 4),
        1 => (offset + 4, 4),
        2 => (dice.number() % 128, dice.length(128)),
        _ => (offset, len),
    }
}

/// A value for a field.
fn value(client: &mut Client<'_>, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = client.dice.bytes(len);
    let dice = &mut client.dice;
    let value = match offset {
        0 => dice.number() % 11,
        header::OFFSET => DATA,
        header::SIZE | header::THRESHOLD | v1::SIZE => *dice.pick(&[0, 1, 64, 4096, 4400, 1 << 20]),
        header::START => (dice.number() % 1024) << 12,
        header::TOTAL => *dice.pick(&[1, 256, 65_536, 1 << 36]),
        _ => dice.value(),
    };
    let known = len.min(8);
    bytes[..known].copy_from_slice(&value.to_le_bytes()[..known]);
    if offset == header::START && len == 16 {
        bytes[8..].copy_from_slice(&(1 + dice.number() % 70_000).to_le_bytes());
    }
    dice.spoil(&mut bytes);
    bytes
}

pub fn read_header(client: &mut Client<'_>) {
    let (offset, len) = field(client, header::FIELDS);
    let region = client.shared.layout.region_2018;
    guest::read(client, Kind::HeaderRead, region, offset, len);
}

pub fn write_header(client: &mut Client<'_>) {
    let (offset, len) = field(client, header::FIELDS);
    let bytes = value(client, offset, len);
    let region = client.shared.layout.region_2018;
    guest::write(client, Kind::HeaderWrite, region, offset, &bytes);
}

pub fn read_v1(client: &mut Client<'_>) {
    let (offset, len) = field(client, v1::FIELDS);
    let region = client.shared.layout.v1;
    guest::read(client, Kind::V1Read, region, offset, len);
}

pub fn write_v1(client: &mut Client<'_>) {
    let (offset, len) = field(client, v1::FIELDS);
    let bytes = value(client, offset, len);
    let region = client.shared.layout.v1;
    guest::write(client, Kind::V1Write, region, offset, &bytes);
}

/// A part of the data section, by one of its two regions.
fn part(client: &mut Client<'_>) -> (Region, u64, usize) {
    let layout = &client.shared.layout;
    let dice = &mut client.dice;
    let region = *dice.pick(&[layout.region_2018, layout.v1]);
    let offset = match dice.below(3) {
        0 => DATA,
        1 => DATA + dice.number() % region.size,
        _ => region.size - dice.number() % 64,
    };
    (region, offset, dice.length(40_000))
}

pub fn read_data(client: &mut Client<'_>) {
    let (region, offset, len) = part(client);
    guest::read(client, Kind::DataRead, region, offset, len);
}

/// Writes bytes of an image, or any.
pub fn write_data(client: &mut Client<'_>) {
    let (region, offset, len) = part(client);
    let bytes = match client.dice.one_in(2) {
        true => streams::image(client).unwrap_or_default(),
        false => client.dice.bytes(len),
    };
    guest::write(client, Kind::DataWrite, region, offset, &bytes);
}
