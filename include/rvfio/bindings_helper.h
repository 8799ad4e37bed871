/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Input of bindgen: the headers with items that rust/vfio needs and the kernel
 * crate does not bind.
 */
#ifndef RVFIO_BINDINGS_HELPER_H
#define RVFIO_BINDINGS_HELPER_H

/*
 * This one comes first, as in rust/bindings/bindings_helper.h of the kernel:
 * otherwise later headers define hrtimer types in a way that bindgen refuses.
 */
#include <linux/hrtimer_types.h>

/* vfio_pci_core.h declares its 64-bit accessors only if these are macros. */
#include <linux/io-64-nonatomic-lo-hi.h>

#include <linux/mdev.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>

#include <rvfio/helpers.h>
#include <uapi/linux/vfio_migration_region.h>

#endif /* RVFIO_BINDINGS_HELPER_H */
