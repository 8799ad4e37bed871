// SPDX-License-Identifier: GPL-2.0-only

//! A variant driver that traps some pages of a BAR, for `test_ranges.py`.
//!
//! It takes devices that need no driver to be accessed: ivshmem, whose BAR 2 is memory, NVMe, whose
//! BAR 0 has the MSI-X table among other pages, and edu. A trapped read returns the complement of
//! what the device has there, so it differs from one that no driver decodes. There is no state to
//! migrate.

#![forbid(unsafe_code)]

use core::ops::Range;

use kernel::prelude::*;
use migration::{
    device::{
        Access,
        Amount,
        Device,
        Phase,
        Remaining, //
    },
    dirty::DirtyLog,
    image::{
        Identity,
        Payload,
        Section,
        SectionHead, //
    }, //
};
use vfio::pci::{
    CoreDevice,
    DeviceId,
    Operations,
    Trapped, //
};

/// The device.
struct Complement;

impl Device for Complement {
    type Host = CoreDevice;

    fn identity(&self) -> Identity {
        Identity {
            vendor: 0,
            device: 0,
            subsystem_vendor: 0,
            subsystem_device: 0,
            revision: 0,
            state_major: 1,
            state_minor: 0,
        }
    }

    fn quiesce(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn resume(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn reset(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn size(&self, _core: &CoreDevice) -> Amount {
        Amount::default()
    }

    fn save_begin(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn remaining(&self, _core: &CoreDevice) -> Remaining {
        Remaining::default()
    }

    fn save(
        &mut self,
        _core: &CoreDevice,
        _phase: Phase,
        _payload: &mut Payload,
    ) -> Result<Option<SectionHead>> {
        Ok(None)
    }

    fn load_begin(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn load(&mut self, _core: &CoreDevice, _section: &Section<'_>) -> Result {
        Err(EOPNOTSUPP)
    }

    fn load_end(&mut self, _core: &CoreDevice) -> Result {
        Ok(())
    }

    fn read(&mut self, core: &CoreDevice, access: Access) -> Result<u64> {
        Ok(!core.guest_read(access)?)
    }

    fn write(
        &mut self,
        core: &CoreDevice,
        _log: &mut DirtyLog,
        access: Access,
        value: u64,
    ) -> Result {
        if value == REFUSED {
            return Err(EPERM);
        }
        core.guest_write(access, value)
    }
}

/// A value of 8 bytes that the driver refuses to write.
const REFUSED: u64 = 0xdead_dead_dead_dead;

/// The driver.
struct RangesVfioPci;

#[vtable]
impl Operations for RangesVfioPci {
    type Device = Complement;

    const TRAPPED: &'static [Trapped] = &[
        // A page on each side of 2 MiB, which is mapped at once if it can be.
        Trapped::pages(2, 0x1f_f000..0x20_1000),
        // NVMe's MSI-X table is in the second range.
        Trapped::pages(0, 0x2000..0x3000),
        Trapped::pages(0, 0..0x1000),
        // Beyond the end of every device that the driver takes.
        Trapped::pages(2, 0x4000_0000..0x4000_1000),
    ];

    fn new(_core: &CoreDevice) -> Result<Complement> {
        Ok(Complement)
    }

    fn reads_through(bar: u8, bytes: Range<u64>) -> bool {
        bar == 2 && bytes.start >= 0x20_0800
    }
}

vfio::module_pci_driver! {
    type: RangesVfioPci,
    name: "ranges_vfio_pci",
    authors: ["rvfio contributors"],
    description: "VFIO PCI variant driver that traps some pages, for tests",
    devices: [
        DeviceId::new(0x1234, 0x11e8),
        DeviceId::new(0x1af4, 0x1110),
        DeviceId::new(0x1b36, 0x0010),
    ],
}
