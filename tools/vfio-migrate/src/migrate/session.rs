// SPDX-License-Identifier: GPL-2.0-only

//! A device that this process has open, with its address space and its migration.

use std::cell::OnceCell;

use vfio_bindings::bindings::vfio as uapi;

use crate::error::{Error, Result};
use crate::migrate::mapped_region::MappedRegion;
use crate::migrate::memory::{DmaPage, GuestMemory};
use crate::migrate::protocol::{Migration, Protocol};
use crate::migrate::region::REGION_2018;
use crate::migrate::region_2018::{Region2018, HEADER};
use crate::migrate::target::Owner;
use crate::pci::{Address, Bus, Identity};
use crate::vfio::{AddressSpace, Bar0, Device, Interrupt, IrqKind};

/// An open device.
///
/// It belongs to this process until the session is dropped. A driver that migrates scrubs it when
/// it is opened and when it is closed.
pub struct Session {
    device: Device,
    bar0: Option<Bar0>,
    memory: AddressSpace,
    identity: Option<Identity>,
    page: OnceCell<DmaPage>,
}

impl Session {
    /// Opens a device and enables memory decoding and bus mastering.
    pub fn open(address: Address) -> Result<Self> {
        let bus = Bus::default();
        let identity = bus
            .function(address)
            .and_then(|function| function.identity());
        let (memory, device) = AddressSpace::open(&bus, address)?;
        device.enable()?;
        Ok(Self {
            bar0: device.bar0().ok(),
            device,
            memory,
            identity,
            page: OnceCell::new(),
        })
    }

    /// The device's address.
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

    /// The device's BAR 0, if it has one.
    pub fn bar0(&self) -> Option<&Bar0> {
        self.bar0.as_ref()
    }

    /// Opens the device's migration, by the first protocol that both it and this program support.
    pub fn migration(&self, mmap: bool) -> Result<Box<dyn Migration>> {
        let info = self
            .device
            .region_of(REGION_2018)
            .ok_or(Error::NoMigration(self.address()))?;
        let region = MappedRegion::new(&self.device, info, HEADER, mmap)?;
        Ok(Box::new(Region2018::new(Box::new(region))))
    }

    /// Maps guest memory for the device.
    pub fn map_memory(&self, memory: &GuestMemory) -> Result<()> {
        self.memory.map(memory.mapping(), GuestMemory::IOVA)
    }

    /// Returns a page that is mapped for the device.
    pub fn page(&self) -> Result<&DmaPage> {
        if let Some(page) = self.page.get() {
            return Ok(page);
        }
        let page = DmaPage::new()?;
        self.memory.map(&page.memory, page.iova)?;
        Ok(self.page.get_or_init(|| page))
    }

    /// Returns the owner of the resuming device, which sets up an interrupt of the kind `irq`.
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
