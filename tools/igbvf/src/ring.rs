// SPDX-License-Identifier: GPL-2.0-only

//! Which buffers of a receive ring are reported.

use std::{
    cell::{
        Cell,
        RefCell, //
    },
    collections::BTreeSet, //
};

use kernel::prelude::{
    Result,
    EFAULT, //
};

use crate::{
    ring::{
        Memory,
        ShadowRing, //
    },
    state::{
        ReceiveQueue,
        Ring,
        ENABLE, //
    }, //
};

const BASE: u64 = 0x10_0000;
const COUNT: u32 = 8;

/// A guest with a ring and a device, of which the test knows everything.
struct Guest {
    queue: ReceiveQueue,
    /// The descriptors.
    memory: RefCell<Vec<[u64; 2]>>,
    /// Buffers handed out so far.
    buffers: Cell<u64>,
    /// The memory cannot be read.
    is_gone: Cell<bool>,
    /// Descriptors that were read.
    reads: Cell<usize>,
}

impl Guest {
    fn new() -> Self {
        Self::with(COUNT, 2)
    }

    fn with(count: u32, buffers: u32) -> Self {
        Self {
            queue: ReceiveQueue {
                ring: Ring {
                    base_low: BASE as u32,
                    length: count * 16,
                    control: ENABLE,
                    ..Ring::default()
                },
                buffers,
            },
            memory: RefCell::new(vec![[0; 2]; count as usize]),
            buffers: Cell::new(1),
            is_gone: Cell::new(false),
            reads: Cell::new(0),
        }
    }

    /// Fills a number of descriptors from the tail on; returns the buffers' addresses.
    fn fill(&mut self, number: u32) -> Vec<u64> {
        let count = self.queue.ring.count();
        (0..number)
            .map(|_| {
                let buffer = self.buffers.get();
                self.buffers.set(buffer + 1);
                let address = buffer << 16;
                let at = self.queue.ring.tail as usize;
                self.memory.borrow_mut()[at] = [address, (address + 0x8000) | 1];
                self.queue.ring.tail = (self.queue.ring.tail + 1) % count;
                address
            })
            .collect()
    }

    /// The device does a number of descriptors: it overwrites them.
    fn receive(&mut self, number: u32) {
        for _ in 0..number {
            let at = self.queue.ring.head as usize;
            self.memory.borrow_mut()[at] = [0xdead_0000, 0xbeef_0000];
            self.queue.ring.head = (self.queue.ring.head + 1) % self.queue.ring.count();
        }
    }
}

impl Memory for Guest {
    fn read(&self, iova: u64, to: &mut [u8]) -> Result {
        if self.is_gone.get() {
            return Err(EFAULT);
        }
        let first = (iova - BASE) as usize / 16;
        for (index, bytes) in to.chunks_mut(16).enumerate() {
            let [packet, header] = self.memory.borrow()[first + index];
            bytes[..8].copy_from_slice(&packet.to_le_bytes());
            bytes[8..].copy_from_slice(&header.to_le_bytes());
            self.reads.set(self.reads.get() + 1);
        }
        Ok(())
    }
}

/// Returns a ring that follows the guest's.
fn follow(guest: &Guest) -> ShadowRing {
    let mut ring = ShadowRing::default();
    ring.begin(&guest.queue, guest).unwrap();
    assert!(ring.is_followed());
    ring
}

/// Returns the addresses that `find` marks.
fn marked(find: impl FnOnce(&mut dyn FnMut(migration::iova::IovaRange))) -> Vec<u64> {
    let mut addresses = Vec::new();
    find(&mut |range| addresses.push(range.start()));
    addresses
}

/// Hands the descriptors over; returns what was found to be written.
fn post(ring: &mut ShadowRing, guest: &Guest) -> Vec<u64> {
    marked(|mark| ring.post(guest.queue.ring.tail, guest, mark))
}

/// Asks for what was written.
fn done(ring: &mut ShadowRing, guest: &Guest) -> Vec<u64> {
    marked(|mark| ring.mark_done(guest.queue.ring.head, mark))
}

#[test]
fn buffers_are_reported_once_they_are_written() {
    let mut guest = Guest::new();
    let first = guest.fill(5);
    let mut ring = follow(&guest);
    assert_eq!(done(&mut ring, &guest), []);
    guest.receive(2);
    assert_eq!(done(&mut ring, &guest), first[..2]);
    assert_eq!(done(&mut ring, &guest), []);
    guest.receive(3);
    assert_eq!(done(&mut ring, &guest), first[2..]);
}

#[test]
fn what_was_written_before_is_not_reported() {
    let mut guest = Guest::new();
    guest.fill(5);
    guest.receive(3);
    let mut ring = follow(&guest);
    assert_eq!(done(&mut ring, &guest), []);
}

#[test]
fn a_slot_that_is_handed_over_again_was_written() {
    let mut guest = Guest::new();
    let first = guest.fill(7);
    let mut ring = follow(&guest);
    guest.receive(7);
    let second = guest.fill(7);
    // The one slot that was free is not reported; the others are, although nobody asked.
    assert_eq!(post(&mut ring, &guest), first[..6]);
    guest.receive(7);
    let mut all = done(&mut ring, &guest);
    all.sort_unstable();
    let mut expected = second;
    expected.push(first[6]);
    expected.sort_unstable();
    assert_eq!(all, expected);
}

