// SPDX-License-Identifier: GPL-2.0-only

//! From the address of a device to an open one, through a container or an iommufd.

mod container;
mod device;
mod info;
mod iommufd;
mod irq;
mod raw;

use std::sync::OnceLock;

use clap::ValueEnum;
use rustix::io::Errno;

pub use device::{Bar0, Device};
pub use info::{Area, IrqInfo, RegionInfo};
pub use irq::{Interrupt, IrqKind};

use self::container::Container;
use self::iommufd::Iommufd;
use crate::error::{Error, Result};
use crate::pci::{Address, Bus, Function};
use crate::sys::{self, Mapping};

/// The way by which this process opens devices.
static WAY: OnceLock<Way> = OnceLock::new();

/// The kernel's interface through which a device is opened and reaches memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Way {
    /// The device's group and a container.
    Container,
    /// The device's own file and an iommufd.
    Iommufd,
}

impl Way {
    /// Makes this process open all devices in this way. Without it each device is opened through an
    /// iommufd if the kernel has one for it, else through a container.
    ///
    /// Only the first call counts.
    pub fn choose(self) {
        let _ = WAY.set(self);
    }

    /// The way that was chosen.
    pub fn chosen() -> Option<Self> {
        WAY.get().copied()
    }

    /// Returns the way in which a device is opened.
    fn of(function: &Function) -> Self {
        Self::chosen().unwrap_or(match Iommufd::is_for(function) {
            true => Self::Iommufd,
            false => Self::Container,
        })
    }
}

/// What a device reaches by DMA. The device stays open until both its [`Device`] and this are
/// dropped.
#[derive(Debug)]
pub struct AddressSpace(Backend);

/// Who translates the device's addresses.
#[derive(Debug)]
enum Backend {
    Container(Container),
    Iommufd(Iommufd),
}

impl AddressSpace {
    /// Finds a device in sysfs and opens it, with an address space of its own.
    ///
    /// A driver that migrates scrubs the device here; no other process can open it meanwhile.
    pub fn open(bus: &Bus, address: Address) -> Result<(Self, Device)> {
        let function = find(bus, address)?;
        let (backend, fd) = match Way::of(&function) {
            Way::Container => {
                let (container, fd) = Container::open(&function)?;
                (Backend::Container(container), fd)
            }
            Way::Iommufd => {
                let (iommufd, fd) = Iommufd::open(&function)?;
                (Backend::Iommufd(iommufd), fd)
            }
        };
        Ok((Self(backend), Device::new(fd, address)?))
    }

    /// Maps memory for the device, from an I/O virtual address on.
    pub fn map(&self, memory: &Mapping, iova: u64) -> Result<()> {
        let step = format!(
            "mapping {} KiB for the device at {iova:#x}",
            memory.len() / 1024
        );
        let mapped = match &self.0 {
            Backend::Container(container) => container.map(memory, iova),
            Backend::Iommufd(iommufd) => iommufd.map(memory, iova),
        };
        mapped.map_err(|errno| match errno {
            Errno::NOMEM => Error::Memlock {
                step,
                needed: memory.len() as u64,
                limit: sys::memory_lock_limit(),
            },
            errno => Error::Step { step, errno },
        })
    }
}

/// Finds a device that is bound to a VFIO driver.
fn find(bus: &Bus, address: Address) -> Result<Function> {
    let function = bus.function(address).ok_or(Error::NoDevice(address))?;
    if !function.is_vfio() {
        return Err(Error::NotBound {
            address,
            driver: function.driver(),
            identity: function.identity(),
        });
    }
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_address_is_told_before_anything_is_opened() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("0000:00:01.0")).unwrap();
        std::fs::create_dir_all(root.path().join("0000:00:02.0/vfio-dev")).unwrap();
        let bus = Bus::new(root.path());
        let open = |text: &str| AddressSpace::open(&bus, text.parse().unwrap()).unwrap_err();
        assert!(matches!(open("00:00.0"), Error::NoDevice(_)));
        assert!(matches!(
            open("00:01.0"),
            Error::NotBound { driver: None, .. }
        ));
        assert!(matches!(open("00:02.0"), Error::NoIommu(_)));
    }
}
