// SPDX-License-Identifier: GPL-2.0-only

//! What a driver of mediated devices implements.

use kernel::prelude::*;
use migration::device::Device;

use super::{
    Driver,
    Function,
    VirtualDevice, //
};
use crate::DriverModule;

/// A type of virtual devices, as the administrator finds it in `mdev_supported_types`.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// Name of its directory, after the parent driver's name and a dash.
    pub name: &'static CStr,
    /// What `name` shows.
    pub pretty_name: &'static CStr,
    /// What `description` shows, one line without its end.
    pub description: &'static CStr,
}

/// A driver of virtual devices that can be migrated.
///
/// The driver has the name of its module.
#[vtable]
pub trait Operations: Sized + 'static {
    /// A virtual device's state and what it takes to save and load it.
    type Device: Device<Host = VirtualDevice> + Send + Unpin;

    /// What all virtual devices of one physical device share.
    type Parent: Send + Sync + 'static;

    /// The driver's module.
    type OwnerModule: DriverModule;

    /// The types of virtual devices.
    const TYPES: &'static [Type];

    /// Returns the driver, a `static` of its module.
    fn driver() -> &'static Driver<Self>;

    /// Returns the PCI function that a virtual device of `parent` is.
    fn function(parent: &Self::Parent) -> Function;

    /// Returns how many virtual devices of [`Self::TYPES`]`[type_]` can still be created.
    ///
    /// The administrator sees this number; what [`Self::new`] returns decides.
    fn available(parent: &Self::Parent, type_: usize) -> u32;

    /// Creates the state of a virtual device of [`Self::TYPES`]`[type_]`.
    ///
    /// `ENOSPC` if none is left.
    fn new(parent: &Self::Parent, type_: usize) -> Result<Self::Device>;

    /// A virtual device was removed, and nobody has it open: another can take its place.
    ///
    /// The state itself exists as long as someone has a data file of it.
    fn removed(device: &mut Self::Device);
}
