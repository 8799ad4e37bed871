// SPDX-License-Identifier: GPL-2.0-only

//! VFIO's second interface to the IOMMU: an address space of an iommufd, to which a device that was
//! opened by its own file is attached.
//!
//! Structures and numbers: `<linux/iommufd.h>` and `<linux/vfio.h>`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::info;
use crate::error::{Error, Result};
use crate::pci::Function;
use crate::sys::{self, Mapping, Request};

/// Each open of this file is an iommufd.
const IOMMU: &str = "/dev/iommu";

/// The directory of the devices' own files.
const DEVICES: &str = "/dev/vfio/devices";

/// An iommufd with one address space.
#[derive(Debug)]
pub(super) struct Iommufd {
    fd: OwnedFd,
    /// The address space's number.
    ioas: u32,
}

impl Iommufd {
    /// Whether the kernel can open this device through an iommufd.
    pub(super) fn is_for(function: &Function) -> bool {
        Path::new(IOMMU).exists() && device_file(function).is_some_and(|path| path.exists())
    }

    /// Opens a device by its own file, and attaches it to a new address space.
    pub(super) fn open(function: &Function) -> Result<(Self, OwnedFd)> {
        let address = function.address;
        let path = device_file(function)
            .filter(|_| Self::is_for(function))
            .ok_or(Error::NoIommufd(address))?;
        let device = open(&path)?;
        let fd = open(Path::new(IOMMU))?;

        // argsz, flags, the iommufd, the device's number there.
        // CAST: an open file's number is not negative.
        let mut bind = words([16, 0, fd.as_raw_fd() as u32, 0]);
        sys::ioctl_bytes(device.as_fd(), Request::DeviceBindIommufd, &mut bind).map_err(
            |errno| match errno {
                // The kernel returns EINVAL, too, for a second user of the file.
                Errno::BUSY | Errno::INVAL => Error::Busy {
                    address,
                    group: function.group().unwrap_or_default(),
                },
                errno => Error::Step {
                    step: format!("binding {address} to an iommufd"),
                    errno,
                },
            },
        )?;
        // size, flags, the number of the new address space.
        let mut allocation = words([12, 0, 0]);
        sys::ioctl_bytes(fd.as_fd(), Request::IoasAlloc, &mut allocation)
            .map_err(Error::step("making an address space"))?;
        let ioas = info::word(&allocation, 8);
        // argsz, flags, the number of what to attach to.
        let mut attachment = words([12, 0, ioas]);
        sys::ioctl_bytes(
            device.as_fd(),
            Request::DeviceAttachIommufdPt,
            &mut attachment,
        )
        .map_err(Error::step("attaching the device to an address space"))?;
        Ok((Self { fd, ioas }, device))
    }

    /// Maps memory for the device.
    pub(super) fn map(&self, memory: &Mapping, iova: u64) -> Result<(), Errno> {
        sys::ioas_map(self.fd.as_fd(), self.ioas, memory, iova)
    }
}

/// The device's own file.
fn device_file(function: &Function) -> Option<PathBuf> {
    Some(Path::new(DEVICES).join(function.vfio_name()?))
}

/// Opens a VFIO file.
fn open(path: &Path) -> Result<OwnedFd> {
    sys::open(path).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => Error::NotRoot {
            path: path.to_owned(),
            errno,
        },
        errno => Error::Step {
            step: format!("opening {}", path.display()),
            errno,
        },
    })
}

/// The bytes of a structure of 32-bit words.
fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
