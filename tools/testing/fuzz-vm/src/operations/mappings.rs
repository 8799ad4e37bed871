// SPDX-License-Identifier: GPL-2.0-only

//! Mappings of the device, and of guest memory.

use std::os::fd::AsRawFd;

use crate::client::Client;
use crate::device::{RAM, SLOT, SLOTS};
use crate::kind::Kind;
use crate::sys::{self, MapHow, PAGE};

/// Offset of a random place for mappings in the arena.
fn slot(client: &mut Client<'_>) -> usize {
    RAM + client.dice.below(SLOTS) * SLOT
}

/// Protections.
const PROTECTIONS: &[i32] = &[
    libc::PROT_READ | libc::PROT_WRITE,
    libc::PROT_READ | libc::PROT_WRITE,
    libc::PROT_READ,
    libc::PROT_WRITE,
    libc::PROT_NONE,
    libc::PROT_READ | libc::PROT_EXEC,
];

/// Maps a part of a region.
pub fn map(client: &mut Client<'_>) {
    let Some(device) = client.device() else {
        return;
    };
    let layout = &client.shared.layout;
    let dice = &mut client.dice;
    let region = match dice.below(4) {
        0 => layout.regions[dice.below(layout.regions.len())],
        _ => *dice.pick(&[layout.region_2018, layout.region_v1]),
    };
    let page = match dice.below(4) {
        0 => dice.number() % (region.size / 4096 + 2),
        1 => dice.value() >> 12,
        _ => 1,
    };
    let len = (1 + dice.below(SLOT / PAGE)) * PAGE;
    let flags = *dice.pick(&[
        libc::MAP_SHARED,
        libc::MAP_SHARED,
        libc::MAP_SHARED,
        libc::MAP_PRIVATE,
    ]);
    let how = MapHow {
        protection: *dice.pick(PROTECTIONS),
        flags,
        fd: device.as_raw_fd(),
        offset: (region.position + (page << 12)) & (u64::MAX >> 1),
    };
    let (at, arena) = (slot(client), client.shared.arena);
    if client.call(Kind::Map, || arena.map(at, len, how)).is_ok() {
        client.tally.event("mappings", 1);
    }
    client.close(Some(device));
}

/// Does something with what is mapped at a place, perhaps nothing.
pub fn use_mapping(client: &mut Client<'_>) {
    let arena = client.shared.arena;
    let at = slot(client);
    let dice = &mut client.dice;
    let first = dice.below(SLOT / PAGE) * PAGE;
    let len = (1 + dice.below((SLOT - first) / PAGE)) * PAGE;
    let (from, at) = (at, at + first);
    match dice.below(8) {
        0 => drop(client.call(Kind::Unmap, || arena.unmap(at, len))),
        1 => {
            let protection = *dice.pick(PROTECTIONS);
            let _ = client.call(Kind::Protect, || arena.protect(at, len, protection));
        }
        2 => {
            let advice = *dice.pick(&[
                libc::MADV_DONTNEED,
                libc::MADV_DONTFORK,
                libc::MADV_DOFORK,
                libc::MADV_WILLNEED,
                libc::MADV_FREE,
                libc::MADV_REMOVE,
                libc::MADV_PAGEOUT,
                libc::MADV_POPULATE_READ,
                libc::MADV_POPULATE_WRITE,
                libc::MADV_HUGEPAGE,
            ]);
            let _ = client.call(Kind::Advise, || arena.advise(from, len, advice));
        }
        3 | 4 => {
            let mut bytes = vec![0; 256];
            let _ = client.call(Kind::Touch, || arena.load(at, &mut bytes));
        }
        5 => {
            let bytes = dice.bytes(256);
            let _ = client.call(Kind::Touch, || arena.store(at, &bytes));
        }
        _ => splice(client, from),
    }
}

/// Makes a pipe hold pages of a mapping, perhaps unmaps them, and reads the pipe.
fn splice(client: &mut Client<'_>, at: usize) {
    let Ok((output, input)) = sys::pipe() else {
        return;
    };
    let arena = client.shared.arena;
    let held = client.call(Kind::Splice, || arena.splice(at, 4 * PAGE, &input));
    if client.dice.one_in(4) {
        let _ = client.call(Kind::Unmap, || arena.unmap(at, SLOT));
    }
    if let Ok(held) = held {
        client.tally.event("pages in pipes", (held / PAGE) as u64);
        let address = client.good(4 * PAGE);
        let _ = client.call(Kind::Splice, || {
            sys::read(output.as_raw_fd(), address, held)
        });
    }
}

/// Unmaps guest memory or maps it again, whether it is mapped for DMA or not.
pub fn change_memory(client: &mut Client<'_>) {
    let arena = client.shared.arena;
    let dice = &mut client.dice;
    let pages = RAM / PAGE;
    let first = dice.below(pages);
    let len = (1 + dice.below((pages - first).min(64))) * PAGE;
    let at = first * PAGE;
    match dice.below(4) {
        0 => drop(client.call(Kind::Unmap, || arena.unmap(at, len))),
        1 => drop(client.call(Kind::Protect, || arena.protect(at, len, libc::PROT_READ))),
        _ => drop(client.call(Kind::Map, || arena.map(at, len, MapHow::MEMORY))),
    }
}
