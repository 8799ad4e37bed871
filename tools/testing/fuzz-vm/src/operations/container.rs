// SPDX-License-Identifier: GPL-2.0-only

//! The IOMMU container and the group.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use crate::client::{long, word, words, Client};
use crate::device::RAM;
use crate::kind::Kind;
use crate::sys;
use crate::uapi::*;

/// I/O virtual addresses, some of which the guest's transfers use.
const IOVAS: &[u64] = &[
    0x10_0000,
    0,
    0x10_0000,
    0x20_0000,
    0xff_f000,
    1 << 30,
    1 << 39,
];

/// Appends numbers of 64 bits.
fn put(argument: &mut Vec<u8>, numbers: &[u64]) {
    argument.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
}

/// Memory that is to be mapped or unmapped: I/O virtual address and bytes.
fn range(client: &mut Client<'_>) -> (u64, u64) {
    let dice = &mut client.dice;
    let iova = *dice.pick(IOVAS) + (dice.number() % 2) * (dice.number() % 64) * 4096;
    let size = *dice.pick(&[4096, 8192, 0x1_0000, 0x10_0000]);
    (iova, size)
}

/// Repairs the parts of a spoilt argument that would end this process or fail the run.
///
/// The bitmap must stay at its address and within its 4096 bytes, or the kernel would write to this
/// process's own memory. With a page size of 0, type1 shifts by 64 bits, which UBSAN reports
/// whatever devices the container has.
fn keep_bitmap(argument: &mut [u8], bitmap: u64) {
    if argument.len() < 48 {
        return;
    }
    let page = match long(argument, 24) {
        0 => 4096,
        page => page,
    };
    let size = long(argument, 32).min(4096);
    for (at, number) in [(24, page), (32, size), (40, bitmap)] {
        argument[at..at + 8].copy_from_slice(&number.to_ne_bytes());
    }
}

pub fn map_dma(client: &mut Client<'_>) {
    let (iova, size) = range(client);
    let page = client.dice.below(RAM / 4096 - 256) * 4096;
    let address = client.shared.arena.at(page).number();
    let mut argument = words(&[32, *client.dice.pick(&[3, 3, 3, 1, 2])]);
    put(&mut argument, &[address, iova, size]);
    client.dice.spoil(&mut argument);
    // This flag makes type1 warn at a later pin.
    if !client.shared.is_virtual {
        let flags = word(&argument, 4) & !DMA_VADDR;
        argument[4..8].copy_from_slice(&flags.to_ne_bytes());
    }
    // Only memory of the arena: a device must not reach this process's own memory.
    let end = long(&argument, 8).wrapping_add(long(&argument, 24));
    let ram = client.shared.arena.at(0).number()..=client.shared.arena.at(RAM).number();
    if !ram.contains(&long(&argument, 8)) || !ram.contains(&end) {
        argument[8..16].copy_from_slice(&0_u64.to_ne_bytes());
    }
    let container = &client.shared.container;
    if client
        .ioctl(Kind::DmaMap, container, IOMMU_MAP_DMA, &mut argument)
        .is_ok()
    {
        client.tally.event("DMA mappings", 1);
    }
}

pub fn unmap_dma(client: &mut Client<'_>) {
    let (iova, size) = range(client);
    let flags = *client
        .dice
        .pick(&[0, 0, 0, UNMAP_GET_DIRTY, UNMAP_ALL, UNMAP_VADDR]);
    let mut argument = words(&[24, flags]);
    let bitmap = client.address(4096).number();
    match flags {
        UNMAP_ALL => put(&mut argument, &[0, 0]),
        UNMAP_GET_DIRTY => {
            // Page size, bytes of the bitmap, where it goes.
            put(
                &mut argument,
                &[iova, size, 4096, size.div_ceil(4096 * 64) * 8, bitmap],
            );
            argument[..4].copy_from_slice(&48_u32.to_ne_bytes());
        }
        _ => put(&mut argument, &[iova, size]),
    }
    client.dice.spoil(&mut argument);
    keep_bitmap(&mut argument, bitmap);
    if !client.shared.is_virtual {
        let flags = word(&argument, 4) & !UNMAP_VADDR;
        argument[4..8].copy_from_slice(&flags.to_ne_bytes());
    }
    let container = &client.shared.container;
    let result = client.ioctl(Kind::DmaUnmap, container, IOMMU_UNMAP_DMA, &mut argument);
    if result.is_ok() && long(&argument, 16) > 0 {
        client.tally.event("DMA mappings undone", 1);
    }
}

/// `VFIO_IOMMU_DIRTY_PAGES`
pub fn dirty(client: &mut Client<'_>) {
    let (iova, size) = range(client);
    let flags = *client.dice.pick(&[1, 1, 2, 4, 4]);
    let mut argument = words(&[8, flags]);
    let bitmap = client.address(4096).number();
    if flags == 4 {
        put(
            &mut argument,
            &[iova, size, 4096, size.div_ceil(4096 * 64) * 8, bitmap],
        );
        argument[..4].copy_from_slice(&48_u32.to_ne_bytes());
    }
    client.dice.spoil(&mut argument);
    keep_bitmap(&mut argument, bitmap);
    let container = &client.shared.container;
    let result = client.ioctl(Kind::Dirty, container, IOMMU_DIRTY_PAGES, &mut argument);
    if result.is_ok() && flags == 4 {
        client.tally.event("bitmaps of the container", 1);
    }
}

/// Other ioctls of the container.
pub fn others(client: &mut Client<'_>) {
    let container = client.shared.container.as_raw_fd();
    match client.dice.below(3) {
        0 => {
            let number = client.dice.below(12) as i32;
            let request = *client.dice.pick(&[CHECK_EXTENSION, SET_IOMMU]);
            let kind = Kind::ContainerOther;
            let _ = client.call(kind, || sys::ioctl_number(container, request, number));
        }
        1 => {
            let len = client.dice.length(512).max(8);
            let mut argument = vec![0; len];
            argument[..4].copy_from_slice(&(len as u32).to_ne_bytes());
            client.dice.spoil(&mut argument);
            let container = &client.shared.container;
            let _ = client.ioctl(
                Kind::ContainerOther,
                container,
                IOMMU_GET_INFO,
                &mut argument,
            );
        }
        _ => {
            let address = client.address(64);
            let _ = client.call(Kind::ContainerOther, || {
                sys::ioctl(container, any(20), address)
            });
        }
    }
}

/// The group: what it says while a device is open, and what it refuses then.
pub fn group(client: &mut Client<'_>) {
    let group = &client.shared.group;
    match client.dice.below(4) {
        0 => {
            let mut argument = words(&[8, 0]);
            client.dice.spoil(&mut argument);
            let _ = client.ioctl(Kind::Group, group, GROUP_GET_STATUS, &mut argument);
        }
        1 => {
            let container = client.shared.container.as_raw_fd();
            let mut argument = container.to_ne_bytes();
            let _ = client.ioctl(Kind::Group, group, GROUP_SET_CONTAINER, &mut argument);
        }
        2 => {
            // Only while it is in use: the round needs its container.
            if let Some(device) = client.device() {
                let request = GROUP_UNSET_CONTAINER;
                let _ = client.call(Kind::Group, || {
                    sys::ioctl_number(group.as_raw_fd(), request, 0)
                });
                client.close(Some(device));
            }
        }
        _ => {
            let path = &client.shared.group_path;
            if let Ok(file) = client.call(Kind::GroupOpen, || sys::open(path)) {
                client.close(Some(Arc::new(file)));
            }
        }
    }
}
