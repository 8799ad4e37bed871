// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registrations of drivers that their modules leak. A module's code is freed
 * when it is unloaded, and its bus must not call it then. So this file
 * unregisters what is still registered when the module's own exit has returned.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/printk.h>

#include <rvfio/helpers.h>

static LIST_HEAD(registrations);
static DEFINE_MUTEX(registrations_lock);

void rvfio_registration_add(struct rvfio_registration *registration,
			    struct module *owner,
			    void (*end)(struct rvfio_registration *))
{
	registration->owner = owner;
	registration->end = end;
	mutex_lock(&registrations_lock);
	list_add(&registration->node, &registrations);
	mutex_unlock(&registrations_lock);
}

void rvfio_registration_remove(struct rvfio_registration *registration)
{
	mutex_lock(&registrations_lock);
	list_del_init(&registration->node);
	mutex_unlock(&registrations_lock);
}

static struct rvfio_registration *take_registration(struct module *owner)
{
	struct rvfio_registration *registration, *found = NULL;

	mutex_lock(&registrations_lock);
	list_for_each_entry(registration, &registrations, node) {
		if (registration->owner == owner) {
			found = registration;
			list_del_init(&found->node);
			break;
		}
	}
	mutex_unlock(&registrations_lock);
	return found;
}

/*
 * GOING comes after a module's exit or failed init, while its code still
 * exists.
 */
static int module_notify(struct notifier_block *nb, unsigned long event,
			 void *data)
{
	struct rvfio_registration *registration;
	struct module *module = data;

	if (event != MODULE_STATE_GOING)
		return NOTIFY_DONE;
	while ((registration = take_registration(module))) {
		pr_warn("%s has leaked its driver's registration\n",
			module->name);
		registration->end(registration);
	}
	return NOTIFY_DONE;
}

static struct notifier_block module_notifier = {
	.notifier_call = module_notify,
};

int rvfio_leaks_watch(void)
{
	return register_module_notifier(&module_notifier);
}

void rvfio_leaks_unwatch(void)
{
	unregister_module_notifier(&module_notifier);
}
