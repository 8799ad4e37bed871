// SPDX-License-Identifier: GPL-2.0-only

//! The pages that a receive queue writes: a copy of the addresses in its descriptors.
//!
//! The device writes a packet's buffers, then overwrites the descriptor, and with it the addresses.
//! So the addresses must be known before. The guest hands descriptors over when it writes RDT, and
//! then they are copied, each into its slot. A slot is *posted* until it is known that the device
//! has done it:
//!
//! - A slot that does not lie from the head to the tail is done. The head is read only if somebody
//!   asks.
//! - A slot that is posted again was done before.
//!
//! A guest that changes a descriptor after it has handed it over, which makes no sense, gets pages
//! that the device writes without a report. It harms nobody but itself. A ring with its head or
//! tail outside, or with descriptors that cannot be read, is *not followed*: the device may write
//! anything.

use kernel::prelude::*;
use migration::iova::IovaRange;

use crate::state::{
    ReceiveQueue,
    DESCRIPTOR, //
};

/// Descriptors that are read at once.
const CHUNK: u32 = 32;

/// Bytes of a descriptor.
// CAST: A small constant.
const SIZE: usize = DESCRIPTOR as usize;

/// SRRCTL: KiB of a packet buffer.
const PACKET_KIB: u32 = 0x7f;

/// KiB of a packet buffer if SRRCTL says 0: what the PF has set, 2 at most.
const DEFAULT_PACKET_KIB: u32 = 2;

/// SRRCTL: descriptors have a header buffer, if one of these bits is set above the lowest.
const SPLIT: u32 = 0b110 << 25;

/// The guest's memory.
pub(crate) trait Memory {
    /// Copies the bytes at the device's address `iova`, as many as `to` has.
    fn read(&self, iova: u64, to: &mut [u8]) -> Result;
}

/// Where a queue has its descriptors, and how large its buffers are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Setup {
    /// Address of the descriptors.
    base: u64,
    /// Number of the descriptors.
    count: u32,
    /// Bytes of a packet buffer.
    packet: u32,
    /// Bytes of a header buffer; 0 if there are none.
    header: u32,
}

impl Setup {
    /// Returns what the registers say.
    pub(crate) fn of(queue: &ReceiveQueue) -> Self {
        let kib = match queue.buffers & PACKET_KIB {
            0 => DEFAULT_PACKET_KIB,
            kib => kib,
        };
        Self {
            base: queue.ring.base(),
            count: queue.ring.count(),
            packet: kib * 1024,
            header: match queue.buffers & SPLIT {
                0 => 0,
                _ => ((queue.buffers >> 8) & 0x3f) * 64,
            },
        }
    }
}

/// The buffers of a descriptor.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Slot {
    /// The device may write them, or has written them and nobody was told.
    is_posted: bool,
    /// Address of the packet buffer.
    packet: u64,
    /// Address of the header buffer.
    header: u64,
}

/// The descriptors of one receive queue. By default it has none.
#[derive(Debug)]
pub(crate) struct ShadowRing {
    setup: Setup,
    /// One slot for each descriptor.
    slots: KVVec<Slot>,
    /// The first descriptor that the device does not have.
    tail: u32,
    /// The addresses of all posted slots are known.
    is_followed: bool,
}

impl Default for ShadowRing {
    fn default() -> Self {
        Self {
            setup: Setup::default(),
            slots: KVVec::new(),
            tail: 0,
            is_followed: true,
        }
    }
}

impl ShadowRing {
    /// Follows the ring of a queue from now on, whose head and tail are given. If the queue is
    /// switched off, it uses none.
    ///
    /// The caller has marked the buffers of another ring before ([`Self::mark_all`]). `ENOMEM`
    /// without memory: 24 bytes for each descriptor, of which there are 65,528 at most.
    pub(crate) fn begin(&mut self, queue: &ReceiveQueue, memory: &impl Memory) -> Result {
        self.setup = match queue.ring.is_enabled() {
            true => Setup::of(queue),
            false => Setup::default(),
        };
        self.slots.clear();
        // CAST: Widening.
        let count = self.setup.count as usize;
        self.slots.resize(count, Slot::default(), GFP_KERNEL)?;
        self.tail = queue.ring.head;
        self.is_followed = true;
        self.post(queue.ring.tail, memory, &mut |_| {});
        Ok(())
    }

