// SPDX-License-Identifier: GPL-2.0-only

//! What the flavours of VFIO devices differ in.

use kernel::ModuleMetadata;
use migration::{
    device::Device,
    region::Region, //
};

use crate::{
    bindings,
    log::Logs, //
};

/// A VFIO device's C structures and what its flavour keeps beside them.
///
/// # Safety
///
/// An object must begin with its `struct vfio_device`.
pub(crate) unsafe trait Host: Logs + Sync {
    /// Returns the VFIO core's structure.
    fn vdev(&self) -> *mut bindings::vfio_device {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    /// Returns the size of a BAR in bytes, 0 where there is none.
    fn bar_len(&self, bar: u8) -> u64;

    /// An image is begun or ended: the client may ask its container for dirty pages soon.
    fn session_changed(&self) {}
}

/// A flavour of VFIO devices, with the driver of one kind of them.
pub(crate) trait Flavour: Sized + 'static {
    /// What the VFIO device is to its flavour, and to the driver's migration code.
    type Host: Host;

    /// The driver's device.
    type Device: Device<Host = Self::Host> + Send + Unpin;

    /// The driver's module.
    type OwnerModule: ModuleMetadata;

    /// Whether others than the user can reset the device: see [`super::VfioDevice::was_reset`].
    const IS_RESET_BY_OTHERS: bool;

    /// Returns the migration protocols that are offered.
    fn protocols() -> Protocols;
}

/// Which migration protocols a driver offers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Protocols {
    /// The region of November 2018.
    pub region_2018: bool,
    /// The region of Linux 5.8 to 5.17.
    pub region_v1: bool,
    /// The migration features of Linux 5.18 and later.
    pub v2: bool,
}

impl Protocols {
    /// All of them.
    pub const ALL: Self = Self {
        region_2018: true,
        region_v1: true,
        v2: true,
    };

    /// Returns the migration regions that are offered, in the order of their indices.
    pub(crate) fn regions(self) -> impl Iterator<Item = Region> {
        [
            self.region_2018.then_some(Region::Kabi2018),
            self.region_v1.then_some(Region::V1),
        ]
        .into_iter()
        .flatten()
    }
}
