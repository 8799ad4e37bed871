// SPDX-License-Identifier: GPL-2.0-only

//! The state of the function, as debugfs shows it.

use core::fmt;

use kernel::prelude::*;
use vfio::pci::CoreDevice;

use super::VirtualFunction;
use crate::{
    hardware,
    registers::*,
    state::{
        Ring,
        QUEUES, //
    }, //
};

/// Writes a line about a queue.
fn show_ring(to: &mut fmt::Formatter<'_>, name: &str, index: usize, ring: &Ring) -> fmt::Result {
    writeln!(
        to,
        "{name} {index}: enabled {}, head {}, tail {}, descriptors {}",
        u32::from(ring.is_enabled()),
        ring.head,
        ring.tail,
        ring.count()
    )
}

impl VirtualFunction {
    /// Writes the queues, the enabled interrupts and the requests to the PF that count.
    pub(super) fn show_state(&self, core: &CoreDevice, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rings(core) {
            Ok((receive, transmit)) => {
                for (index, ring) in receive.iter().enumerate() {
                    show_ring(to, "receive", index, ring)?;
                }
                for (index, ring) in transmit.iter().enumerate() {
                    show_ring(to, "transmit", index, ring)?;
                }
            }
            Err(_) => writeln!(to, "registers: nobody has the device open")?,
        }
        writeln!(to, "interrupts: {:#x}", self.enabled.bits())?;
        for exchange in self.history.exchanges() {
            let request = &exchange.request;
            writeln!(to, "request: {} {}", request.kind(), exchange.verdict)?;
        }
        if let Some(posted) = &self.posted {
            writeln!(to, "request: {} not answered", posted.request.kind())?;
        }
        match self.history.gap() {
            Some(gap) => writeln!(to, "migration: refused, {gap}"),
            None => writeln!(to, "migration: possible"),
        }
    }

    /// Reads the receive queues and the transmit queues as they are now.
    fn rings(&self, core: &CoreDevice) -> Result<([Ring; QUEUES], [Ring; QUEUES])> {
        let registers = core.registers(BAR)?;
        let mut rings = ([Ring::default(); QUEUES], [Ring::default(); QUEUES]);
        for (index, ring) in rings.0.iter_mut().enumerate() {
            *ring = hardware::receive_queue(&registers, index)?.ring;
        }
        for (index, ring) in rings.1.iter_mut().enumerate() {
            *ring = hardware::transmit_queue(&registers, index)?.ring;
        }
        Ok(rings)
    }
}
