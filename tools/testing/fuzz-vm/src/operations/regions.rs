// SPDX-License-Identifier: GPL-2.0-only

//! Accesses to the migration regions, and to regions that do not exist.

use crate::client::Client;
use crate::device::Region;
use crate::kind::Kind;
use crate::operations::{guest, streams};
use crate::uapi::{region_2018, region_v1, DATA};

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
        region_2018::OFFSET => DATA,
        region_2018::SIZE | region_2018::THRESHOLD | region_v1::SIZE => {
            *dice.pick(&[0, 1, 64, 4096, 4400, 1 << 20])
        }
        region_2018::START => (dice.number() % 1024) << 12,
        region_2018::TOTAL => *dice.pick(&[1, 256, 65_536, 1 << 36]),
        _ => dice.value(),
    };
    let known = len.min(8);
    bytes[..known].copy_from_slice(&value.to_le_bytes()[..known]);
    if offset == region_2018::START && len == 16 {
        bytes[8..].copy_from_slice(&(1 + dice.number() % 70_000).to_le_bytes());
    }
    dice.spoil(&mut bytes);
    bytes
}

pub fn read_region_2018(client: &mut Client<'_>) {
    let (offset, len) = field(client, region_2018::FIELDS);
    let region = client.shared.layout.region_2018;
    guest::read(client, Kind::Region2018Read, region, offset, len);
}

pub fn write_region_2018(client: &mut Client<'_>) {
    let (offset, len) = field(client, region_2018::FIELDS);
    let bytes = value(client, offset, len);
    let region = client.shared.layout.region_2018;
    guest::write(client, Kind::Region2018Write, region, offset, &bytes);
}

pub fn read_region_v1(client: &mut Client<'_>) {
    let (offset, len) = field(client, region_v1::FIELDS);
    let region = client.shared.layout.region_v1;
    guest::read(client, Kind::RegionV1Read, region, offset, len);
}

pub fn write_region_v1(client: &mut Client<'_>) {
    let (offset, len) = field(client, region_v1::FIELDS);
    let bytes = value(client, offset, len);
    let region = client.shared.layout.region_v1;
    guest::write(client, Kind::RegionV1Write, region, offset, &bytes);
}

/// A part of the data section, through one of the two regions.
fn part(client: &mut Client<'_>) -> (Region, u64, usize) {
    let layout = &client.shared.layout;
    let dice = &mut client.dice;
    let region = *dice.pick(&[layout.region_2018, layout.region_v1]);
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
