// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeps the host's sleep and the use of devices apart. A device may lose its
 * state while it sleeps, and its guest would not know.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/printk.h>
#include <linux/suspend.h>

#include <rvfio/helpers.h>

/*
 * How many devices are in use; -1 while the host goes to sleep, until it wakes.
 */
static atomic_t in_use;

int rvfio_sleep_exclude(void)
{
	return atomic_inc_unless_negative(&in_use) ? 0 : -EBUSY;
}

void rvfio_sleep_allow(void)
{
	atomic_dec(&in_use);
}

static int sleep_notify(struct notifier_block *nb, unsigned long event,
			void *data)
{
	int count;

	switch (event) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		count = atomic_cmpxchg(&in_use, 0, -1);
		if (count > 0) {
			pr_warn("the system cannot sleep: %d device(s) in use would lose their state\n",
				count);
			return notifier_from_errno(-EBUSY);
		}
		break;
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		atomic_cmpxchg(&in_use, -1, 0);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block sleep_notifier = {
	.notifier_call = sleep_notify,
};

int rvfio_sleep_watch(void)
{
	return register_pm_notifier(&sleep_notifier);
}

void rvfio_sleep_unwatch(void)
{
	unregister_pm_notifier(&sleep_notifier);
}
