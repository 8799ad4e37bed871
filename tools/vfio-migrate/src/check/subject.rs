// SPDX-License-Identifier: GPL-2.0-only

//! The device that is checked.

use std::cell::OnceCell;

use vfio_bindings::bindings::vfio as uapi;

use super::kept::Kept;
use super::{not_applicable, Verdict};
use crate::error::{Error, Result};
use crate::migrate::session;
use crate::pci::{Address, Bus};
use crate::sys::Mapping;
use crate::vfio::{AddressSpace, Device};

/// A device that checks open.
pub struct Subject {
    bus: Bus,
    address: Address,
    /// A stream that the device gave.
    stream: OnceCell<Verdict<Vec<u8>>>,
    /// Where other checks find it, too.
    kept: Option<Kept>,
    /// A device of the same kind.
    second: Option<Address>,
}

/// An open device with an address space of its own; dropping it closes both.
#[derive(Debug)]
pub struct Open {
    /// The device.
    pub device: Device,
    /// Kept open as long as the device is.
    memory: AddressSpace,
}

impl Open {
    /// Maps memory for the device.
    pub fn map(&self, memory: &Mapping, iova: u64) -> Verdict {
        Ok(self.memory.map(memory, iova)?)
    }
}

impl Subject {
    /// The device at an address, not opened yet.
    pub fn new(address: Address) -> Self {
        Self {
            bus: Bus::default(),
            address,
            stream: OnceCell::new(),
            kept: None,
            second: None,
        }
    }

    /// A device whose stream another check may have taken before.
    pub fn with_kept_stream(address: Address) -> Self {
        Self {
            kept: Kept::inherited().ok(),
            ..Self::new(address)
        }
    }

    /// Adds a device to which the state of this one can go.
    pub fn and_second(self, second: Option<Address>) -> Self {
        Self { second, ..self }
    }

    /// Returns the second device; not applicable if none was named.
    pub fn second(&self) -> Verdict<Self> {
        match self.second {
            Some(address) => Ok(Self::new(address)),
            None => not_applicable("no second device was named with --to"),
        }
    }

    /// Opens the device as it is, and lets a PCI function do DMA.
    pub fn open(&self) -> Result<Open> {
        let (memory, device) = AddressSpace::open(&self.bus, self.address)?;
        let config = uapi::VFIO_PCI_CONFIG_REGION_INDEX;
        if device
            .regions()
            .iter()
            .any(|region| region.index == config && region.size != 0)
        {
            device.enable()?;
        }
        Ok(Open { device, memory })
    }

    /// Opens the device; [`Error::NoMigration`] if it offers no protocol.
    pub fn offers_migration(&self) -> Result<()> {
        match session::protocols(&self.open()?.device).as_slice() {
            [] => Err(Error::NoMigration(self.address)),
            _ => Ok(()),
        }
    }

    /// The device's own stream, which `take` takes only if no check has taken it before.
    pub fn stream(&self, take: impl FnOnce() -> Verdict<Vec<u8>>) -> Verdict<&[u8]> {
        let take_and_keep = || {
            if let Some(stream) = self.kept.as_ref().and_then(Kept::load) {
                return Ok(stream);
            }
            let stream = take()?;
            if let Some(kept) = &self.kept {
                kept.store(&stream);
            }
            Ok(stream)
        };
        match self.stream.get_or_init(take_and_keep) {
            Ok(stream) => Ok(stream),
            Err(finding) => Err(finding.clone()),
        }
    }
}
