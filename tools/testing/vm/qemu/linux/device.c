// SPDX-License-Identifier: GPL-2.0-only
/*
 * The edu device through uio_pci_generic: registers by the BAR's file in sysfs,
 * interrupts (INTx; this driver knows no other) by /dev/uio0.
 */

#include "device.h"
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#define ID		"1234 11e8"
#define DRIVER		"/sys/bus/pci/drivers/uio_pci_generic"
/* The driver has no IDs of its own, and the guest has no other device. */
#define PATTERN		DRIVER "/0000:*"
#define UIO		"/dev/uio0"
#define EVENT		"/sys/class/uio/uio0/event"
#define BAR_SIZE	(1 << 20)

/* Long enough for a guest on a busy machine. */
#define PATIENCE_MS	60000

/* The addresses that an edu with QEMU's default reaches. */
#define DMA_MASK	((1ULL << 28) - 1)

static int open_in(const char *directory, const char *name, int flags)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

/* Returns the number of interrupts that the driver has counted. */
static uint32_t read_count(void)
{
	FILE *event = fopen(EVENT, "r");
	uint32_t count;

	if (!event || fscanf(event, "%" SCNu32, &count) != 1)
		die(EVENT);
	fclose(event);
	return count;
}

/* Prints the registers when an interrupt does not come. */
static void report_lost(const struct device *device, uint32_t cause)
{
	uint32_t command = 0;

	if (pread(device->config, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
		die("reading the command register");
	printf("guest: no interrupt %#x, %" PRIu32 " so far: PCI status and command %#x,",
	       cause, read_count(), command);
	printf(" interrupt status %#x, DMA command %#x\n",
	       device_read(device, EDU_INTERRUPT_STATUS), device_read(device, EDU_DMA_COMMAND));
}

/* Changes bits of the command register, and keeps the kernel's other bits. */
static void change_command(struct device *device, uint16_t set, uint16_t clear)
{
	uint16_t command;

	if (pread(device->config, &command, 2, PCI_COMMAND) != 2)
		die("reading the command register");
	command = (command | set) & ~clear;
	if (pwrite(device->config, &command, 2, PCI_COMMAND) != 2)
		die("writing the command register");
}

void device_open(struct device *device)
{
	const char *directory;
	glob_t found;
	int bar;

	if (!write_file(DRIVER "/new_id", ID))
		die(DRIVER);
	while (glob(PATTERN, 0, NULL, &found)) {
		globfree(&found);
		usleep(100000);
	}
	directory = found.gl_pathv[0];
	memset(device, 0, sizeof(*device));
	/* The kernel makes the node a moment after the driver has the device. */
	while ((device->uio = open(UIO, O_RDWR | O_CLOEXEC)) < 0)
		usleep(10000);
	device->last = read_count();
	device->config = open_in(directory, "config", O_RDWR);
	bar = open_in(directory, "resource0", O_RDWR | O_SYNC);
	device->registers = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
	if (device->registers == MAP_FAILED)
		die("mapping the registers");
	close(bar);
	globfree(&found);
	change_command(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
		       PCI_COMMAND_INTX_DISABLE);
	device_write(device, EDU_STATUS, FACTORIAL_INTERRUPT);
}

uint32_t device_read(const struct device *device, size_t reg)
{
	return *(volatile uint32_t *)(device->registers + reg);
}

void device_write(struct device *device, size_t reg, uint32_t value)
{
	*(volatile uint32_t *)(device->registers + reg) = value;
}

static void device_write64(struct device *device, size_t reg, uint64_t value)
{
	*(volatile uint64_t *)(device->registers + reg) = value;
}

bool device_wait_interrupt(struct device *device, uint32_t cause)
{
	struct pollfd ready = { .fd = device->uio, .events = POLLIN };
	uint32_t count, others;
	int events;

	device->expected++;
	events = poll(&ready, 1, PATIENCE_MS);
	if (events < 0)
		die("waiting for an interrupt");
	if (events) {
		if (read(device->uio, &count, sizeof(count)) != sizeof(count))
			die(UIO);
		device->seen += count - device->last;
		device->last = count;
	} else {
		device->lost++;
		report_lost(device, cause);
	}
	/*
	 * This must be the first access. At any access QEMU takes the interrupt for
	 * served. If the device still asserted it then, it would come again, perhaps when
	 * it has no cause any more and the driver does not take it.
	 */
	device_write(device, EDU_INTERRUPT_ACKNOWLEDGE, cause);
	others = device_read(device, EDU_INTERRUPT_STATUS);
	/* There must be no other cause; clear any, so that the next wait is right. */
	if (others)
		device_write(device, EDU_INTERRUPT_ACKNOWLEDGE, others);
	/* The driver's handler has disabled INTx, since it is level triggered. */
	change_command(device, 0, PCI_COMMAND_INTX_DISABLE);
	return events && !others;
}

bool device_transfer(struct device *device, uint64_t from, uint64_t to,
		     size_t count, uint32_t command)
{
	device_write64(device, EDU_DMA_SOURCE, from);
	device_write64(device, EDU_DMA_DESTINATION, to);
	device_write64(device, EDU_DMA_COUNT, count);
	device_write64(device, EDU_DMA_COMMAND, command | RUN | DMA_INTERRUPT);
	return device_wait_interrupt(device, CAUSE_DMA);
}

static uint64_t address_of(const void *memory)
{
	const uint64_t present = 1ULL << 63, frame = (1ULL << 55) - 1;
	const size_t page = sysconf(_SC_PAGESIZE);
	off_t at = (uintptr_t)memory / page * sizeof(uint64_t);
	uint64_t entry;
	int fd = open_in("/proc/self", "pagemap", O_RDONLY);

	if (pread(fd, &entry, sizeof(entry), at) != sizeof(entry) || !(entry & present))
		die("finding memory for DMA");
	close(fd);
	return (entry & frame) * page;
}

uint8_t *device_memory(size_t size, uint64_t *address)
{
	uint8_t *memory;

	/* A huge page is contiguous and is not moved. */
	if (!write_file("/proc/sys/vm/nr_hugepages", "1"))
		die("asking for a huge page");
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_LOCKED, -1, 0);
	if (memory == MAP_FAILED)
		die("mapping a huge page");
	memset(memory, 0, size);
	*address = address_of(memory);
	if (*address + size - 1 > DMA_MASK) {
		errno = ERANGE;
		die("the device does not reach the huge page");
	}
	return memory;
}
