// SPDX-License-Identifier: GPL-2.0-only

//! An open VFIO device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use vfio_bindings::bindings::vfio as uapi;

use super::info::{self, IrqInfo, RegionInfo};
use crate::error::{Error, Result};
use crate::pci::Address;
use crate::sys::{self, Request};

/// Offset of the command register in a PCI function's configuration space.
const PCI_COMMAND: u64 = 4;
/// The function answers at its memory addresses.
const PCI_COMMAND_MEMORY: u16 = 1 << 1;
/// The function may access memory itself.
const PCI_COMMAND_MASTER: u16 = 1 << 2;

/// An open device with its regions and interrupts.
#[derive(Clone, Debug)]
pub struct Device {
    fd: Arc<OwnedFd>,
    address: Address,
    resettable: bool,
    regions: Arc<[RegionInfo]>,
    interrupts: Arc<[IrqInfo]>,
}

impl Device {
    /// Asks an open device for its regions and interrupts.
    pub(super) fn new(fd: OwnedFd, address: Address) -> Result<Self> {
        let mut about = [0; size_of::<uapi::vfio_device_info>()];
        set_length(&mut about);
        sys::ioctl_bytes(fd.as_fd(), Request::DeviceGetInfo, &mut about)
            .map_err(Error::step("asking what the device has"))?;
        let regions = (0..info::word(&about, 8)).filter_map(|index| region_info(&fd, index));
        let interrupts = (0..info::word(&about, 12)).filter_map(|index| irq_info(&fd, index));
        Ok(Self {
            address,
            resettable: info::word(&about, 4) & uapi::VFIO_DEVICE_FLAGS_RESET != 0,
            regions: regions.collect::<Result<_>>()?,
            interrupts: interrupts.collect::<Result<_>>()?,
            fd: Arc::new(fd),
        })
    }

    /// The device's address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Whether the device can be reset.
    pub fn resettable(&self) -> bool {
        self.resettable
    }

    /// The device's regions.
    pub fn regions(&self) -> &[RegionInfo] {
        &self.regions
    }

    /// The device's interrupts.
    pub fn interrupts(&self) -> &[IrqInfo] {
        &self.interrupts
    }

    /// The region of a type and subtype.
    pub fn region_of(&self, kind: (u32, u32)) -> Option<&RegionInfo> {
        self.regions.iter().find(|region| region.kind == Some(kind))
    }

    /// The device's file.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        (*self.fd).as_fd()
    }

    /// Resets the device, which loses all state and runs.
    pub fn reset(&self) -> Result<()> {
        sys::ioctl_value(self.fd(), Request::DeviceReset, 0)
            .map(drop)
            .map_err(Error::step(format!("resetting {}", self.address)))
    }

    /// Reads from a region in one call.
    pub fn read(&self, region: &RegionInfo, at: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        sys::pread(self.fd(), place(region, at, bytes.len())?, bytes)
    }

    /// Writes to a region in one call.
    pub fn write(&self, region: &RegionInfo, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        sys::pwrite(self.fd(), place(region, at, bytes.len())?, bytes)
    }

    /// Reads from a region in as many calls as it takes.
    pub fn read_all(&self, region: &RegionInfo, at: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        sys::pread_all(self.fd(), place(region, at, bytes.len())?, bytes)
    }

    /// Writes to a region in as many calls as it takes.
    pub fn write_all(&self, region: &RegionInfo, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        sys::pwrite_all(self.fd(), place(region, at, bytes.len())?, bytes)
    }

    /// Enables memory decoding and bus mastering, as firmware would.
    pub fn enable(&self) -> Result<()> {
        let config = self.region(uapi::VFIO_PCI_CONFIG_REGION_INDEX)?;
        let mut command = [0; 2];
        self.read(config, PCI_COMMAND, &mut command)
            .map_err(Error::step("reading PCI_COMMAND"))?;
        let command = u16::from_le_bytes(command) | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
        self.write(config, PCI_COMMAND, &command.to_le_bytes())
            .map_err(Error::step("writing PCI_COMMAND"))
    }

    /// The device's BAR 0.
    pub fn bar0(&self) -> Result<Bar0> {
        let region = self.region(uapi::VFIO_PCI_BAR0_REGION_INDEX)?.clone();
        Ok(Bar0 {
            device: self.clone(),
            region,
        })
    }

    fn region(&self, index: u32) -> Result<&RegionInfo> {
        self.regions
            .iter()
            .find(|region| region.index == index && region.size != 0)
            .ok_or_else(|| Error::WrongDevice(format!("{} has no region {index}", self.address)))
    }

    /// Reads a feature of the device; `None` if the device does not have it.
    pub fn feature(&self, feature: u32) -> Option<u64> {
        let mut bytes = [0; 16];
        set_length(&mut bytes);
        let flags = feature | uapi::VFIO_DEVICE_FEATURE_GET;
        bytes[4..8].copy_from_slice(&flags.to_ne_bytes());
        sys::ioctl_bytes(self.fd(), Request::DeviceFeature, &mut bytes).ok()?;
        Some(u64::from_ne_bytes(
            bytes[8..].try_into().expect("eight bytes"),
        ))
    }
}

