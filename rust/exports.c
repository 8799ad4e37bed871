// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exports the Rust symbols of the library module, as rust/exports.c of the
 * kernel does for its own crates. All of them are for GPL modules only.
 */

#include <linux/export.h>
#include <linux/module.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "exports_generated.h"

MODULE_DESCRIPTION("VFIO live migration in Rust: migration core and VFIO abstractions");
MODULE_AUTHOR("rvfio contributors");
MODULE_LICENSE("GPL");
#if IS_ENABLED(CONFIG_IOMMUFD_DRIVER)
/* iova_bitmap_set() */
MODULE_IMPORT_NS("IOMMUFD");
#endif