#[test]
fn nothing_is_missed_in_any_order() {
    // A generator of Park and Miller.
    let mut seed = 1_u64;
    let mut random = |limit: u32| {
        seed = seed * 48_271 % 0x7fff_ffff;
        seed as u32 % limit
    };
    for count in [8, 16, 264] {
        let mut guest = Guest::with(count, 2);
        let mut ring = follow(&guest);
        let mut owned: Vec<u64> = Vec::new();
        let mut written = BTreeSet::new();
        let mut found = BTreeSet::new();
        for _ in 0..20_000 {
            match random(3) {
                0 => {
                    let number = random(count - owned.len() as u32);
                    owned.extend(guest.fill(number));
                    found.extend(post(&mut ring, &guest));
                }
                1 => {
                    let number = random(owned.len() as u32 + 1);
                    guest.receive(number);
                    written.extend(owned.drain(..number as usize));
                }
                _ => {
                    found.extend(done(&mut ring, &guest));
                    assert_eq!(found, written);
                    found.clear();
                    written.clear();
                }
            }
            // Never one that was not written.
            assert!(found.is_subset(&written));
        }
        assert!(ring.is_followed());
    }
}

#[test]
fn header_buffers_are_reported_if_there_are_any() {
    // Headers of 128 bytes, packets of 4 KiB; split always.
    let mut guest = Guest::with(COUNT, (0b101 << 25) | (2 << 8) | 4);
    let buffers = guest.fill(1);
    let mut ring = follow(&guest);
    guest.receive(1);
    let mut ranges = Vec::new();
    ring.mark_done(guest.queue.ring.head, &mut |range| {
        ranges.push((range.start(), range.len()));
    });
    assert_eq!(ranges, [(buffers[0], 4096), (buffers[0] + 0x8000, 128)]);
}

#[test]
fn the_size_of_packet_buffers_is_that_of_the_registers() {
    for (register, size) in [(0, 2048), (1, 1024), (16, 16384), (0x7f, 127 << 10)] {
        let mut guest = Guest::with(COUNT, register | (1 << 25));
        guest.fill(1);
        let mut ring = follow(&guest);
        guest.receive(1);
        let mut sizes = Vec::new();
        ring.mark_done(guest.queue.ring.head, &mut |range| sizes.push(range.len()));
        assert_eq!(sizes, [size]);
    }
}

#[test]
fn a_ring_that_is_set_up_anew_is_reported_as_a_whole() {
    let mut guest = Guest::new();
    let buffers = guest.fill(5);
    let mut ring = follow(&guest);
    assert_eq!(marked(|mark| ring.mark_all(mark)), buffers);
    assert_eq!(marked(|mark| ring.mark_all(mark)), []);
    // It is followed again as it stands.
    guest.receive(1);
    ring.begin(&guest.queue, &guest).unwrap();
    guest.receive(1);
    assert_eq!(done(&mut ring, &guest), buffers[1..2]);
}

#[test]
fn heads_and_tails_outside_of_the_ring_end_the_following() {
    for (head, tail) in [(0, COUNT), (COUNT, 0), (0, 0xffff), (0xffff, 0xffff)] {
        let mut guest = Guest::new();
        guest.queue.ring.head = head;
        guest.queue.ring.tail = tail;
        let mut ring = ShadowRing::default();
        ring.begin(&guest.queue, &guest).unwrap();
        assert!(!ring.is_followed(), "{head} {tail}");
        // Nothing else happens to it.
        assert_eq!(post(&mut ring, &Guest::new()), []);
    }
    let mut guest = Guest::new();
    guest.fill(3);
    let mut ring = follow(&guest);
    assert_eq!(marked(|mark| ring.post(COUNT, &guest, mark)), []);
    assert!(!ring.is_followed());
    ring.begin(&guest.queue, &guest).unwrap();
    assert!(ring.is_followed());
    assert_eq!(marked(|mark| ring.mark_done(COUNT, mark)), []);
    assert!(!ring.is_followed());
}

#[test]
fn descriptors_that_cannot_be_read_end_the_following() {
    let mut guest = Guest::new();
    let mut ring = follow(&guest);
    guest.fill(1);
    guest.is_gone.set(true);
    assert_eq!(post(&mut ring, &guest), []);
    assert!(!ring.is_followed());
    // An address past the last one.
    guest.is_gone.set(false);
    guest.queue.ring.base_high = u32::MAX;
    guest.queue.ring.base_low = 0xffff_ff80;
    guest.queue.ring.head = 0;
    guest.queue.ring.length = 32 * 16;
    guest.queue.ring.tail = 16;
    guest.is_gone.set(true);
    ring.begin(&guest.queue, &guest).unwrap();
    assert!(!ring.is_followed());
}

#[test]
fn a_ring_without_descriptors_and_one_that_is_off_are_followed() {
    let mut off = Guest::new();
    off.queue.ring.control = 0;
    // Left by a driver that was unloaded.
    off.queue.ring.tail = 0xffff;
    for guest in [Guest::with(0, 2), off] {
        let mut ring = follow(&guest);
        assert!(ring.is_off());
        assert_eq!(post(&mut ring, &guest), []);
        assert_eq!(done(&mut ring, &guest), []);
        assert_eq!(marked(|mark| ring.mark_all(mark)), []);
        assert!(ring.is_followed());
        assert_eq!(guest.reads.get(), 0);
    }
}

#[test]
fn a_tail_that_goes_back_costs_one_round_and_misses_nothing() {
    let mut guest = Guest::with(264, 2);
    let buffers = guest.fill(100);
    let mut ring = follow(&guest);
    guest.receive(40);
    guest.reads.set(0);
    guest.queue.ring.tail = 90;
    let mut found: BTreeSet<_> = post(&mut ring, &guest).into_iter().collect();
    assert!(guest.reads.get() < 264);
    guest.receive(50);
    found.extend(done(&mut ring, &guest));
    assert!(buffers[..90].iter().all(|buffer| found.contains(buffer)));
}
