// SPDX-License-Identifier: GPL-2.0-only

//! What a container takes for dirty.

/// What the container of a device's user takes for dirty.
///
/// Once it is [`DirtyScope::Written`] or a later one, it stays so until the device is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(crate) enum DirtyScope {
    /// Nobody knows yet.
    Unknown = 0,
    /// All memory that is mapped for the device; that may change.
    Everything = 1,
    /// What the device wrote.
    Written = 2,
    /// No container reports dirty pages: the device belongs to an iommufd, which has its own way,
    /// or the container is of the old kind, `VFIO_TYPE1_IOMMU`.
    NotAsked = 3,
    /// All memory that is mapped for the device, since the driver does not know what it writes.
    Unrecorded = 4,
}
