// SPDX-License-Identifier: GPL-2.0-only

//! Variant driver of QEMU's NVMe controller for `test_offers.py`: its own reset is enough for a
//! load.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use vfio::pci::{
    CoreDevice,
    DeviceId,
    Operations,
    Reset,
    Trapped, //
};

mod nvme;

/// The driver.
struct NvmeBoth;

#[vtable]
impl Operations for NvmeBoth {
    type Device = nvme::Nvme;

    const TRAPPED: &'static [Trapped] = &[Trapped::bar(nvme::BAR)];
    const RESET: Reset = Reset::Both;

    fn new(core: &CoreDevice) -> Result<nvme::Nvme> {
        Ok(nvme::Nvme::new(core))
    }
}

vfio::module_pci_driver! {
    type: NvmeBoth,
    name: "nvme_both_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver of QEMU's NVMe controller, for tests",
    devices: [DeviceId::new(0x1b36, 0x0010)],
}
