// SPDX-License-Identifier: GPL-2.0-only

//! What the flavours of VFIO devices differ in.

use kernel::{
    device,
    prelude::*,
    ModuleMetadata, //
};
use migration::{
    device::Device,
    protocols::MigrationRegion, //
};

use super::VfioDevice;
use crate::{
    bindings,
    log::Logs,
    user::Call, //
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

    /// Returns the device as the driver core has it. Only within this crate, see [`Logs`].
    fn as_ref(&self) -> &device::Device;

    /// Returns whether a user has the device open, as far as its driver is concerned: from before
    /// it is scrubbed for the user until it is scrubbed after the user.
    ///
    /// What needs an open device asks this, whatever the driver does: a driver's code has the host
    /// while the state lock is held, under which this changes.
    fn is_open(&self) -> bool;

    /// Notes that a user has the device open, or not any more.
    fn set_open(&self, is_open: bool);

    /// Returns the size of a BAR in bytes, 0 where there is none.
    fn bar_len(&self, bar: u8) -> u64;

    /// Brings the hardware to full power, whatever state its user has left it in.
    ///
    /// It tells of no failure: whoever uses the hardware next finds out. Must not be called with a
    /// lock that comes after the state lock.
    fn power_on(&self) {}

    /// Has the user's container count only pages that the device wrote, if it does not yet.
    ///
    /// The caller holds the state lock of a device that is open, and no `memory_lock`.
    #[inline]
    fn limit_dirty_scope(&self, _moment: Moment) {}

    /// Says in the kernel log, once for each user, if the container takes all memory for dirty.
    fn tell_dirty_scope(&self) {}

    /// Returns what the container of an open device takes for dirty.
    ///
    /// An emulated IOMMU group, a virtual device's, begins with pinned pages alone
    /// (`vfio_iommu_type1_attach_group()`), so that is the answer of a flavour that need not pin.
    fn dirty_scope(&self) -> DirtyScope {
        // SAFETY: The device is valid, and does not change its owner while it is open.
        match unsafe { bindings::rvfio_is_of_iommufd(self.vdev()) } {
            true => DirtyScope::NotAsked,
            false => DirtyScope::Written,
        }
    }
}

/// When a container's dirty pages may matter: see [`Host::limit_dirty_scope`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Moment {
    /// The guest accesses a trapped register, which it does all the time.
    Access,
    /// The client calls: a reset, or something of a migration.
    Call,
}

/// What the container of a device's user takes for dirty.
///
/// From [`DirtyScope::Written`] on it stays so until the device is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(crate) enum DirtyScope {
    /// Nobody knows yet.
    Unknown = 0,
    /// All memory that is mapped for the device; that may change.
    Everything = 1,
    /// What the device wrote.
    Written = 2,
    /// There is no container that tells of dirty pages: an iommufd has its own, or the container is
    /// of the old kind, `VFIO_TYPE1_IOMMU`.
    NotAsked = 3,
}

/// A flavour of VFIO devices, with the driver of one kind of them.
pub(crate) trait Flavour: Sized + 'static {
    /// What the VFIO device is to its flavour, and to the driver's migration code.
    type Host: Host;

    /// The driver's device.
    type Device: Device<Host = Self::Host> + Send + Unpin;

    /// The driver's module.
    type OwnerModule: ModuleMetadata;

    /// The operations that not every VFIO device has; [`super::VTable`] adds the others.
    const OPS: bindings::vfio_device_ops;

    /// Whether others than the user can reset the device: see [`super::VfioDevice::was_reset`].
    const IS_RESET_BY_OTHERS: bool;

    /// Returns the migration protocols that are offered.
    fn protocols() -> Protocols;

    /// Returns the size of the data section in bytes, a multiple of the page size.
    fn data_section_size() -> usize;

    /// Initialises the host of a new device.
    ///
    /// # Safety
    ///
    /// `vdev` must be embedded in an allocation of the size of `VfioDevice<Self>`, all zeroes, that
    /// the VFIO core is initialising for a device of this driver.
    unsafe fn init(vdev: *mut bindings::vfio_device) -> Result;

    /// Ends what [`Self::init`] has initialised.
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

    /// Opens a device for a user: enables and scrubs it.
    fn open(device: &VfioDevice<Self>) -> Result;

    /// Closes a device: scrubs it so that nothing is left for the next user.
    fn close(device: &VfioDevice<Self>);

    /// The user of an open device reads.
    fn read(device: &VfioDevice<Self>, call: Call) -> isize;

    /// The user of an open device writes.
    fn write(device: &VfioDevice<Self>, call: Call) -> isize;

    /// Answers an ioctl of the user of an open device that is no reset: `ENOTTY` for one that there
    /// is not.
    fn ioctl(device: &VfioDevice<Self>, cmd: u32, arg: usize) -> Result<c_long>;
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
    pub(crate) fn regions(self) -> impl Iterator<Item = MigrationRegion> {
        [
            self.region_2018.then_some(MigrationRegion::Region2018),
            self.region_v1.then_some(MigrationRegion::RegionV1),
        ]
        .into_iter()
        .flatten()
    }
}
