// SPDX-License-Identifier: GPL-2.0-only
/*
 * C functions for what Rust cannot call: inline functions, macros, locks that
 * the kernel crate does not wrap.
 */

#include <linux/anon_inodes.h>
#include <linux/debugfs.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/iova_bitmap.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/ratelimit.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/uaccess.h>
#include <linux/sysfs.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>
#include <linux/workqueue.h>

#include <rvfio/helpers.h>

void rvfio_get_device(struct vfio_device *vdev)
{
	get_device(&vdev->device);
}

void rvfio_put_device(struct vfio_device *vdev)
{
	vfio_put_device(vdev);
}

bool rvfio_precopy_info_v2(struct vfio_device *vdev)
{
	return vdev->precopy_info_v2;
}

/*
 * Does what vfio_check_precopy_ioctl() does, for a device that may go away
 * while user memory is copied: the caller has read @v2 from the device before.
 */
int rvfio_check_precopy_ioctl(bool v2, unsigned int cmd, unsigned long arg,
			      struct vfio_precopy_info *info)
{
	unsigned long minsz = offsetofend(struct vfio_precopy_info, dirty_bytes);

	if (cmd != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (copy_from_user(info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info->argsz < minsz)
		return -EINVAL;
	if (v2)
		info->flags = 0;
	return 0;
}

/* A macro in kernels with lockdep. */
int rvfio_mutex_lock_killable(struct mutex *mutex)
{
	return mutex_lock_killable(mutex);
}

/* Whether the caller is being killed. */
bool rvfio_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/*
 * Lets the calling kernel thread take SIGKILL, which only ends its waits. Other
 * threads share their handlers with their process, which the signal would kill.
 */
int rvfio_allow_kill(void)
{
	if (!(current->flags & PF_KTHREAD))
		return -EOPNOTSUPP;
	allow_signal(SIGKILL);
	return 0;
}

void rvfio_disallow_kill(void)
{
	disallow_signal(SIGKILL);
}

/* Makes a state that counts what it suppresses, for the caller to report. */
void rvfio_ratelimit_init(struct ratelimit_state *state)
{
	ratelimit_default_init(state);
	ratelimit_set_flags(state, RATELIMIT_MSG_ON_RELEASE);
}

u32 rvfio_ratelimit_reset_miss(struct ratelimit_state *state)
{
	return ratelimit_state_reset_miss(state);
}

/* Makes a file that is a stream: it has no position. */
struct file *rvfio_stream_file(const char *name,
			       const struct file_operations *fops, void *data,
			       int flags)
{
	struct file *file = anon_inode_getfile(name, fops, data, flags);

	if (!IS_ERR(file))
		stream_open(file_inode(file), file);
	return file;
}

/* These exist, and fail, in a kernel without debugfs too. */
struct dentry *rvfio_debugfs_directory(const char *name, struct dentry *parent)
{
	return debugfs_create_dir(name, parent);
}

struct dentry *rvfio_debugfs_file(const char *name, struct dentry *parent,
				  void *data, const struct file_operations *fops)
{
	return debugfs_create_file(name, 0400, parent, data, fops);
}

void rvfio_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}

/* Wakes the device; vfio_pci_core does the same around its own accesses. */
int rvfio_pm_get(struct vfio_pci_core_device *vdev)
{
	return pm_runtime_resume_and_get(&vdev->pdev->dev);
}

void rvfio_pm_put(struct vfio_pci_core_device *vdev)
{
	pm_runtime_put(&vdev->pdev->dev);
}

/*
 * Brings a function to D0 after its user has written another state to
 * PCI_PM_CTRL, as vfio_pci_set_power_state() does, which is not exported.
 */
int rvfio_power_on(struct vfio_pci_core_device *vdev)
{
	struct pci_dev *pdev = vdev->pdev;
	bool needs_restore;
	int ret;

	down_write(&vdev->memory_lock);
	needs_restore = vdev->needs_pm_restore &&
			pdev->current_state >= PCI_D3hot;
	ret = pci_set_power_state(pdev, PCI_D0);
	if (!ret && needs_restore) {
		pci_load_and_free_saved_state(pdev, &vdev->pm_save);
		pci_restore_state(pdev);
	}
	up_write(&vdev->memory_lock);

	return ret;
}

/*
 * Restores a function's configuration after a reset that did not: as the PCI
 * core saved it last, enabled, and a bus master if its driver has made it one.
 */
void rvfio_restore_config(struct pci_dev *pdev)
{
	pci_cfg_access_lock(pdev);
	pci_restore_state(pdev);
	if (pci_reenable_device(pdev))
		pci_warn(pdev, "cannot be enabled again after an error\n");
	else if (pdev->is_busmaster)
		pci_set_master(pdev);
	pci_cfg_access_unlock(pdev);
}

/* Keeps the user from changing PCI_COMMAND and from using the BARs. */
void rvfio_memory_lock(struct vfio_pci_core_device *vdev)
{
	down_write(&vdev->memory_lock);
}

void rvfio_memory_unlock(struct vfio_pci_core_device *vdev)
{
	up_write(&vdev->memory_lock);
}

/*
 * Sets @bits in PCI_COMMAND and returns those that were clear. The caller must
 * clear only these: PCI_COMMAND_INTX_DISABLE flips in the interrupt handler
 * under irqlock, so the whole word must never be saved and restored.
 */
u16 rvfio_command_set(struct vfio_pci_core_device *vdev, u16 bits)
{
	unsigned long flags;
	u16 cmd, set;

	spin_lock_irqsave(&vdev->irqlock, flags);
	pci_read_config_word(vdev->pdev, PCI_COMMAND, &cmd);
	set = bits & ~cmd;
	if (set)
		pci_write_config_word(vdev->pdev, PCI_COMMAND, cmd | set);
	spin_unlock_irqrestore(&vdev->irqlock, flags);

	return set;
}

void rvfio_command_clear(struct vfio_pci_core_device *vdev, u16 bits)
{
	unsigned long flags;
	u16 cmd;

	if (!bits)
		return;

	spin_lock_irqsave(&vdev->irqlock, flags);
	pci_read_config_word(vdev->pdev, PCI_COMMAND, &cmd);
	pci_write_config_word(vdev->pdev, PCI_COMMAND, cmd & ~bits);
	spin_unlock_irqrestore(&vdev->irqlock, flags);
}

static int count_device(struct device *dev, void *count)
{
	++*(unsigned int *)count;
	return 0;
}

bool rvfio_group_is_singleton(struct iommu_group *group)
{
	unsigned int count = 0;

	iommu_group_for_each_dev(group, &count, count_device);
	return count == 1;
}

/*
 * Whether the device is bound to an iommufd but attached to none of its address
 * spaces, and so cut off from memory.
 */
bool rvfio_is_unattached(struct vfio_device *vdev)
{
#if IS_ENABLED(CONFIG_IOMMUFD)
	return vdev->iommufd_device && !vdev->iommufd_attached;
#else
	return false;
#endif
}

/* Whether an iommufd has the device, and no container. */
bool rvfio_is_of_iommufd(struct vfio_device *vdev)
{
#if IS_ENABLED(CONFIG_IOMMUFD)
	return vdev->iommufd_device || vdev->iommufd_access;
#else
	return false;
#endif
}

struct iommu_domain *rvfio_paging_domain_alloc(struct device *dev)
{
	return iommu_paging_domain_alloc(dev);
}

int rvfio_iommu_map_page(struct iommu_domain *domain, unsigned long iova,
			 struct page *page)
{
	return iommu_map(domain, iova, page_to_phys(page), PAGE_SIZE,
			 IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE, GFP_KERNEL);
}

/*
 * User space may write the page through a mapping meanwhile. So the copies are
 * made here: the Rust compiler may assume that nobody writes.
 */
void rvfio_page_read(struct page *page, size_t offset, void *to, size_t len)
{
	memcpy_from_page(to, page, offset, len);
}

void rvfio_page_write(struct page *page, size_t offset, const void *from,
		      size_t len)
{
	memcpy_to_page(page, offset, from, len);
}

/*
 * Copies a register's value to or from the user, little-endian; @width in
 * bytes. The sizes are constants, so that each copy is a single instruction.
 */
int rvfio_put_user(void *to, u64 value, u32 width)
{
	switch (width) {
	case 1:
		return put_user((u8)value, (u8 __user *)to);
	case 2:
		return put_user((u16)value, (u16 __user *)to);
	case 4:
		return put_user((u32)value, (u32 __user *)to);
	case 8:
		return put_user(value, (u64 __user *)to);
	default:
		return -EINVAL;
	}
}

int rvfio_get_user(const void *from, u64 *value, u32 width)
{
	switch (width) {
	case 1:
		return get_user(*value, (const u8 __user *)from);
	case 2:
		return get_user(*value, (const u16 __user *)from);
	case 4:
		return get_user(*value, (const u32 __user *)from);
	case 8:
		return get_user(*value, (const u64 __user *)from);
	default:
		return -EINVAL;
	}
}

ssize_t rvfio_sysfs_emit(char *buf, const char *text)
{
	return sysfs_emit(buf, "%s\n", text);
}

struct eventfd_ctx *rvfio_eventfd_get(int fd)
{
	return eventfd_ctx_fdget(fd);
}

void rvfio_eventfd_put(struct eventfd_ctx *ctx)
{
	eventfd_ctx_put(ctx);
}

void rvfio_eventfd_signal(struct eventfd_ctx *ctx)
{
	eventfd_signal(ctx);
}

/* Makes a queue whose items may sleep for long and run in parallel. */
struct workqueue_struct *rvfio_workqueue_alloc(const char *name)
{
	return alloc_workqueue("%s", WQ_UNBOUND, 0, name);
}

/* Drivers need not import the namespace of iova_bitmap_set() this way. */
void rvfio_iova_bitmap_set(struct iova_bitmap *bitmap, unsigned long iova,
			   size_t length)
{
	iova_bitmap_set(bitmap, iova, length);
}