/// Register access through the device's BAR 0.
#[derive(Clone, Debug)]
pub struct Bar0 {
    device: Device,
    region: RegionInfo,
}

impl Bar0 {
    /// Reads the register at an offset, in one call.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.device
            .read(&self.region, offset, bytes)
            .map_err(Error::step(format!("reading register {offset:#x}")))
    }

    /// Writes the register at an offset, in one call.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.device
            .write(&self.region, offset, bytes)
            .map_err(Error::step(format!("writing register {offset:#x}")))
    }
}

/// Returns the offset of a range of a region in the device's file; `EINVAL` if it does not lie in
/// the region.
fn place(region: &RegionInfo, at: u64, len: usize) -> Result<u64, Errno> {
    match at.checked_add(len as u64) {
        Some(end) if end <= region.size => Ok(region.offset + at),
        _ => Err(Errno::INVAL),
    }
}

/// Writes the length of a kernel structure to its start.
fn set_length(bytes: &mut [u8]) {
    // CAST: the structures have at most a few KiB.
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
}

/// Most bytes of a region's description that are accepted; real ones have some hundreds.
const MAX_REGION_INFO: usize = 1 << 20;

/// Asks for one region; `None` if the device has none of that index.
fn region_info(fd: &OwnedFd, index: u32) -> Option<Result<RegionInfo>> {
    let mut bytes = vec![0; size_of::<uapi::vfio_region_info>()];
    loop {
        set_length(&mut bytes);
        bytes[8..12].copy_from_slice(&index.to_ne_bytes());
        match sys::ioctl_bytes(fd.as_fd(), Request::DeviceGetRegionInfo, &mut bytes) {
            Ok(()) => {}
            // An index that the device does not have, such as VGA.
            Err(Errno::INVAL) => return None,
            Err(errno) => {
                return Some(Err(Error::step(format!("asking for region {index}"))(
                    errno,
                )))
            }
        }
        // The kernel writes the length here that all capabilities need.
        let needed = info::word(&bytes, 0) as usize;
        if needed <= bytes.len() || needed > MAX_REGION_INFO {
            return Some(Ok(RegionInfo::parse(&bytes)));
        }
        bytes = vec![0; needed];
    }
}

/// Asks for one kind of interrupt; `None` if the device has none of that index.
fn irq_info(fd: &OwnedFd, index: u32) -> Option<Result<IrqInfo>> {
    let mut bytes = [0; size_of::<uapi::vfio_irq_info>()];
    set_length(&mut bytes);
    bytes[8..12].copy_from_slice(&index.to_ne_bytes());
    match sys::ioctl_bytes(fd.as_fd(), Request::DeviceGetIrqInfo, &mut bytes) {
        Ok(()) => Some(Ok(IrqInfo::parse(&bytes))),
        Err(Errno::INVAL) => None,
        Err(errno) => Some(Err(Error::step(format!("asking for interrupt {index}"))(
            errno,
        ))),
    }
}
