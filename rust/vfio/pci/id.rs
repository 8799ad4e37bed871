// SPDX-License-Identifier: GPL-2.0-only

//! The table of devices that a variant driver can take.

use kernel::{
    bindings,
    device_id::RawDeviceId, //
};

/// One entry of a variant driver's table.
///
/// Matches only if the administrator names the driver (`driver_override`). It makes a `vfio_pci:`
/// alias, by which management software finds the driver (`PCI_DRIVER_OVERRIDE_DEVICE_VFIO` in
/// [`include/linux/pci.h`](srctree/include/linux/pci.h)).
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::pci_device_id);

impl DeviceId {
    /// Any subsystem.
    const ANY: u32 = !0;

    /// Creates an entry for a vendor and device number.
    pub const fn new(vendor: u16, device: u16) -> Self {
        // CAST: Widening; `From` is not const.
        Self(bindings::pci_device_id {
            vendor: vendor as u32,
            device: device as u32,
            subvendor: Self::ANY,
            subdevice: Self::ANY,
            class: 0,
            class_mask: 0,
            driver_data: 0,
            override_only: bindings::PCI_ID_F_VFIO_DRIVER_OVERRIDE,
        })
    }

    /// Returns whether an entry is the PCI core's substitute for one of the driver's table.
    ///
    /// `driver_override` offers a driver any device, with that entry (`pci_match_device` in
    /// [`drivers/pci/pci-driver.c`](srctree/drivers/pci/pci-driver.c)). A device that an
    /// administrator has added by `new_id` comes with an entry of its own.
    pub(super) fn is_stand_in(id: &bindings::pci_device_id) -> bool {
        id.vendor == Self::ANY && id.device == Self::ANY
    }
}

// SAFETY: `DeviceId` is a transparent wrapper of `pci_device_id`.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::pci_device_id;
}

/// Creates a table for [`Registration::new`](crate::pci::Registration::new), with its module
/// aliases.
#[macro_export]
macro_rules! pci_device_table {
    ($table:ident, [$($id:expr),* $(,)?]) => {
        ::kernel::module_device_table!(
            "pci", $crate::pci::DeviceId, $table, @none, [$($id),*]
        );
    };
}
