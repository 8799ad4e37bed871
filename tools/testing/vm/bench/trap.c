// SPDX-License-Identifier: GPL-2.0-only
/*
 * Times register accesses through a VFIO device file.
 *
 *	trap BDF
 *
 * BDF is the PCI address of an edu device bound to any vfio-pci driver. Prints
 * the median over batches in nanoseconds an access: "read NS write NS".
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

enum { LIVENESS = 0x04, BATCHES = 41, BATCH = 500 };

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

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
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

/* Reads or writes the liveness register BATCH times; returns ns an access. */
static uint64_t batch(int device, uint64_t offset, int is_write)
{
	uint32_t value = 0x12345678;
	const uint64_t begun = now();

	for (int i = 0; i < BATCH; i++) {
		const ssize_t moved = is_write ?
			pwrite(device, &value, sizeof(value), offset) :
			pread(device, &value, sizeof(value), offset);

		if (moved != sizeof(value))
			err(1, "register access");
	}
	return (now() - begun) / BATCH;
}

int main(int argc, char **argv)
{
	uint64_t times[2][BATCHES];
	uint64_t config, bar;
	uint16_t command;
	int device;

	if (argc != 2)
		errx(2, "usage: trap BDF");
	device = open_device(argv[1]);
	config = offset_of(device, VFIO_PCI_CONFIG_REGION_INDEX);
	bar = offset_of(device, VFIO_PCI_BAR0_REGION_INDEX);

	command = PCI_COMMAND_MEMORY;
	if (pwrite(device, &command, sizeof(command), config + PCI_COMMAND) != sizeof(command))
		err(1, "PCI_COMMAND");

	for (int i = 0; i < BATCHES; i++)
		for (int is_write = 0; is_write < 2; is_write++)
			times[is_write][i] = batch(device, bar + LIVENESS, is_write);
	for (int is_write = 0; is_write < 2; is_write++)
		qsort(times[is_write], BATCHES, sizeof(times[0][0]), compare);
	printf("read %llu write %llu\n", (unsigned long long)times[0][BATCHES / 2],
	       (unsigned long long)times[1][BATCHES / 2]);
	return 0;
}
