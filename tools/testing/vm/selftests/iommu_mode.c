// SPDX-License-Identifier: GPL-2.0-only
/*
 * Linked with the kernel's VFIO selftests. Some of them have no option for the
 * IOMMU mode and take their library's default, iommufd, which the stock kernel
 * is built without. RVFIO_IOMMU_MODE names another.
 */

#include <stdlib.h>

extern const char *default_iommu_mode;

static void __attribute__((constructor)) set_mode(void)
{
	const char *mode = getenv("RVFIO_IOMMU_MODE");

	if (mode)
		default_iommu_mode = mode;
}
