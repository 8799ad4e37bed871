// SPDX-License-Identifier: GPL-2.0-only
/*
 * Init and exit of rvfio.ko, whose crates have no module!.
 */

#include <linux/module.h>

#include <rvfio/helpers.h>

static int __init rvfio_init(void)
{
	int ret;

	rvfio_pins_init();
	ret = rvfio_leaks_watch();
	if (ret)
		return ret;
	ret = rvfio_sleep_watch();
	if (ret)
		rvfio_leaks_unwatch();
	return ret;
}
module_init(rvfio_init);

static void __exit rvfio_exit(void)
{
	rvfio_sleep_unwatch();
	rvfio_leaks_unwatch();
	rvfio_at_return_synchronize();
}
module_exit(rvfio_exit);
