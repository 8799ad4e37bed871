// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is to be done when the calling thread returns to user mode, or exits:
 * the end of the system call that it is in.
 */

#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/task_work.h>

#include <rvfio/helpers.h>

struct at_return {
	struct callback_head work;
	void (*func)(void);
};

static void at_return(struct callback_head *work)
{
	struct at_return *this = container_of(work, struct at_return, work);

	this->func();
	kfree(this);
	/* Whoever unloads the module waits for the rest, see below. */
	module_put(THIS_MODULE);
}

/*
 * Has the calling thread call @func, a function of this module, at the end of
 * its system call. There is always memory for it, later if not at once.
 *
 * Returns -ESRCH for a kernel thread and one that is past its last call.
 */
int rvfio_at_return(void (*func)(void))
{
	struct at_return *this;
	int ret;

	if (current->flags & PF_KTHREAD)
		return -ESRCH;
	this = kmalloc(sizeof(*this), GFP_KERNEL | __GFP_NOFAIL);
	this->func = func;
	init_task_work(&this->work, at_return);
	__module_get(THIS_MODULE);
	ret = task_work_add(current, &this->work, TWA_RESUME);
	if (ret) {
		module_put(THIS_MODULE);
		kfree(this);
	}
	return ret;
}

/*
 * Waits for threads that have put the module in at_return(), but may not have
 * left it: they do so before they next sleep by themselves. For the module's
 * exit.
 */
void rvfio_at_return_synchronize(void)
{
	synchronize_rcu_tasks();
}
