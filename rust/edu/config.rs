// SPDX-License-Identifier: GPL-2.0-only

//! The parameters that the edu's modules have beside those of all drivers.

use kernel::time::Delta;

use crate::module_parameters;

/// Declares a module with the edu's parameters, by a macro of the layer.
macro_rules! edu_module {
    ($($module:ident)::+, $($about:tt)*) => {
        $($module)::+! {
            $($about)*
            params: {
                dma_mask_bits: u32 {
                    default: 28,
                    range: 13..=64,
                    description: "Address bits that the devices have for DMA, 13 to 64; edu's dma_mask property (default 28)",
                },
                quiesce_timeout_ms: u32 {
                    default: 10000,
                    range: 200..=60000,
                    description: "Longest wait for a computation or transfer before a stop or reset fails, in ms, 200 to 60000 (default 10000)",
                },
            },
        }
    };
}

/// The parameters that a device uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// The address bits that the device has for DMA, as a mask.
    pub(crate) dma_mask: u64,
    /// The longest that a stop or a reset waits for work under way.
    pub(crate) timeout: Delta,
}

impl Config {
    /// Returns the parameters as the administrator gave them.
    pub(crate) fn given() -> Self {
        let timeout = module_parameters::quiesce_timeout_ms.value();
        Self {
            // No overflow: checked to be from 13 to 64 bits.
            dma_mask: u64::MAX >> (64 - dma_mask_bits()),
            timeout: Delta::from_millis(timeout.into()),
        }
    }
}

/// Returns the address bits that the devices have for DMA, from 13 to 64.
pub(crate) fn dma_mask_bits() -> u32 {
    module_parameters::dma_mask_bits.value()
}
