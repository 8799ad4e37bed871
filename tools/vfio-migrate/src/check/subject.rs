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
    /// Where it is for the other checks, too.
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
    /// Lets the device reach memory.
    pub fn map(&self, memory: &Mapping, iova: u64) -> Verdict {
        Ok(self.memory.map(memory, iova)?)
    }
}

impl Subject {
    /// Takes a device, which is not opened yet.
    pub fn new(address: Address) -> Self {
        Self {
            bus: Bus::default(),
            address,
            stream: OnceCell::new(),
            kept: None,
            second: None,
        }
    }

    /// Takes a device whose stream another check may have taken before.
    pub fn with_kept_stream(address: Address) -> Self {
        Self {
            kept: Kept::inherited().ok(),
            ..Self::new(address)
        }
    }

    /// Takes a device to which the state of this one can go, too.
    pub fn and_second(self, second: Option<Address>) -> Self {
        Self { second, ..self }
    }

    /// The device to which the state of this one can go; leaves the check where there is none.
    pub fn second(&self) -> Verdict<Self> {
        match self.second {
            Some(address) => Ok(Self::new(address)),
            None => not_applicable("no second device was named with --to"),
        }
    }

    /// Opens the device as it comes, and lets it do DMA where it is a PCI function.
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

    /// Opens the device and says whether it offers a protocol at all.
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
