// SPDX-License-Identifier: GPL-2.0-only

//! The module's parameters: ranges and units.

use kernel::{
    prelude::*,
    time::Delta, //
};
use vfio::Protocols;

use crate::module_parameters;

/// Declares a module: `module!` with what the edu's modules have in common.
macro_rules! edu_module {
    (type: $type:ident, name: $name:tt, description: $description:tt,) => {
        module! {
            type: $type,
            name: $name,
            authors: ["rvfio contributors"],
            description: $description,
            license: "GPL",
            params: {
                data_section_kib: u32 {
                    default: 256,
                    description: "Size of the migration region's data section in KiB, 4 to 65536, a multiple of 4 (default 256)",
                },
                dma_mask_bits: u32 {
                    default: 28,
                    description: "Address bits that the devices have for DMA, 13 to 64; edu's dma_mask property (default 28)",
                },
                region_2018: bool {
                    default: true,
                    description: "Offer the migration region of November 2018 (default yes)",
                },
                region_v1: bool {
                    default: true,
                    description: "Offer the migration region of Linux 5.8 to 5.17, for QEMU 5.2 to 7.2 (default yes)",
                },
                v2: bool {
                    default: true,
                    description: "Offer the migration features of Linux 5.18 and later, for QEMU 8 and later (default yes)",
                },
                quiesce_timeout_ms: u32 {
                    default: 10000,
                    description: "Longest wait for a computation or transfer before a stop or reset fails, in ms, 200 to 60000 (default 10000)",
                },
            },
        }
    };
}

/// Bytes of a KiB.
const KIB: usize = 1024;

/// The parameters that a device uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// The address bits that the device has for DMA, as a mask.
    pub(crate) dma_mask: u64,
    /// The longest that a stop or a reset waits for work under way.
    pub(crate) timeout: Delta,
}

/// The module's parameters as the administrator gave them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    /// Size of the data section in KiB.
    pub(crate) data_section_kib: u32,
    /// Address bits that the devices have for DMA.
    pub(crate) dma_mask_bits: u32,
    /// Longest wait for work under way, in milliseconds.
    pub(crate) quiesce_timeout_ms: u32,
}

impl Parameters {
    /// Returns the parameters.
    pub(crate) fn given() -> Self {
        Self {
            data_section_kib: module_parameters::data_section_kib.value(),
            dma_mask_bits: module_parameters::dma_mask_bits.value(),
            quiesce_timeout_ms: module_parameters::quiesce_timeout_ms.value(),
        }
    }

    /// Returns the protocols that the administrator lets the devices offer.
    pub(crate) fn protocols() -> Protocols {
        Protocols {
            region_2018: module_parameters::region_2018.value(),
            region_v1: module_parameters::region_v1.value(),
            v2: module_parameters::v2.value(),
        }
    }

    /// Checks the ranges. If a parameter is out of its range, logs the rule and returns `EINVAL`.
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

    /// Returns the parameters that a device uses.
    pub(crate) fn config(&self) -> Config {
        Config {
            // No overflow: checked to be from 13 to 64 bits.
            dma_mask: u64::MAX >> (64 - self.dma_mask_bits),
            timeout: Delta::from_millis(self.quiesce_timeout_ms.into()),
        }
    }
}
