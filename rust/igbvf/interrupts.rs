// SPDX-License-Identifier: GPL-2.0-only

//! Which interrupts the guest has enabled, and which vectors its queues have.

/// The interrupts of a virtual function, one bit for each of its three vectors.
pub(crate) const ALL: u32 = 0x7;

/// An entry of IVAR: it is in use.
const VALID: u32 = 0x80;

/// An entry of IVAR: the vector.
const VECTOR: u32 = 0x7;

/// The interrupts that the guest has enabled, as EIMS and EIMC were written.
///
/// QEMU's EIMS reads as it was last written, not as the sum of the writes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Enabled(u32);

impl Enabled {
    /// Returns the interrupts as an image has them.
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits & ALL)
    }

    /// Returns one bit for each interrupt.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// The guest has written EIMS.
    pub(crate) fn set(&mut self, written: u32) {
        self.0 |= written & ALL;
    }

    /// The guest has written EIMC.
    pub(crate) fn clear(&mut self, written: u32) {
        self.0 &= !written;
    }
}

/// Returns the interrupt that the mailbox raises, by IVAR_MISC.
pub(crate) fn of_mailbox(ivar_misc: u32) -> u32 {
    of_queues(ivar_misc & 0xff)
}

/// Returns the interrupts that the queues raise, by IVAR, which has one byte for each queue.
pub(crate) fn of_queues(ivar: u32) -> u32 {
    ivar.to_le_bytes()
        .into_iter()
        .map(u32::from)
        .filter(|entry| entry & VALID != 0)
        .fold(0, |bits, entry| bits | (1 << (entry & VECTOR)))
        & ALL
}
