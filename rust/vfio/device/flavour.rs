// SPDX-License-Identifier: GPL-2.0-only

//! What the flavours of VFIO devices differ in.

use kernel::prelude::*;
use migration::{
    device::Device,
    engine::{
        Cause,
        HardwareReset, //
    }, //
};

use super::{
    Call,
    Host,
    VfioDevice, //
};
use crate::{
    bindings,
    DriverModule, //
};

/// A flavour of VFIO devices, with the driver of one kind of them.
pub(crate) trait Flavour: Sized + 'static {
    /// What the VFIO device is to its flavour, and to the driver's migration code.
    type Host: Host;

    /// The driver's device.
    type Device: Device<Host = Self::Host> + Send + Unpin;

    /// The driver's module.
    type OwnerModule: DriverModule;

    /// The operations that not every VFIO device has; [`super::VTable`] adds the others.
    const OPS: bindings::vfio_device_ops;

    /// Whether others than the user can reset the device: see [`super::VfioDevice::was_reset`].
    const IS_RESET_BY_OTHERS: bool;

    /// Initialises the host of a new device.
    ///
    /// # Safety
    ///
    /// `vdev` must be embedded in an allocation of the size of `VfioDevice<Self>`, all zeroes, that
    /// the VFIO core is initialising for a device of this driver.
    unsafe fn init(vdev: *mut bindings::vfio_device) -> Result;

    /// Drops what [`Self::init`] has initialised.
    ///
    /// # Safety
    ///
    /// As for [`Self::init`], which has succeeded; nobody may use the device any more.
    unsafe fn release(vdev: *mut bindings::vfio_device);

    /// Creates the driver's device.
    ///
    /// # Safety
    ///
    /// As for [`Self::init`], which has just succeeded.
    unsafe fn new_device(vdev: *mut bindings::vfio_device) -> Result<Self::Device>;

    /// Resets the hardware, if that is needed for the cause. The driver's device is reset next.
    ///
    /// Called with the state lock held. By default the driver's own reset is enough.
    fn reset_hardware(_host: &Self::Host, _cause: Cause) -> HardwareReset {
        HardwareReset::NONE
    }

    /// Opens a device for a user: enables and scrubs it.
    fn open(device: &VfioDevice<Self>) -> Result;

    /// Closes a device: scrubs it so that the next user finds nothing of this one's.
    fn close(device: &VfioDevice<Self>);

    /// Answers a read of an open device.
    fn read(device: &VfioDevice<Self>, call: Call) -> isize;

    /// Answers a write to an open device.
    fn write(device: &VfioDevice<Self>, call: Call) -> isize;

    /// Answers any ioctl on an open device other than `VFIO_DEVICE_RESET`.
    ///
    /// `ENOTTY` if the device does not know it.
    fn ioctl(device: &VfioDevice<Self>, cmd: u32, arg: usize) -> Result<c_long>;
}
