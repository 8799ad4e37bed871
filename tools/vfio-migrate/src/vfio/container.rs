// SPDX-License-Identifier: GPL-2.0-only

//! VFIO's first interface to the IOMMU: a container, to which a device's group is attached.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use vfio_bindings::bindings::vfio as uapi;

use super::info;
use crate::error::{Error, Result};
use crate::pci::Function;
use crate::sys::{self, Mapping, Request};

/// A container with the one group that is attached to it: an address space for a device's DMA.
#[derive(Debug)]
pub(super) struct Container {
    fd: OwnedFd,
    group: OwnedFd,
}

impl Container {
    /// Opens a device through its group, which is attached to a new container.
    pub(super) fn open(function: &Function) -> Result<(Self, OwnedFd)> {
        let address = function.address;
        let number = function.group().ok_or(Error::NoIommu(address))?;
        let container = Self::with_group(function, number)?;
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
        Ok((container, fd))
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

    /// Maps memory for the device.
    pub(super) fn map(&self, memory: &Mapping, iova: u64) -> Result<(), Errno> {
        sys::iommu_map(self.fd.as_fd(), memory, iova)
    }
}
