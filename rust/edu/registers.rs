// SPDX-License-Identifier: GPL-2.0-only

//! Registers of the edu device.
//!
//! Specification: `docs/specs/edu.rst` of QEMU. All of them lie in BAR 0. Registers below
//! [`DMA_SOURCE`] are 32 bits wide, the others 32 or 64; accesses of any other width, or to any
//! other offset, do nothing.

use kernel::{
    io::register,
    prelude::*, //
};
use migration::device::Access;

/// The BAR that holds the registers.
pub(crate) const BAR: u8 = 0;

register! {
    /// Identification, read-only: [`IDENTIFICATION::EDU`].
    pub(crate) IDENTIFICATION(u32) @ 0x00 {}

    /// Liveness check: reads the complement of what was written, 0 after a reset.
    pub(crate) LIVENESS(u32) @ 0x04 {}

    /// Factorial: a write of n starts the computation of n! modulo 2^32 (ignored while one runs),
    /// a read returns the last result, 0 after a reset.
    pub(crate) FACTORIAL(u32) @ 0x08 {}

    /// Status.
    pub(crate) STATUS(u32) @ 0x20 {
        /// Raise [`INTERRUPT_STATUS::factorial`] after a factorial.
        7:7 interrupt => bool;
        /// A factorial is being computed; read-only.
        0:0 computing => bool;
    }

    /// Interrupts raised and not acknowledged, read-only. The guest can raise all 32.
    pub(crate) INTERRUPT_STATUS(u32) @ 0x24 {
        /// A transfer was done.
        8:8 transfer => bool;
        /// A factorial was computed.
        0:0 factorial => bool;
    }

    /// Raises the interrupts written: they are set in [`INTERRUPT_STATUS`].
    pub(crate) INTERRUPT_RAISE(u32) @ 0x60 {}

    /// Acknowledges the interrupts written: they are cleared in [`INTERRUPT_STATUS`].
    pub(crate) INTERRUPT_ACKNOWLEDGE(u32) @ 0x64 {}

    /// DMA source address; a transfer that runs keeps it and the next two from being changed.
    pub(crate) DMA_SOURCE(u64) @ 0x80 {}

    /// DMA destination address.
    pub(crate) DMA_DESTINATION(u64) @ 0x88 {}

    /// DMA transfer size in bytes.
    pub(crate) DMA_COUNT(u64) @ 0x90 {}

    /// DMA command; a write without `run`, or while a transfer runs, is ignored.
    pub(crate) DMA_COMMAND(u64) @ 0x98 {
        /// Raise [`INTERRUPT_STATUS::transfer`] when the transfer is done.
        2:2 interrupt => bool;
        /// From the internal buffer to memory; from memory to the buffer if clear.
        1:1 to_memory => bool;
        /// Start a transfer; reads as set until it is done, 100 ms later.
        0:0 run => bool;
    }
}

/// Returns the offset of a guest's access, to compare with that of a register.
pub(crate) fn offset_of(access: Access) -> usize {
    // CAST: The same size, and offsets lie within the BAR.
    access.offset as usize
}

impl IDENTIFICATION {
    /// What every edu reads: version 1.0 and the device's magic.
    pub(crate) const EDU: Self = Self::from_raw(0x0100_00ed);
}

impl LIVENESS {
    /// Returns what to write for the register to read as this, and what it reads after a write of
    /// this.
    pub(crate) fn complement(self) -> Self {
        Self::from_raw(!self.into_raw())
    }
}

impl FACTORIAL {
    /// The smallest operand whose factorial is a multiple of 2^32, so 0.
    pub(crate) const ZERO_OPERAND: u32 = 34;

    /// Returns what to write to have the factorial of `n` computed.
    ///
    /// Operands above [`Self::ZERO_OPERAND`] have the same result and take the device longer, by
    /// seconds.
    pub(crate) fn of(n: u32) -> Self {
        Self::from_raw(n.min(Self::ZERO_OPERAND))
    }
}

impl STATUS {
    /// Returns the bits that the guest can change.
    pub(crate) fn settings(self) -> Self {
        Self::zeroed().with_interrupt(self.interrupt())
    }
}

impl INTERRUPT_STATUS {
    /// Returns whether no interrupt is raised.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::zeroed()
    }

    /// Returns what the register reads after `more` were raised.
    pub(crate) fn raised(self, more: Self) -> Self {
        Self::from_raw(self.into_raw() | more.into_raw())
    }

    /// Returns what the register reads after `acknowledged` were acknowledged.
    pub(crate) fn cleared(self, acknowledged: Self) -> Self {
        Self::from_raw(self.into_raw() & !acknowledged.into_raw())
    }
}

/// Address of the internal buffer, as DMA source or destination.
pub(crate) const BUFFER: u64 = 0x40000;

/// Size of the internal buffer in bytes.
pub(crate) const BUFFER_SIZE: usize = 4096;
