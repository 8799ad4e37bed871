// SPDX-License-Identifier: GPL-2.0-only

//! The module of a variant driver.

/// Declares a module that is a variant driver: its table of devices, its name and its parameters.
///
/// `type` is the driver's type, which implements [`Operations`](crate::pci::Operations). `devices`
/// are [`DeviceId`](crate::pci::DeviceId)s. All else is as for [`module!`](crate::module).
///
/// ```ignore
/// vfio::module_pci_driver! {
///     type: FooVfioPci,
///     name: "foo_vfio_pci",
///     authors: ["Author"],
///     description: "VFIO PCI variant driver of foo",
///     devices: [DeviceId::new(0x1234, 0x5678)],
///     params: {
///         patience_ms: u32 {
///             default: 10,
///             range: 1..=100,
///             description: "Longest wait for foo, in ms, 1 to 100 (default 10)",
///         },
///     },
/// }
/// ```
#[macro_export]
macro_rules! module_pci_driver {
    (
        type: $driver:ident,
        name: $name:tt,
        authors: $authors:tt,
        description: $description:tt,
        devices: $devices:tt,
        $(params: $params:tt $(,)?)?
    ) => {
        $crate::pci_device_table!(DEVICES, $devices);

        /// The module.
        #[::kernel::prelude::pin_data]
        struct DriverModule {
            #[pin]
            _driver: $crate::pci::Registration<$driver>,
        }

        impl ::kernel::InPlaceModule for DriverModule {
            fn init(
                module: &'static ::kernel::ThisModule,
            ) -> impl ::kernel::prelude::PinInit<Self, ::kernel::error::Error> {
                ::kernel::prelude::try_pin_init!(Self {
                    _driver <- $crate::pci::Registration::new(module, &DEVICES),
                })
            }
        }

        $crate::module! {
            type: DriverModule,
            name: $name,
            authors: $authors,
            description: $description,
            $(params: $params,)?
        }
    };
}
