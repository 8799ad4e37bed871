// SPDX-License-Identifier: GPL-2.0-only

//! A variant driver of QEMU's edu device that finds what the device has written when it is asked,
//! and that reads the user's memory, for `test_found.py`.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use vfio::pci::{
    CoreDevice,
    DeviceId,
    Operations,
    Trapped, //
};

mod device;

/// The driver.
struct FoundVfioPci;

#[vtable]
impl Operations for FoundVfioPci {
    type Device = device::Found;

    const TRAPPED: &'static [Trapped] = &[Trapped::bar(device::BAR)];

    fn new(core: &CoreDevice) -> Result<device::Found> {
        Ok(device::Found::new(core))
    }
}

vfio::module_pci_driver! {
    type: FoundVfioPci,
    name: "found_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver that finds dirty pages, for tests",
    devices: [DeviceId::new(0x1234, 0x11e8)],
}
