// SPDX-License-Identifier: GPL-2.0-only

//! Variant driver of QEMU's NVMe controller for `test_offers.py`: it resets the
//! function each time.

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
struct NvmeFlr;

#[vtable]
impl Operations for NvmeFlr {
    type Device = nvme::Nvme;

    const TRAPPED: &'static [Trapped] = &[Trapped::bar(nvme::BAR)];
    const RESET: Reset = Reset::FunctionLevel;

    fn new(core: &CoreDevice) -> Result<nvme::Nvme> {
        Ok(nvme::Nvme::new(core))
    }
}

vfio::module_pci_driver! {
    type: NvmeFlr,
    name: "nvme_flr_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver of QEMU's NVMe controller, for tests",
    devices: [DeviceId::new(0x1b36, 0x0010)],
}
