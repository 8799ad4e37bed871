// SPDX-License-Identifier: GPL-2.0-only

//! What a vfio-pci variant driver implements.

use core::ops::Range;

use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*, //
};
use migration::device::Device;

use super::CoreDevice;
use crate::DriverModule;

/// A vfio-pci variant driver of a device that can be migrated.
///
/// The driver has the name of its module.
#[vtable]
pub trait Operations: Sized + 'static {
    /// The device's state and what it takes to save and load it.
    type Device: Device<Host = CoreDevice> + Send + Unpin;

    /// The driver's module.
    type OwnerModule: DriverModule;

    /// Numbers of the BARs whose accesses the driver decodes; they cannot be mapped.
    const TRAPPED_BARS: &'static [u8];

    /// Creates the state of a device that is being bound. Must not access the hardware.
    fn new(core: &CoreDevice) -> Result<Self::Device>;

    /// Returns whether reads of these bytes of a trapped BAR need no decoding.
    ///
    /// vfio-pci then reads them from the hardware, without the state lock. All others are read by
    /// [`Device::read`].
    fn reads_through(_bar: u8, _bytes: Range<u64>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