    /// Returns whether the queue uses no descriptors.
    pub(crate) fn is_off(&self) -> bool {
        self.setup.count == 0
    }

    /// Returns whether the addresses of all buffers are known that the device may write.
    pub(crate) fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Notes that the device may write anything.
    pub(crate) fn lose(&mut self) {
        self.is_followed = false;
    }

    /// The guest hands over the descriptors up to `tail`; to be called before the device learns.
    ///
    /// Calls `mark` for each buffer that has been written. Takes no longer than to read the whole
    /// ring.
    pub(crate) fn post(
        &mut self,
        tail: u32,
        memory: &impl Memory,
        mark: &mut dyn FnMut(IovaRange),
    ) {
        if !self.is_followed || self.is_off() {
            return;
        }
        if tail >= self.setup.count || self.tail >= self.setup.count {
            self.is_followed = false;
            return;
        }
        while self.tail != tail {
            let end = if tail > self.tail {
                tail
            } else {
                self.setup.count
            };
            let end = end.min(self.tail + CHUNK);
            if self.copy(self.tail, end, memory, mark).is_err() {
                self.is_followed = false;
                return;
            }
            self.tail = if end == self.setup.count { 0 } else { end };
        }
    }

    /// Copies the descriptors from `start` to `end`, [`CHUNK`] at most.
    fn copy(
        &mut self,
        start: u32,
        end: u32,
        memory: &impl Memory,
        mark: &mut dyn FnMut(IovaRange),
    ) -> Result {
        // CAST: Widening, four times.
        let mut bytes = [0; SIZE * CHUNK as usize];
        let bytes = bytes
            .get_mut(..SIZE * (end - start) as usize)
            .ok_or(EINVAL)?;
        let address = self.setup.base.checked_add(u64::from(start * DESCRIPTOR));
        memory.read(address.ok_or(EINVAL)?, bytes)?;
        let slots = self.slots.get_mut(start as usize..end as usize);
        for (slot, bytes) in slots.ok_or(EINVAL)?.iter_mut().zip(bytes.chunks(SIZE)) {
            self.setup.mark(slot, mark);
            let (packet, header) = bytes.split_at_checked(8).ok_or(EINVAL)?;
            *slot = Slot {
                is_posted: true,
                packet: u64::from_le_bytes(packet.try_into().map_err(|_| EINVAL)?),
                // The lowest bit is not the address's.
                header: u64::from_le_bytes(header.try_into().map_err(|_| EINVAL)?) & !1,
            };
        }
        Ok(())
    }

    /// Calls `mark` for each buffer that the device has written, of those that were not marked yet.
    ///
    /// `head` is the queue's head, read since.
    pub(crate) fn mark_done(&mut self, head: u32, mark: &mut dyn FnMut(IovaRange)) {
        if self.is_off() {
            return;
        }
        if head >= self.setup.count {
            self.is_followed = false;
            return;
        }
        let tail = self.tail;
        for (index, slot) in (0..self.setup.count).zip(self.slots.iter_mut()) {
            let is_the_devices = match head <= tail {
                true => (head..tail).contains(&index),
                false => index >= head || index < tail,
            };
            if !is_the_devices {
                self.setup.mark(slot, mark);
                slot.is_posted = false;
            }
        }
    }

    /// Calls `mark` for each buffer that the device may have written, of those that were not marked
    /// yet.
    ///
    /// For a queue that is being set up anew, or that others have reset.
    pub(crate) fn mark_all(&mut self, mark: &mut dyn FnMut(IovaRange)) {
        for slot in self.slots.iter_mut() {
            self.setup.mark(slot, mark);
            slot.is_posted = false;
        }
    }
}

impl Setup {
    /// Calls `mark` for the buffers of a posted slot.
    fn mark(&self, slot: &Slot, mark: &mut dyn FnMut(IovaRange)) {
        if !slot.is_posted {
            return;
        }
        for (address, size) in [(slot.packet, self.packet), (slot.header, self.header)] {
            // A buffer cannot go past the last address, and may have no bytes.
            if let Ok(range) = IovaRange::new(address, size.into()) {
                mark(range);
            }
        }
    }
}
