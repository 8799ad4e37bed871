// SPDX-License-Identifier: GPL-2.0-only
/*
 * Adds a power management capability to a PCI function that has none, so that
 * QEMU's edu can be put to D3hot. It replaces the operations of the bus, as
 * aer_inject does; a later scan of the bus finds the capability.
 *
 * In D3hot the function answers no memory accesses and is no bus master.
 */

#include <linux/module.h>
#include <linux/pci.h>

/* The edu has nothing at this offset. */
#define CAPABILITY 0x80

static ushort bus_number = 1;
module_param_named(bus, bus_number, ushort, 0444);
MODULE_PARM_DESC(bus, "Number of the bus whose first function gets the capability (default 1)");

static struct pci_bus *bus;
static struct pci_ops *real, fake;
static u16 state, command;

static int read_config(struct pci_bus *on, unsigned int devfn, int where,
		       int size, u32 *value)
{
	u32 whole, next;
	int ret;

	if (devfn)
		return real->read(on, devfn, where, size, value);
	ret = real->read(on, devfn, where & ~3, 4, &whole);
	if (ret)
		return ret;

	switch (where & ~3) {
	case PCI_CAPABILITY_LIST:
		whole = (whole & ~0xff) | CAPABILITY;
		break;
	case CAPABILITY:
		ret = real->read(on, devfn, PCI_CAPABILITY_LIST, 1, &next);
		if (ret)
			return ret;
		/* Version 3 of the specification, without D1, D2 and PME. */
		whole = PCI_CAP_ID_PM | next << 8 | 3 << 16;
		break;
	case CAPABILITY + PCI_PM_CTRL:
		whole = state;
		break;
	}
	*value = whole >> (where & 3) * 8;
	if (size < 4)
		*value &= (1 << size * 8) - 1;
	return 0;
}

static int write_config(struct pci_bus *on, unsigned int devfn, int where,
			int size, u32 value)
{
	u32 now;

	if (devfn || where < CAPABILITY || where >= CAPABILITY + PCI_PM_SIZEOF)
		return real->write(on, devfn, where, size, value);
	if (where != CAPABILITY + PCI_PM_CTRL)
		return 0;

	value &= PCI_PM_CTRL_STATE_MASK;
	if (value && !state) {
		real->read(on, devfn, PCI_COMMAND, 2, &now);
		command = now;
		real->write(on, devfn, PCI_COMMAND, 2,
			    now & ~(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER));
	} else if (!value && state) {
		real->write(on, devfn, PCI_COMMAND, 2, command);
	}
	state = value;
	return 0;
}

static int __init fake_pm_init(void)
{
	bus = pci_find_bus(0, bus_number);
	if (!bus)
		return -ENODEV;
	fake = *bus->ops;
	fake.read = read_config;
	fake.write = write_config;
	real = bus->ops;
	pci_bus_set_ops(bus, &fake);
	return 0;
}
module_init(fake_pm_init);

static void __exit fake_pm_exit(void)
{
	pci_bus_set_ops(bus, real);
}
module_exit(fake_pm_exit);

MODULE_DESCRIPTION("A power management capability for a function that has none");
MODULE_LICENSE("GPL");
