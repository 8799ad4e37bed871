// SPDX-License-Identifier: GPL-2.0-only

//! Compares the bindings with what the kernel's compiler makes of the same structures.
//!
//! `layout_generated.rs` comes from `layout.c`; a difference fails the build.

use core::mem::{
    offset_of,
    size_of, //
};

use kernel::bindings as kernel_bindings;

use crate::bindings;

/// Sizes and offsets in bytes, from the C compiler.
///
/// `dead_code` cannot be expected: rustc 1.85 takes what only assertions use for dead, 1.97 does
/// not.
#[allow(dead_code, reason = "used at compile time only")]
#[expect(non_upper_case_globals, reason = "named after the C fields")]
mod c {
    include!(concat!(env!("RVFIO_OBJ"), "/rust/vfio/layout_generated.rs"));
}

/// Asserts the size of a structure.
macro_rules! assert_size {
    ($expected:ident, $type:ty) => {
        const _: () = assert!(
            size_of::<$type>() == c::$expected,
            concat!("bindgen and C differ: size of ", stringify!($type))
        );
    };
}

/// Asserts the offset of a field.
macro_rules! assert_offset {
    ($expected:ident, $type:ty, $field:ident) => {
        const _: () = assert!(
            offset_of!($type, $field) == c::$expected,
            concat!(
                "bindgen and C differ: ",
                stringify!($type),
                ".",
                stringify!($field)
            )
        );
    };
}

assert_size!(CORE_DEVICE_SIZE, bindings::vfio_pci_core_device);
assert_offset!(CORE_DEVICE_vdev, bindings::vfio_pci_core_device, vdev);
assert_offset!(CORE_DEVICE_pdev, bindings::vfio_pci_core_device, pdev);
assert_offset!(CORE_DEVICE_barmap, bindings::vfio_pci_core_device, barmap);
assert_offset!(
    CORE_DEVICE_bar_mmap_supported,
    bindings::vfio_pci_core_device,
    bar_mmap_supported
);
assert_offset!(CORE_DEVICE_irqlock, bindings::vfio_pci_core_device, irqlock);
assert_offset!(
    CORE_DEVICE_msix_bar,
    bindings::vfio_pci_core_device,
    msix_bar
);
assert_offset!(
    CORE_DEVICE_msix_size,
    bindings::vfio_pci_core_device,
    msix_size
);
assert_offset!(
    CORE_DEVICE_msix_offset,
    bindings::vfio_pci_core_device,
    msix_offset
);
// The bit fields, `reset_works` among them, lie right before this one.
assert_offset!(
    CORE_DEVICE_needs_reset,
    bindings::vfio_pci_core_device,
    needs_reset
);
assert_offset!(
    CORE_DEVICE_memory_lock,
    bindings::vfio_pci_core_device,
    memory_lock
);

assert_size!(VFIO_DEVICE_SIZE, bindings::vfio_device);
assert_offset!(VFIO_DEVICE_ops, bindings::vfio_device, ops);

assert_size!(MDEV_DEVICE_SIZE, bindings::mdev_device);
assert_offset!(MDEV_DEVICE_dev, bindings::mdev_device, dev);
assert_offset!(MDEV_DEVICE_type, bindings::mdev_device, type_);
assert_size!(MDEV_TYPE_SIZE, bindings::mdev_type);
assert_offset!(MDEV_TYPE_parent, bindings::mdev_type, parent);
assert_size!(MDEV_PARENT_SIZE, bindings::mdev_parent);
assert_size!(MDEV_DRIVER_SIZE, bindings::mdev_driver);
assert_offset!(MDEV_DRIVER_driver, bindings::mdev_driver, driver);

assert_size!(DEVICE_OPS_SIZE, bindings::vfio_device_ops);
assert_offset!(
    DEVICE_OPS_open_device,
    bindings::vfio_device_ops,
    open_device
);
assert_offset!(DEVICE_OPS_ioctl, bindings::vfio_device_ops, ioctl);
assert_offset!(
    DEVICE_OPS_device_feature,
    bindings::vfio_device_ops,
    device_feature
);

assert_size!(REGOPS_SIZE, bindings::vfio_pci_regops);
assert_offset!(
    REGOPS_add_capability,
    bindings::vfio_pci_regops,
    add_capability
);

assert_size!(PCI_DRIVER_SIZE, kernel_bindings::pci_driver);
assert_offset!(
    PCI_DRIVER_err_handler,
    kernel_bindings::pci_driver,
    err_handler
);
assert_offset!(
    PCI_DRIVER_driver_managed_dma,
    kernel_bindings::pci_driver,
    driver_managed_dma
);
assert_size!(PCI_DEVICE_ID_SIZE, kernel_bindings::pci_device_id);
assert_offset!(
    PCI_DEVICE_ID_override_only,
    kernel_bindings::pci_device_id,
    override_only
);
assert_offset!(
    PCI_DEV_current_state,
    kernel_bindings::pci_dev,
    current_state
);
assert_offset!(PCI_DEV_dev, kernel_bindings::pci_dev, dev);

assert_size!(SPARSE_AREA_SIZE, bindings::vfio_region_sparse_mmap_area);
assert_size!(REGION_HEADER_SIZE, bindings::vfio_migration_region_header);
