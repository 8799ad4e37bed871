// SPDX-License-Identifier: GPL-2.0-only

//! The module's parameters: ranges and units.

use kernel::{
    prelude::*,
    time::Delta, //
};

/// Bytes of a KiB.
const KIB: usize = 1024;

/// What a device is to know of what the administrator chose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// The bits of a memory address that the device has, as a mask.
    pub(crate) dma_mask: u64,
    /// The longest that a stop or a reset waits for work under way.
    pub(crate) timeout: Delta,
}

/// The module's parameters as they were given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    /// Size of the data section in KiB.
    pub(crate) data_section_kib: u32,
    /// Address bits that the devices have.
    pub(crate) dma_mask_bits: u32,
    /// Longest wait for work under way, in milliseconds.
    pub(crate) quiesce_timeout_ms: u32,
}

impl Parameters {
    /// Checks the ranges: `EINVAL`, and says which parameter, where one is out of its.
    pub(crate) fn check(&self) -> Result {
        let check = |fits: bool, rule: &str| {
            if fits {
                return Ok(());
            }
            pr_err!("{}\n", rule);
            Err(EINVAL)
        };
        check(
            (4..=65536).contains(&self.data_section_kib) && self.data_section_kib % 4 == 0,
            "data_section_kib must be a multiple of 4 from 4 to 65536",
        )?;
        check(
            (13..=64).contains(&self.dma_mask_bits),
            "dma_mask_bits must be from 13 to 64",
        )?;
        check(
            (200..=60000).contains(&self.quiesce_timeout_ms),
            "quiesce_timeout_ms must be from 200 to 60000",
        )
    }

    /// Returns the size of the data section in bytes.
    pub(crate) fn data_section_size(&self) -> usize {
        // CAST: Widening. No overflow: checked to be at most 65536 KiB.
        self.data_section_kib as usize * KIB
    }

    /// Returns what a device is to know.
    pub(crate) fn config(&self) -> Config {
        Config {
            // No overflow: checked to be from 13 to 64 bits.
            dma_mask: u64::MAX >> (64 - self.dma_mask_bits),
            timeout: Delta::from_millis(self.quiesce_timeout_ms.into()),
        }
    }
}
