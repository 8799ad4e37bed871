// SPDX-License-Identifier: GPL-2.0-only

//! VFIO's group and container interface: from a PCI address to an open device.

mod device;
mod info;
mod irq;
mod raw;
mod region;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use vfio_bindings::bindings::vfio as uapi;

pub use device::{Bar0, Device};
pub use info::{Area, IrqInfo, RegionInfo};
pub use irq::{Interrupt, IrqKind};
pub use region::MappedRegion;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::pci::{Bus, Function};
use crate::sys::{self, Mapping, Request};

/// A container with the one group that is attached to it: an address space for a device's DMA.
#[derive(Debug)]
pub struct Container {
    fd: OwnedFd,
    group: OwnedFd,
}

impl Container {
    /// Opens a device: finds it in sysfs, opens its group, makes a container and opens the device.
    ///
    /// A driver that migrates scrubs the device here; no other process can open it meanwhile.
    pub fn open(bus: &Bus, address: Address) -> Result<(Self, Device)> {
        let function = find(bus, address)?;
        let number = function.group().ok_or(Error::NoIommu(address))?;
        let container = Self::with_group(&function, number)?;
        let name = CString::new(address.to_string()).expect("an address holds no zero byte");
        let fd =
            sys::group_device(container.group.as_fd(), &name).map_err(|errno| match errno {
                Errno::BUSY => Error::Busy {
                    address,
                    group: number,
                },
                errno => Error::Step {
                    step: format!("opening {address} in its group"),
                    errno,
                },
            })?;
        Ok((container, Device::new(fd, address)?))
    }

    /// Opens a group and attaches it to a new container with the type1 backend.
    fn with_group(function: &Function, number: u32) -> Result<Self> {
        let address = function.address;
        let path = PathBuf::from(format!("/dev/vfio/{number}"));
        let group = sys::open(&path).map_err(|errno| match errno {
            Errno::BUSY => Error::Busy {
                address,
                group: number,
            },
            Errno::ACCESS | Errno::PERM => Error::NotRoot {
                path: path.clone(),
                errno,
            },
            errno => Error::Step {
                step: format!("opening {}", path.display()),
                errno,
            },
        })?;

        let mut status = [0; 8];
        status[0] = 8;
        sys::ioctl_bytes(group.as_fd(), Request::GroupGetStatus, &mut status)
            .map_err(Error::step("asking for the group's status"))?;
        if info::word(&status, 4) & uapi::VFIO_GROUP_FLAGS_VIABLE == 0 {
            return Err(Error::GroupNotViable {
                group: number,
                others: function.strangers_in_group(),
            });
        }

        let path = PathBuf::from("/dev/vfio/vfio");
        let fd = sys::open(&path).map_err(|errno| match errno {
            Errno::ACCESS | Errno::PERM => Error::NotRoot { path, errno },
            errno => Error::NoVfio(errno),
        })?;
        let version = sys::ioctl_value(fd.as_fd(), Request::GetApiVersion, 0)
            .map_err(Error::step("asking for VFIO's version"))?;
        if version != uapi::VFIO_API_VERSION {
            return Err(Error::Protocol(format!("VFIO has version {version}")));
        }
        let type1 = uapi::VFIO_TYPE1v2_IOMMU as usize;
        if sys::ioctl_value(fd.as_fd(), Request::CheckExtension, type1)
            .map_err(Error::step("asking for the type1 IOMMU"))?
            == 0
        {
            return Err(Error::NoType1);
        }
        sys::group_set_container(group.as_fd(), fd.as_fd()).map_err(|errno| match errno {
            Errno::BUSY => Error::Busy {
                address,
                group: number,
            },
            errno => Error::Step {
                step: "attaching the group to a container".into(),
                errno,
            },
        })?;
        sys::ioctl_value(fd.as_fd(), Request::SetIommu, type1).map_err(Error::IommuRefused)?;
        Ok(Self { fd, group })
    }

    /// Makes memory reachable for the device from an I/O virtual address on.
    pub fn map(&self, memory: &Mapping, iova: u64) -> Result<()> {
        let step = format!(
            "mapping {} KiB for the device at {iova:#x}",
            memory.len() / 1024
        );
        sys::iommu_map(self.fd.as_fd(), memory, iova).map_err(|errno| match errno {
            Errno::NOMEM => Error::Memlock {
                step,
                needed: memory.len() as u64,
                limit: sys::memory_lock_limit(),
            },
            errno => Error::Step { step, errno },
        })
    }
}

/// Finds a device that a VFIO driver has.
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
        let open = |text: &str| Container::open(&bus, text.parse().unwrap()).unwrap_err();
        assert!(matches!(open("00:00.0"), Error::NoDevice(_)));
        assert!(matches!(
            open("00:01.0"),
            Error::NotBound { driver: None, .. }
        ));
        assert!(matches!(open("00:02.0"), Error::NoIommu(_)));
    }
}
