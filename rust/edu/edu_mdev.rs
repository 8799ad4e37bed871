// SPDX-License-Identifier: GPL-2.0-only

//! Mediated driver of QEMU's edu device: several virtual devices share a physical one, and each can
//! be migrated by itself.
//!
//! Limitations:
//!
//! - A transfer reads guest memory when it begins, not when it ends. It waits for transfers that
//!   other virtual devices have started before.
//! - An eventfd cannot unmask INTx; a hypervisor unmasks it itself.
//! - `dma_mask_bits` has one value for all devices, physical and virtual.

#![forbid(unsafe_code)]

use kernel::{
    device::Core,
    pci,
    prelude::*,
    ThisModule, //
};
use vfio::{
    mdev::{
        Driver,
        DriverRegistration,
        Function,
        Operations,
        Registration,
        Type, //
    },
    physical, //
};

#[macro_use]
mod config;
mod image;
mod mdev;
mod registers;
mod transfer;

use self::{
    config::Config,
    mdev::{
        Control,
        EduParent,
        VirtualEdu,
        TYPES, //
    }, //
};

kernel::pci_device_table!(ID_TABLE, (), [(physical::device_id(0x1234, 0x11e8), ())]);

/// The driver of the virtual devices.
struct EduMdev;

/// The driver as it is registered, to which the registration of each parent refers.
static DRIVER: Driver<EduMdev> = Driver::new();

#[vtable]
impl Operations for EduMdev {
    type Device = VirtualEdu;
    type Parent = EduParent;

    const TYPES: &'static [Type] = TYPES;

    fn driver() -> &'static Driver<Self> {
        &DRIVER
    }

    fn function(parent: &EduParent) -> Function {
        parent.function()
    }

    fn available(parent: &EduParent, type_: usize) -> u32 {
        parent.available(type_)
    }

    fn new(parent: &EduParent, type_: usize) -> Result<VirtualEdu> {
        VirtualEdu::new(parent, type_, Config::given())
    }

    fn removed(device: &mut VirtualEdu) {
        device.removed();
    }
}

/// The driver of the physical devices.
struct EduPci;

/// A bound physical device.
///
/// The fields are dropped in order: first the virtual devices, then the memory that the physical
/// device reaches.
#[pin_data]
struct Bound {
    parent: Registration<EduMdev>,
    control: Control,
}

impl pci::Driver for EduPci {
    type IdInfo = ();
    type Data<'bound> = Bound;

    const ID_TABLE: pci::IdTable<()> = &ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        info: Option<&'bound ()>,
    ) -> impl PinInit<Bound, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            // `driver_override` offers the driver any device.
            if info.is_none() {
                dev_err!(pdev, "not a device of this driver\n");
                return Err(ENODEV);
            }
            let parent = EduParent::new(pdev, config::dma_mask_bits())?;
            Ok(try_pin_init!(Bound {
                control: parent.control(),
                parent: Registration::new(pdev.as_ref(), parent)?,
            }? Error))
        })
    }

    fn unbind<'bound>(_: &'bound pci::Device<Core<'_>>, bound: Pin<&Bound>) {
        bound.parent.unregister();
        // Before the bus saves the function's state and puts it to sleep.
        bound.control.shut_down();
    }
}

impl physical::Resettable for EduPci {
    fn reset_prepare(bound: Pin<&Bound>) {
        bound.control.reset_prepare();
    }

    fn reset_done(bound: Pin<&Bound>) {
        bound.control.reset_done();
    }
}

/// The module.
///
/// The fields are dropped in order: the driver of the physical devices before that of the virtual
/// ones.
#[pin_data]
struct EduModule {
    #[pin]
    _physical: kernel::driver::Registration<physical::Adapter<EduPci>>,
    _virtual: DriverRegistration<EduMdev>,
}

impl kernel::InPlaceModule for EduModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _virtual: DRIVER.register()?,
            _physical <- kernel::driver::Registration::new(c"edu_mdev", module),
        })
    }
}

edu_module! {
    vfio::module,
    type: EduModule,
    name: "edu_mdev",
    authors: ["rvfio contributors"],
    description: "Mediated driver of QEMU's edu device with live migration of the virtual devices",
}
