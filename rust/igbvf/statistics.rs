// SPDX-License-Identifier: GPL-2.0-only

//! Statistics that go on counting after a migration.
//!
//! The registers cannot be written. So the guest reads the sum of the register and an offset,
//! modulo 2^32 as the counters themselves.

/// Number of statistics registers.
pub(crate) const COUNT: usize = 9;

/// The offset of each register.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Offsets([u32; COUNT]);

impl Offsets {
    /// Returns the offsets with which registers that read `raw` show `shown`.
    pub(crate) fn new(raw: &[u32; COUNT], shown: &[u32; COUNT]) -> Self {
        let mut offsets = *shown;
        for (offset, raw) in offsets.iter_mut().zip(raw) {
            *offset = offset.wrapping_sub(*raw);
        }
        Self(offsets)
    }

    /// Returns what the guest reads of register `index` if the register reads `raw`.
    pub(crate) fn shown(&self, index: usize, raw: u32) -> u32 {
        raw.wrapping_add(self.0.get(index).copied().unwrap_or(0))
    }
}
