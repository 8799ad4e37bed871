// SPDX-License-Identifier: GPL-2.0-only

//! The registers that a guest can use.
//!
//! Specification: `docs/specs/edu.rst` of QEMU.

use kernel::io::register;

/// The BAR that holds the registers.
pub(crate) const BAR: u8 = 0;

register! {
    /// Identification, read-only.
    pub(crate) IDENTIFICATION(u32) @ 0x00 {}

    /// Liveness check: reads the complement of what was written, 0 after a reset.
    pub(crate) LIVENESS(u32) @ 0x04 {}
}

impl LIVENESS {
    /// Returns the value to write so that the register reads as `self`.
    pub(crate) fn to_write(self) -> Self {
        Self::from_raw(!self.into_raw())
    }
}
