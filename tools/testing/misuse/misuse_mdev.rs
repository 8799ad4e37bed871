// SPDX-License-Identifier: GPL-2.0-only

//! A driver of mediated devices that does what a driver must not do, for `test_misuse.py`.
//!
//! It takes any PCI function whose `driver_override` names it.

#![forbid(unsafe_code)]

use kernel::{
    device::Core,
    pci,
    prelude::*,
    sync::SetOnce,
    ThisModule, //
};
use vfio::{
    mdev::{
        Driver,
        DriverRegistration,
        Function,
        Handle,
        Operations,
        Registration,
        Type,
        VirtualDevice, //
    },
    physical::{
        self,
        DmaMemory, //
    }, //
};

mod wrong;

use self::wrong::{
    say,
    Victim,
    Wrong, //
};

// No function has these numbers.
kernel::pci_device_table!(ID_TABLE, (), [(physical::device_id(0xffff, 0xfffe), ())]);

/// Bytes of the memory.
const SIZE: usize = 64;

/// The first function's memory, kept for ever.
static MEMORY: SetOnce<DmaMemory> = SetOnce::new();

/// The handle of the first virtual device that had a user, kept for ever.
static HANDLE: SetOnce<Handle> = SetOnce::new();

impl Victim for VirtualDevice {
    fn try_all(&self, when: &str) {
        let mut bytes = [0; 4];
        say("read_memory", when, self.read_memory(0, &mut bytes));
        say("write_memory", when, self.write_memory(0, &bytes));
        HANDLE.populate(self.handle());
        try_handle(when);
    }
}

/// Tries the handle that was kept.
fn try_handle(when: &str) {
    let mut bytes = [0; 4];
    let read = HANDLE
        .as_ref()
        .and_then(|handle| handle.with(|host| host.read_memory(0, &mut bytes)));
    say("handle", when, read.unwrap_or(Err(ENODEV)));
}

/// Makes a driver of mediated devices.
macro_rules! mediated {
    ($name:ident, $driver:ident) => {
        /// A driver.
        struct $name;

        static $driver: Driver<$name> = Driver::new();

        #[vtable]
        impl Operations for $name {
            type Device = Wrong<VirtualDevice>;
            type Parent = ();

            const TYPES: &'static [Type] = &[Type {
                name: c"wrong",
                pretty_name: c"wrong",
                description: c"wrong",
            }];

            fn driver() -> &'static Driver<Self> {
                &$driver
            }

            fn function(_parent: &()) -> Function {
                Function {
                    vendor: 0,
                    device: 0,
                    subsystem_vendor: 0,
                    subsystem_device: 0,
                    revision: 0,
                    class: 0,
                    bar_size: 4096,
                }
            }

            fn available(_parent: &(), _type: usize) -> u32 {
                try_handle("available");
                1
            }

            fn new(_parent: &(), _type: usize) -> Result<Wrong<VirtualDevice>> {
                Ok(Wrong::new())
            }

            fn removed(_device: &mut Wrong<VirtualDevice>) {
                try_handle("removed");
            }
        }
    };
}

mediated!(MisuseMdev, DRIVER);
mediated!(Unregistered, NEVER);

/// The driver of the functions.
struct MisusePci;

/// The driver's data of a function: none.
#[pin_data]
struct Bound {}

impl pci::Driver for MisusePci {
    type IdInfo = ();
    type Data<'bound> = Bound;

    const ID_TABLE: pci::IdTable<()> = &ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound ()>,
    ) -> impl PinInit<Bound, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            // From the second call on, the memory is that of a function that was unbound.
            if let Some(memory) = MEMORY.as_ref() {
                say("read", "kept memory", memory.read(&mut [0; SIZE]));
                say("write", "kept memory", memory.write(&[0; SIZE]));
                say("dma_address", "kept memory", memory.dma_address());
            } else {
                let memory = DmaMemory::new(pdev, 28, SIZE)?;
                say("read", "short memory", memory.read(&mut [0; SIZE - 1]));
                say("write", "long memory", memory.write(&[0; SIZE + 1]));
                say("write", "memory", memory.write(&[0; SIZE]));
                MEMORY.populate(memory);
            }
            let parent = Registration::<Unregistered>::new(pdev.as_ref(), ());
            say("parent", "unregistered driver", parent);
            // Nothing unregisters it, not even `unbind`.
            core::mem::forget(Registration::<MisuseMdev>::new(pdev.as_ref(), ())?);
            Ok(try_pin_init!(Bound {}? Error))
        })
    }
}

/// The module, which drops the driver of the virtual devices before that of their parents, or
/// never.
#[pin_data]
struct Misuse {
    _virtual: Option<DriverRegistration<MisuseMdev>>,
    #[pin]
    _physical: kernel::driver::Registration<pci::Adapter<MisusePci>>,
}

impl kernel::InPlaceModule for Misuse {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _virtual: {
                let registration = DRIVER.register()?;
                if module_parameters::leak.value() {
                    core::mem::forget(registration);
                    None
                } else {
                    Some(registration)
                }
            },
            _: { say("register", "registered driver", DRIVER.register()) },
            _physical <- kernel::driver::Registration::new(c"misuse_mdev", module),
        })
    }
}

vfio::module! {
    type: Misuse,
    name: "misuse_mdev",
    authors: ["rvfio contributors"],
    description: "Wrong mediated driver, for tests",
    params: {
        leak: bool {
            default: false,
            description: "Leak the registration of the driver (default no)",
        },
    },
}
