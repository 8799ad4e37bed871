// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel's own compiler makes of the structures that Rust code reaches
 * into. Kbuild turns the assembly into constants, which rust/vfio/layout.rs
 * compares with the bindings of another compiler front end.
 */

#include <linux/kbuild.h>
#include <linux/mdev.h>
#include <linux/pci.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>

#include <uapi/linux/vfio_migration_region.h>

#define SIZE(tag, type)		DEFINE(tag##_SIZE, sizeof(struct type))
#define FIELD(tag, type, field)	OFFSET(tag##_##field, type, field)

int main(void)
{
	SIZE(CORE_DEVICE, vfio_pci_core_device);
	FIELD(CORE_DEVICE, vfio_pci_core_device, vdev);
	FIELD(CORE_DEVICE, vfio_pci_core_device, pdev);
	FIELD(CORE_DEVICE, vfio_pci_core_device, barmap);
	FIELD(CORE_DEVICE, vfio_pci_core_device, bar_mmap_supported);
	FIELD(CORE_DEVICE, vfio_pci_core_device, irqlock);
	FIELD(CORE_DEVICE, vfio_pci_core_device, msix_bar);
	FIELD(CORE_DEVICE, vfio_pci_core_device, msix_size);
	FIELD(CORE_DEVICE, vfio_pci_core_device, msix_offset);
	FIELD(CORE_DEVICE, vfio_pci_core_device, needs_reset);
	FIELD(CORE_DEVICE, vfio_pci_core_device, memory_lock);

	SIZE(VFIO_DEVICE, vfio_device);
	FIELD(VFIO_DEVICE, vfio_device, ops);

	SIZE(MDEV_DEVICE, mdev_device);
	FIELD(MDEV_DEVICE, mdev_device, dev);
	FIELD(MDEV_DEVICE, mdev_device, type);
	SIZE(MDEV_TYPE, mdev_type);
	FIELD(MDEV_TYPE, mdev_type, parent);
	SIZE(MDEV_PARENT, mdev_parent);
	SIZE(MDEV_DRIVER, mdev_driver);
	FIELD(MDEV_DRIVER, mdev_driver, driver);

	SIZE(DEVICE_OPS, vfio_device_ops);
	FIELD(DEVICE_OPS, vfio_device_ops, open_device);
	FIELD(DEVICE_OPS, vfio_device_ops, ioctl);
	FIELD(DEVICE_OPS, vfio_device_ops, device_feature);

	SIZE(REGOPS, vfio_pci_regops);
	FIELD(REGOPS, vfio_pci_regops, add_capability);

	SIZE(PCI_DRIVER, pci_driver);
	FIELD(PCI_DRIVER, pci_driver, err_handler);
	FIELD(PCI_DRIVER, pci_driver, driver_managed_dma);
	SIZE(PCI_DEVICE_ID, pci_device_id);
	FIELD(PCI_DEVICE_ID, pci_device_id, override_only);
	FIELD(PCI_DEV, pci_dev, current_state);
	FIELD(PCI_DEV, pci_dev, dev);

	SIZE(SPARSE_AREA, vfio_region_sparse_mmap_area);
	SIZE(REGION_HEADER, vfio_migration_region_header);

	return 0;
}
