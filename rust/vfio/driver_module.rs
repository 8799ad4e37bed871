// SPDX-License-Identifier: GPL-2.0-only

//! The module of a driver, with the parameters that all drivers have.

use kernel::ModuleMetadata;

use crate::device::Protocols;

/// The module of a driver.
///
/// [`module!`](crate::module) and [`module_pci_driver!`](crate::module_pci_driver) implement it.
pub trait DriverModule: ModuleMetadata {
    /// Returns the migration protocols that the administrator lets the devices offer.
    fn protocols() -> Protocols;

    /// Returns the size of the migration regions' data sections in bytes, a multiple of the page
    /// size.
    fn data_section_size() -> usize;

    /// Checks the module's parameters. If one is out of its range, logs the rule and returns
    /// `EINVAL`.
    ///
    /// The layer calls it before it registers the driver.
    fn check_parameters() -> kernel::error::Result;
}

/// Declares the module of a driver: the kernel crate's `module!`, with the parameters that all
/// drivers have.
///
/// `type` is the module's type. `params` are the driver's own parameters, which may have a `range`:
/// the module is not loaded if a value is out of it.
///
/// A variant driver uses [`module_pci_driver!`](crate::module_pci_driver).
#[macro_export]
macro_rules! module {
    (
        type: $type:ident,
        name: $name:tt,
        authors: [$($author:tt),+ $(,)?],
        description: $description:tt,
        $(params: {
            $($param:ident: $param_type:ident {
                default: $default:expr,
                $(range: $range:expr,)?
                description: $param_description:tt $(,)?
            }),* $(,)?
        } $(,)?)?
    ) => {
        ::kernel::prelude::module! {
            type: $type,
            name: $name,
            authors: [$($author),+],
            description: $description,
            license: "GPL",
            params: {
                data_section_kib: u32 {
                    default: 256,
                    description: "Size of the migration region's data section in KiB, 4 to 65536, a multiple of 4 (default 256)",
                },
                region_2018: bool {
                    default: true,
                    description: "Offer the migration region of November 2018 (default yes)",
                },
                region_v1: bool {
                    default: true,
                    description: "Offer the migration region of Linux 5.8 to 5.17, for QEMU 5.2 to 7.2 (default yes)",
                },
                v2: bool {
                    default: true,
                    description: "Offer the migration features of Linux 5.18 and later, for QEMU 8 and later (default yes)",
                },
                $($($param: $param_type {
                    default: $default,
                    description: $param_description,
                },)*)?
            },
        }

        impl $crate::DriverModule for $type {
            fn protocols() -> $crate::Protocols {
                $crate::Protocols {
                    region_2018: module_parameters::region_2018.value(),
                    region_v1: module_parameters::region_v1.value(),
                    v2: module_parameters::v2.value(),
                }
            }

            fn data_section_size() -> usize {
                // CAST: Widening. No overflow: checked to be at most 65536 KiB.
                module_parameters::data_section_kib.value() as usize * 1024
            }

            fn check_parameters() -> ::kernel::error::Result {
                let kib = module_parameters::data_section_kib.value();
                if !(4..=65536).contains(&kib) || kib % 4 != 0 {
                    ::kernel::pr_err!("data_section_kib must be a multiple of 4 from 4 to 65536\n");
                    return Err(::kernel::error::code::EINVAL);
                }
                $($($(
                    let range: ::core::ops::RangeInclusive<$param_type> = $range;
                    if !range.contains(&module_parameters::$param.value()) {
                        ::kernel::pr_err!(
                            "{} must be from {} to {}\n",
                            stringify!($param),
                            range.start(),
                            range.end()
                        );
                        return Err(::kernel::error::code::EINVAL);
                    }
                )?)*)?
                Ok(())
            }
        }
    };
}
