// SPDX-License-Identifier: GPL-2.0-only

//! A device that this process has open, with its address space, registers and migration.

use std::cell::OnceCell;

use vfio_bindings::bindings::vfio as uapi;

use crate::address::Address;
use crate::edu::{self, DmaPage, Edu};
use crate::error::{Error, Result};
use crate::memory::GuestMemory;
use crate::migration::{Migration, Protocol};
use crate::pci::{Bus, Identity};
use crate::region2018::{self, Region2018};
use crate::target::Owner;
use crate::vfio::{AddressSpace, Bar0, Device, Interrupt, IrqKind, MappedRegion};

/// An open device.
///
/// It belongs to this process until the session is dropped; a driver that migrates scrubs it at
/// both ends.
pub struct Session {
    device: Device,
    registers: Option<Bar0>,
    memory: AddressSpace,
    identity: Option<Identity>,
    page: OnceCell<DmaPage>,
}

impl Session {
    /// Opens a device and lets it answer and do DMA.
    pub fn open(address: Address) -> Result<Self> {
        let bus = Bus::default();
        let identity = bus
            .function(address)
            .and_then(|function| function.identity());
        let (memory, device) = AddressSpace::open(&bus, address)?;
        device.enable()?;
        Ok(Self {
            registers: device.bar0().ok(),
            device,
            memory,
            identity,
            page: OnceCell::new(),
        })
    }

    /// Where the device is.
    pub fn address(&self) -> Address {
        self.device.address()
    }

    /// Vendor and device number.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The device itself.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The device's registers, for a thread of its own; [`Error::WrongDevice`] where the device is
    /// no edu.
    pub fn registers(&self) -> Result<&Bar0> {
        match (self.identity, &self.registers) {
            (Some(edu::IDENTITY), Some(registers)) => Ok(registers),
            (identity, _) => Err(Error::WrongDevice(format!(
                "{} is {}, and this command knows the registers of an edu ({}) only",
                self.address(),
                identity.map_or_else(|| "of unknown kind".into(), |id| id.to_string()),
                edu::IDENTITY
            ))),
        }
    }

    /// The device as an edu; [`Error::WrongDevice`] where it is none.
    pub fn edu(&self) -> Result<Edu<'_>> {
        Ok(Edu::new(self.registers()?))
    }

    /// The device's migration, by the first protocol of this program that it offers.
    pub fn migration(&self, mmap: bool) -> Result<Box<dyn Migration>> {
        let info = self
            .device
            .region_of(region2018::REGION)
            .ok_or(Error::NoMigration(self.address()))?;
        let region = MappedRegion::new(&self.device, info, region2018::HEADER, mmap)?;
        Ok(Box::new(Region2018::new(Box::new(region))))
    }

    /// Makes guest memory reachable for the device.
    pub fn map_memory(&self, memory: &GuestMemory) -> Result<()> {
        self.memory.map(memory.mapping(), GuestMemory::IOVA)
    }

    /// A page that the device reaches and through which its internal buffer can pass.
    pub fn page(&self) -> Result<&DmaPage> {
        if let Some(page) = self.page.get() {
            return Ok(page);
        }
        let page = DmaPage::new()?;
        self.memory.map(&page.memory, page.iova)?;
        Ok(self.page.get_or_init(|| page))
    }

    /// What the resuming device needs besides its state, with an interrupt of that kind set up.
    pub fn owner(&self, irq: Option<IrqKind>) -> DeviceOwner<'_> {
        DeviceOwner {
            device: &self.device,
            irq,
            interrupt: None,
        }
    }
}

/// Finds out which protocols a device offers.
pub fn protocols(device: &Device) -> Vec<Protocol> {
    [Protocol::Region2018, Protocol::RegionV1, Protocol::V2]
        .into_iter()
        .filter(|protocol| match protocol.region() {
            Some(kind) => device.region_of(kind).is_some(),
            None => device
                .feature(uapi::VFIO_DEVICE_FEATURE_MIGRATION)
                .is_some(),
        })
        .collect()
}

/// Restores the parts of a PCI device that no migration protocol carries.
pub struct DeviceOwner<'a> {
    device: &'a Device,
    irq: Option<IrqKind>,
    /// The interrupt, once it is set up.
    pub interrupt: Option<Interrupt>,
}

impl Owner for DeviceOwner<'_> {
    fn before_running(&mut self) -> Result<()> {
        self.device.enable()?;
        if let Some(kind) = self.irq {
            self.interrupt = Some(Interrupt::new(self.device, kind)?);
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.interrupt = None;
        self.device.reset()
    }
}
