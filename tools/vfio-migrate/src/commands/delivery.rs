// SPDX-License-Identifier: GPL-2.0-only

//! Whether an interrupt that was pending on the source came on the target.

use std::fmt;

use serde::Serialize;

use crate::edu::guest::IRQ_PATIENCE;
use crate::error::Result;
use crate::vfio::Interrupt;

/// Whether a target's interrupt came; nothing if the user asked for none.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub struct Delivery(Option<bool>);

impl Delivery {
    /// Waits up to [`IRQ_PATIENCE`] for an interrupt, if there is one to wait for.
    pub fn of(interrupt: Option<&Interrupt>) -> Result<Self> {
        let count = interrupt.map(|interrupt| interrupt.wait(IRQ_PATIENCE));
        Ok(Self(count.transpose()?.map(|count| count != 0)))
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(true) => writeln!(f, "interrupt delivered"),
            Some(false) => writeln!(f, "interrupt not pending"),
            None => Ok(()),
        }
    }
}
