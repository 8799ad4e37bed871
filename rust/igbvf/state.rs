// SPDX-License-Identifier: GPL-2.0-only

//! The registers of a stopped function, as the guest sees them.

use kernel::prelude::*;
use migration::iova::IovaRange;

use crate::{
    interrupts,
    mailbox,
    statistics, //
};

/// Number of receive queues, and of transmit queues.
pub(crate) const QUEUES: usize = 2;

/// RXDCTL and TXDCTL: the queue works.
pub(crate) const ENABLE: u32 = 1 << 25;

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR: u32 = 16;

/// Bytes by which a ring's address and length are aligned.
const RING_ALIGN: u32 = 128;

/// The most bytes of a ring.
const RING_MAX: u32 = 0xf_ff80;

/// TDWBAL: the device writes the head to memory.
const WRITE_BACK: u32 = 1;

/// Bits of a head or a tail.
const INDEX: u32 = 0xffff;

/// SRRCTL after a reset: headers of 256 bytes, packets of the size that the PF has set.
const SRRCTL_RESET: u32 = 0x400;

/// RXDCTL after a reset: a descriptor is written back for each packet.
const RXDCTL_RESET: u32 = 1 << 16;

/// The registers that a receive queue and a transmit queue have in common.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ring {
    /// RDBAL or TDBAL.
    pub(crate) base_low: u32,
    /// RDBAH or TDBAH.
    pub(crate) base_high: u32,
    /// RDLEN or TDLEN: bytes of the ring.
    pub(crate) length: u32,
    /// RDH or TDH.
    pub(crate) head: u32,
    /// RDT or TDT.
    pub(crate) tail: u32,
    /// RXDCTL or TXDCTL; [`ENABLE`] is as the guest has it.
    pub(crate) control: u32,
    /// RXCTL or TXCTL.
    pub(crate) dma_control: u32,
}

impl Ring {
    /// Returns whether the guest has switched the queue on.
    pub(crate) fn is_enabled(&self) -> bool {
        self.control & ENABLE != 0
    }

    /// Returns the address of the descriptors.
    pub(crate) fn base(&self) -> u64 {
        (u64::from(self.base_high) << 32) | u64::from(self.base_low)
    }

    /// Returns the number of descriptors.
    pub(crate) fn count(&self) -> u32 {
        self.length / DESCRIPTOR
    }

    /// Returns the memory of the descriptors; `None` if there are none.
    pub(crate) fn memory(&self) -> Option<IovaRange> {
        IovaRange::new(self.base(), self.length.into()).ok()
    }

    /// Returns whether head and tail are descriptors of the ring.
    pub(crate) fn has_head_and_tail(&self) -> bool {
        self.head < self.count() && self.tail < self.count()
    }

    /// Returns whether a queue can be in this state, and what the guest made of it makes sense.
    fn is_possible(&self) -> bool {
        self.base_low % RING_ALIGN == 0
            && self.length % RING_ALIGN == 0
            && self.length <= RING_MAX
            && self.head <= INDEX
            && self.tail <= INDEX
            && (!self.is_enabled() || self.has_head_and_tail())
    }
}

/// The registers of a receive queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ReceiveQueue {
    /// The ring.
    pub(crate) ring: Ring,
    /// SRRCTL.
    pub(crate) buffers: u32,
}

/// The registers of a transmit queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct TransmitQueue {
    /// The ring.
    pub(crate) ring: Ring,
    /// TDWBAL.
    pub(crate) write_back_low: u32,
    /// TDWBAH.
    pub(crate) write_back_high: u32,
}

impl TransmitQueue {
    /// Returns the word to which the device writes the head, if it does.
    pub(crate) fn written_head(&self) -> Option<IovaRange> {
        if self.write_back_low & WRITE_BACK == 0 {
            return None;
        }
        let address = (u64::from(self.write_back_high) << 32) | u64::from(self.write_back_low & !3);
        // CAST: A small constant.
        IovaRange::new(address, size_of::<u32>() as u64).ok()
    }
}

/// The mailbox as the guest sees it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mailbox {
    /// Bits of V2PMAILBOX that the guest's next read must show.
    pub(crate) sticky: u32,
    /// The guest owns the memory: VFU.
    pub(crate) is_owned: bool,
    /// VMBMEM.
    pub(crate) words: [u32; mailbox::WORDS],
}

/// All registers that are saved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct RegisterState {
    /// PSRTYPE.
    pub(crate) split_types: u32,
    /// The interrupts that the guest has enabled with EIMS.
    pub(crate) enabled: u32,
    /// EIAC.
    pub(crate) auto_clear: u32,
    /// EIAM.
    pub(crate) auto_mask: u32,
    /// EITR.
    pub(crate) throttling: [u32; 3],
    /// IVAR.
    pub(crate) vectors: u32,
    /// IVAR_MISC.
    pub(crate) mailbox_vector: u32,
    /// The mailbox.
    pub(crate) mailbox: Mailbox,
    /// The statistics, in the order of [`statistics`], as the guest reads them.
    pub(crate) statistics: [u32; statistics::COUNT],
    /// The receive queues.
    pub(crate) receive: [ReceiveQueue; QUEUES],
    /// The transmit queues.
    pub(crate) transmit: [TransmitQueue; QUEUES],
}

impl RegisterState {
    /// Returns what a guest finds after a reset.
    pub(crate) fn after_reset() -> Self {
        let mut state = Self::default();
        for queue in &mut state.receive {
            queue.buffers = SRRCTL_RESET;
            queue.ring.control = RXDCTL_RESET;
        }
        state
    }

    /// Returns whether a stopped function can be in this state.
    pub(crate) fn is_possible(&self) -> bool {
        self.enabled & !interrupts::ALL == 0
            && self.mailbox.sticky & !mailbox::STICKY == 0
            && self.receive.iter().all(|queue| queue.ring.is_possible())
            && self.transmit.iter().all(|queue| queue.ring.is_possible())
    }
}
