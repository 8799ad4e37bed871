/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * C functions for what Rust cannot call: inline functions, macros, locks that
 * the kernel crate does not wrap. rust/vfio/helpers.c implements them unless a
 * comment names another file; rust/vfio/trace.c implements the trace events.
 */
#ifndef RVFIO_HELPERS_H
#define RVFIO_HELPERS_H

#include <linux/types.h>

struct dentry;
struct device;
struct eventfd_ctx;
struct file;
struct file_operations;
struct iommu_domain;
struct iommu_group;
struct iommufd_access;
struct iommufd_ctx;
struct iova_bitmap;
struct mutex;
struct page;
struct pci_dev;
struct ratelimit_state;
struct vfio_device;
struct vfio_pci_core_device;
struct vfio_precopy_info;
struct workqueue_struct;

void rvfio_get_device(struct vfio_device *vdev);
void rvfio_put_device(struct vfio_device *vdev);
bool rvfio_precopy_info_v2(struct vfio_device *vdev);
int rvfio_check_precopy_ioctl(bool v2, unsigned int cmd, unsigned long arg,
			      struct vfio_precopy_info *info);
struct file *rvfio_stream_file(const char *name,
			       const struct file_operations *fops, void *data,
			       int flags);

struct dentry *rvfio_debugfs_directory(const char *name, struct dentry *parent);
struct dentry *rvfio_debugfs_file(const char *name, struct dentry *parent,
				  void *data, const struct file_operations *fops);
void rvfio_debugfs_remove(struct dentry *dentry);

int rvfio_mutex_lock_killable(struct mutex *mutex);
bool rvfio_fatal_signal_pending(void);
int rvfio_allow_kill(void);
void rvfio_disallow_kill(void);

void rvfio_ratelimit_init(struct ratelimit_state *state);
u32 rvfio_ratelimit_reset_miss(struct ratelimit_state *state);

/* rust/vfio/leaks.c */
struct rvfio_registration {
	struct list_head node;
	struct module *owner;
	void (*end)(struct rvfio_registration *registration);
};

void rvfio_registration_add(struct rvfio_registration *registration,
			    struct module *owner,
			    void (*end)(struct rvfio_registration *));
void rvfio_registration_remove(struct rvfio_registration *registration);
int rvfio_leaks_watch(void);
void rvfio_leaks_unwatch(void);

/* rust/vfio/pci/at_return.c */
int rvfio_at_return(void (*func)(void));
void rvfio_at_return_synchronize(void);

/* rust/vfio/pci/iommufd.c; all but the last need CONFIG_IOMMUFD */
struct iommufd_access *rvfio_access_create(struct iommufd_ctx *ictx);
void rvfio_access_destroy(struct iommufd_access *access);
int rvfio_access_attach(struct iommufd_access *access, u32 id);
void rvfio_access_detach(struct iommufd_access *access);
int rvfio_access_read(struct iommufd_access *access, unsigned long iova,
		      void *to, size_t len);

/* rust/vfio/pci/pins.rs */
void rvfio_pins_init(void);

/* rust/vfio/device/sleep.c */
int rvfio_sleep_exclude(void);
void rvfio_sleep_allow(void);
int rvfio_sleep_watch(void);
void rvfio_sleep_unwatch(void);

int rvfio_pm_get(struct vfio_pci_core_device *vdev);
void rvfio_pm_put(struct vfio_pci_core_device *vdev);
int rvfio_power_on(struct vfio_pci_core_device *vdev);
void rvfio_restore_config(struct pci_dev *pdev);

void rvfio_memory_lock(struct vfio_pci_core_device *vdev);
void rvfio_memory_unlock(struct vfio_pci_core_device *vdev);
u16 rvfio_command_set(struct vfio_pci_core_device *vdev, u16 bits);
void rvfio_command_clear(struct vfio_pci_core_device *vdev, u16 bits);

bool rvfio_group_is_singleton(struct iommu_group *group);
bool rvfio_is_unattached(struct vfio_device *vdev);
bool rvfio_is_of_iommufd(struct vfio_device *vdev);
struct iommu_domain *rvfio_paging_domain_alloc(struct device *dev);
int rvfio_iommu_map_page(struct iommu_domain *domain, unsigned long iova,
			 struct page *page);

void rvfio_page_read(struct page *page, size_t offset, void *to, size_t len);
void rvfio_page_write(struct page *page, size_t offset, const void *from,
		      size_t len);

int rvfio_put_user(void *to, u64 value, u32 width);
int rvfio_get_user(const void *from, u64 *value, u32 width);

ssize_t rvfio_sysfs_emit(char *buf, const char *text);

struct eventfd_ctx *rvfio_eventfd_get(int fd);
void rvfio_eventfd_put(struct eventfd_ctx *ctx);
void rvfio_eventfd_signal(struct eventfd_ctx *ctx);

struct workqueue_struct *rvfio_workqueue_alloc(const char *name);

void rvfio_iova_bitmap_set(struct iova_bitmap *bitmap, unsigned long iova,
			   size_t length);

void rvfio_trace_state(struct device *dev, u32 protocol, u32 from, u32 to);
void rvfio_trace_buffer(struct device *dev, bool load, u64 bytes);
void rvfio_trace_dirty(struct device *dev, u64 iova, u64 bytes);
void rvfio_trace_dirty_query(struct device *dev, u64 pages);
void rvfio_trace_private_dma(struct device *dev, s64 microseconds, int error);
void rvfio_trace_unmap(struct device *dev, u64 iova, u64 bytes, u32 round,
		       s64 microseconds);
void rvfio_trace_refused(struct device *dev, u8 bar, u64 offset, u64 value,
			 int error);

#endif /* RVFIO_HELPERS_H */
