// SPDX-License-Identifier: GPL-2.0-only

//! What a vfio-pci variant driver implements.

use core::ops::Range;

use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*, //
};
use migration::{
    device::Device,
    trapped::Trapped, //
};

use super::{
    CoreDevice,
    Reset, //
};
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

    /// What the driver decodes: accesses to it come to [`Device::read`] and [`Device::write`], and
    /// it cannot be mapped. A table with an empty range, with part of a page, with an overlap or
    /// with a seventh BAR ends the build.
    ///
    /// All else is vfio-pci's. User space may map it, and then accesses it at any time: while the
    /// device is stopped or in a pass of the driver's ([`CoreDevice::registers`],
    /// [`CoreDevice::with_private_dma`]), and while its state is saved or loaded. So trap each page
    /// with a register that
    ///
    /// - starts DMA or raises an interrupt, or lets a stopped device do so,
    /// - is part of the image, unless the device may change it by itself as well,
    /// - is used in a pass.
    ///
    /// The MSI-X table is vfio-pci's whatever is trapped: it drops writes to it, and answers reads
    /// with ones.
    const TRAPPED: &'static [Trapped];

    /// How the function is reset; by the driver alone by default.
    const RESET: Reset = Reset::Own;

    /// Creates the state of a device that is being bound. Must not access the hardware.
    fn new(core: &CoreDevice) -> Result<Self::Device>;

    /// Returns whether reads of these trapped bytes of a BAR need no decoding.
    ///
    /// vfio-pci then reads them from the hardware, without the state lock. All others are read by
    /// [`Device::read`].
    fn reads_through(_bar: u8, _bytes: Range<u64>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
