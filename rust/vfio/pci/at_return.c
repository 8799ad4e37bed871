// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls a function when the calling thread returns to user mode, or exits: at
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
	/* The module's exit waits for the rest of this function, see below. */
	module_put(THIS_MODULE);
}

/*
 * Has the calling thread call @func, a function of this module, at the end of
 * its system call. Waits for memory if there is none.
 *
 * Returns -ESRCH for a kernel thread, and for a thread that exits and has run
 * its last such work.
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
 * Waits for threads that have put the module in at_return() but may still be in
 * that function: they leave it before they next sleep voluntarily. For the
 * module's exit.
 */
void rvfio_at_return_synchronize(void)
{
	synchronize_rcu_tasks();
}
