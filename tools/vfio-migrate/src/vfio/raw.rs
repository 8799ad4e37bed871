// SPDX-License-Identifier: GPL-2.0-only

//! Unchecked calls on a device's file, for the conformance suite.

use rustix::io::Errno;

use super::Device;
use crate::sys::{self, DmaReport, FeatureData, How, Mapping, Moved};

impl Device {
    /// Issues `VFIO_DEVICE_FEATURE` with any length and flags.
    pub fn raw_feature(&self, argsz: u32, flags: u32, data: &mut FeatureData) -> Result<(), Errno> {
        sys::device_feature(self.fd(), argsz, flags, data)
    }

    /// Tries to set any number as v2's state.
    pub fn set_mig_state(&self, state: u32) -> Result<Moved, Errno> {
        sys::set_mig_state(self.fd(), state)
    }

    /// Asks for the DMA log.
    pub fn dma_report(
        &self,
        argsz: u32,
        operation: u32,
        report: DmaReport,
        bitmap: &Mapping,
    ) -> Result<(), Errno> {
        sys::dma_logging_report(self.fd(), argsz, operation, report, bitmap)
    }

    /// Reads from any offset of the device's file; returns how many bytes came.
    pub fn raw_read(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        sys::pread_some(self.fd(), offset, bytes)
    }

    /// Writes to any offset of the device's file; returns how many bytes were taken.
    pub fn raw_write(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        sys::pwrite_some(self.fd(), offset, bytes)
    }

    /// Sees whether a part of the device's file can be mapped.
    pub fn try_map(&self, offset: u64, len: usize, how: How) -> Result<(), Errno> {
        sys::try_map(self.fd(), offset, len, how)
    }

    /// Maps a part of the device's file.
    pub fn map(&self, offset: u64, len: usize) -> Result<Mapping, Errno> {
        Mapping::of(self.fd(), offset, len)
    }

    /// Resets the device and returns the errno.
    pub fn raw_reset(&self) -> Result<(), Errno> {
        sys::ioctl_value(self.fd(), sys::Request::DeviceReset, 0).map(drop)
    }
}
