// SPDX-License-Identifier: GPL-2.0-only

//! The part of a device that its flavour keeps, as the code common to all flavours sees it.

use kernel::device;
use migration::container::Container;

use super::DirtyScope;
use crate::{
    bindings,
    log::Logs, //
};

/// A VFIO device's C structures and what its flavour keeps beside them.
///
/// # Safety
///
/// An object must begin with its `struct vfio_device`.
pub(crate) unsafe trait Host: Container + Logs + Send + Sync {
    /// Returns the VFIO core's structure.
    fn vdev(&self) -> *mut bindings::vfio_device {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    /// Returns the device as the driver core knows it. Stays within this crate, see [`Logs`].
    fn as_ref(&self) -> &device::Device;

    /// Returns whether a user has the device open, as far as its driver is concerned: from before
    /// it is scrubbed for the user until it is scrubbed after the user.
    ///
    /// Code that needs an open device asks this first, whatever the driver does: a driver's code
    /// has the host while the state lock is held, and the answer changes only under that lock.
    fn is_open(&self) -> bool;

    /// Notes that a user has the device open, or no longer has.
    fn set_open(&self, is_open: bool);

    /// Returns the size of a BAR in bytes, 0 if there is no such BAR.
    fn bar_len(&self, bar: u8) -> u64;

    /// Brings the hardware to full power, whatever state its user has left it in.
    ///
    /// Reports no failure: whoever uses the hardware next finds out. The caller must not hold a
    /// lock that comes after the state lock.
    fn power_on(&self) {}

    /// Has the user's container count only pages that the device wrote, if it does not yet and the
    /// driver knows them.
    ///
    /// The caller holds the state lock of an open device, and no `memory_lock`.
    #[inline]
    fn limit_dirty_scope(&self, _moment: Moment) {}

    /// Returns whether the user's container is to be told now of pages that a device finds: some
    /// time after the last time.
    fn is_time_to_tell(&self) -> bool {
        false
    }

    /// Says in the kernel log, once for each user, if the container takes all memory for dirty.
    fn tell_dirty_scope(&self) {}

    /// Returns what the container of an open device takes for dirty.
    ///
    /// An emulated IOMMU group, such as a virtual device's, begins with pinned pages alone
    /// (`vfio_iommu_type1_attach_group()`), so a flavour that need not pin has this answer.
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
    /// The client resets the device or makes a call of a migration.
    Call,
}
