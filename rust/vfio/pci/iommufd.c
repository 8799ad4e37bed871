// SPDX-License-Identifier: GPL-2.0-only
/*
 * An access to the address space that an iommufd has attached a device to: the
 * way by which its driver reads the user's memory.
 */

#include <linux/err.h>
#include <linux/iommufd.h>
#include <linux/module.h>
#include <linux/sched.h>

#include <rvfio/helpers.h>

#if IS_ENABLED(CONFIG_IOMMUFD)

MODULE_IMPORT_NS("IOMMUFD");

/* No page stays pinned, so there is nothing to do for a mapping that ends. */
static void access_unmap(void *data, unsigned long iova, unsigned long length)
{
}

static const struct iommufd_access_ops access_ops = {
	.unmap = access_unmap,
};

/* Makes an access that is attached to nothing, or returns an error pointer. */
struct iommufd_access *rvfio_access_create(struct iommufd_ctx *ictx)
{
	u32 id;

	return iommufd_access_create(ictx, &access_ops, NULL, &id);
}

void rvfio_access_destroy(struct iommufd_access *access)
{
	iommufd_access_destroy(access);
}

/* Attaches the access to address space @id; fails if that is something else. */
int rvfio_access_attach(struct iommufd_access *access, u32 id)
{
	return iommufd_access_attach(access, id);
}

/* The access must be attached. */
void rvfio_access_detach(struct iommufd_access *access)
{
	iommufd_access_detach(access);
}

/* Copies the user's memory; it may change meanwhile. -ENOENT if unmapped. */
int rvfio_access_read(struct iommufd_access *access, unsigned long iova,
		      void *to, size_t len)
{
	unsigned int flags = IOMMUFD_ACCESS_RW_READ;

	if (!current->mm)
		flags |= IOMMUFD_ACCESS_RW_KTHREAD;
	return iommufd_access_rw(access, iova, to, len, flags);
}

#else

/* Without iommufd nobody has an access. */
int rvfio_access_read(struct iommufd_access *access, unsigned long iova,
		      void *to, size_t len)
{
	return -EOPNOTSUPP;
}

#endif
