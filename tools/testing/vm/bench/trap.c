// SPDX-License-Identifier: GPL-2.0-only
/*
 * Times register accesses through two VFIO device files, in turn.
 *
 *	trap NAME NAME [mtty]
 *
 * The names are PCI addresses of edu devices bound to any vfio-pci driver, or
 * UUIDs of virtual ones. With 'mtty' the second is a device of the kernel's
 * sample of that name, and registers of each are timed.
 * Prints a line for each kind of access: its name and, for either device, the
 * nanoseconds of one access in the batch at the first quartile, since other work
 * of the machine only makes batches slower.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

enum { BATCHES = 101, BATCH = 200 };

/* The accesses that are timed. The values make the device do nothing. */
static const struct access {
	const char *name;
	uint64_t offset;
	size_t width;
	int is_write;
} edu[] = {
	{ "read-liveness", 0x04, 4, 0 },
	{ "read-dma-source", 0x80, 8, 0 },
	{ "write-liveness", 0x04, 4, 1 },
	{ "write-dma-source", 0x80, 8, 1 },
	{}
};

/* The first of each pair is the edu's. The mtty has registers of one byte. */
static const struct access beside_mtty[][2] = {
	{ { "read", 0x04, 4, 0 }, { "line-status", 0x05, 1, 0 } },
	{ { "write", 0x04, 4, 1 }, { "scratch", 0x07, 1, 1 } },
	{}
};

struct device {
	int fd;
	uint64_t bar;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int open_device(const char *bdf)
{
	char path[PATH_MAX], link[PATH_MAX];
	int container, group, device;
	ssize_t len;

	snprintf(path, sizeof(path), "/sys/bus/%s/devices/%s/iommu_group",
		 strchr(bdf, ':') ? "pci" : "mdev", bdf);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		err(1, "%s", path);
	link[len] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);

	container = open("/dev/vfio/vfio", O_RDWR);
	group = open(path, O_RDWR);
	if (container < 0 || group < 0)
		err(1, "%s", path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		err(1, "container");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (device < 0)
		err(1, "%s", bdf);
	return device;
}

static uint64_t offset_of(int device, uint32_t index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info))
		err(1, "region %u", index);
	return info.offset;
}

static struct device prepare(const char *bdf)
{
	const uint16_t command = PCI_COMMAND_MEMORY;
	struct device device = { .fd = open_device(bdf) };
	const uint64_t config = offset_of(device.fd, VFIO_PCI_CONFIG_REGION_INDEX);

	device.bar = offset_of(device.fd, VFIO_PCI_BAR0_REGION_INDEX);
	if (pwrite(device.fd, &command, sizeof(command), config + PCI_COMMAND) != sizeof(command))
		err(1, "PCI_COMMAND");
	return device;
}

/* Makes an access BATCH times; returns the nanoseconds of all. */
static uint64_t batch(const struct device *device, const struct access *access)
{
	const uint64_t offset = device->bar + access->offset;
	uint64_t value = 0x12345678;
	const uint64_t begun = now();

	for (int i = 0; i < BATCH; i++) {
		const ssize_t moved = access->is_write ?
			pwrite(device->fd, &value, access->width, offset) :
			pread(device->fd, &value, access->width, offset);

		if (moved != (ssize_t)access->width)
			err(1, "%s", access->name);
	}
	return now() - begun;
}

/* Times an access on both devices, and prints a line. */
static void compare_accesses(const struct device *devices, const struct access *const *accesses)
{
	uint64_t times[2][BATCHES];

	for (int b = 0; b < BATCHES; b++)
		for (int i = 0; i < 2; i++)
			times[i][b] = batch(&devices[i], accesses[i]);
	printf("%s", accesses[0]->name);
	for (int i = 0; i < 2; i++) {
		qsort(times[i], BATCHES, sizeof(times[i][0]), compare);
		printf(" %.0f", (double)times[i][BATCHES / 4] / BATCH);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	const int mtty = argc == 4 && !strcmp(argv[3], "mtty");
	struct device devices[2];

	if (argc != 3 && !mtty)
		errx(2, "usage: trap NAME NAME [mtty]");
	for (int i = 0; i < 2; i++)
		devices[i] = prepare(argv[i + 1]);

	for (int a = 0; mtty && beside_mtty[a][0].name; a++) {
		const struct access *const pair[] = { &beside_mtty[a][0], &beside_mtty[a][1] };

		compare_accesses(devices, pair);
	}
	for (int a = 0; !mtty && edu[a].name; a++) {
		const struct access *const pair[] = { &edu[a], &edu[a] };

		compare_accesses(devices, pair);
	}
	return 0;
}
