// SPDX-License-Identifier: GPL-2.0-only

//! A variant driver of QEMU's edu device that does what a driver must not do, for `test_misuse.py`.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    ThisModule, //
};
use migration::{
    device::{
        Access,
        Width, //
    },
    iova::IovaRange, //
};
use vfio::pci::{
    CoreDevice,
    DeviceId,
    Operations,
    Registration,
    ScratchPage,
    Trapped, //
};

mod wrong;

use self::wrong::{
    say,
    Victim,
    Wrong, //
};

vfio::pci_device_table!(DEVICES, [DeviceId::new(0x1234, 0x11e8)]);

/// The only BAR.
const BAR: u8 = 0;

impl Victim for CoreDevice {
    fn try_all(&self, when: &str) {
        let access = Access {
            bar: BAR,
            offset: 0,
            width: Width::B4,
        };
        say("check_decoding", when, self.check_decoding());
        say("guest_read", when, self.guest_read(access));
        say("guest_write", when, self.guest_write(access, 0));
        say("registers", when, self.registers(BAR).map(drop));
        say("with_private_dma", when, pass(self));
        let marked = IovaRange::new(0, 1).and_then(|range| self.mark_written(range));
        say("mark_written", when, marked);
        say("read_memory", when, self.read_memory(0, &mut []));
        say("check_memory", when, self.check_memory());
    }
}

/// A pass in which nothing happens.
fn pass(core: &CoreDevice) -> Result {
    let mut page = ScratchPage::new()?;
    Ok(core.with_private_dma(BAR, &mut page, |_, _| Ok(()))?)
}

/// The driver.
struct MisuseVfioPci;

#[vtable]
impl Operations for MisuseVfioPci {
    type Device = Wrong<CoreDevice>;

    const TRAPPED: &'static [Trapped] = &[Trapped::bar(BAR)];

    fn new(core: &CoreDevice) -> Result<Wrong<CoreDevice>> {
        core.try_all("new");
        Ok(Wrong::new())
    }
}

/// The module, which leaks its driver's registration.
struct Misuse;

impl kernel::Module for Misuse {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let registration = Registration::<MisuseVfioPci>::new(module, &DEVICES);
        core::mem::forget(KBox::pin_init(registration, GFP_KERNEL)?);
        Ok(Self)
    }
}

vfio::module! {
    type: Misuse,
    name: "misuse_vfio_pci",
    authors: ["rvfio contributors"],
    description: "Wrong VFIO PCI variant driver, for tests",
}
