// SPDX-License-Identifier: GPL-2.0-only
/*
 * Migrates one edu device to another by the migration region, of which it knows
 * nothing but the uAPI header.
 *
 *	region_client SOURCE TARGET
 *
 * SOURCE and TARGET are PCI addresses of devices that are bound to edu_vfio_pci.
 * Prints one line for each check; exits with 1 if one failed.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <linux/vfio_migration_region.h>

/* The edu device, docs/specs/edu.rst of QEMU. */
enum {
	EDU_LIVENESS = 0x04,
	EDU_FACTORIAL = 0x08,
	EDU_STATUS = 0x20,
	EDU_DMA_SOURCE = 0x80,
	EDU_DMA_DESTINATION = 0x88,
	EDU_DMA_COUNT = 0x90,
	EDU_DMA_COMMAND = 0x98,
	EDU_BUFFER = 0x40000,
	EDU_BUFFER_SIZE = 4096,
};
enum { COMPUTING = 1, RUN = 1, TO_MEMORY = 2 };

#define MEMORY_SIZE	(64 * 4096U)
#define MEMORY_IOVA	0x200000U

typedef struct vfio_migration_region_header header_t;

#define OFFSET(field)	offsetof(header_t, field)

struct guest {
	const char *name;
	int container;
	int group;
	int device;
	struct vfio_region_info migration;
	struct vfio_region_info bar;
	uint64_t section_offset;
	uint64_t section_size;
	uint8_t *section;
	uint8_t *memory;
};

static void die(const char *name, const char *what)
{
	fprintf(stderr, "FAIL %s: %s: %s\n", name, what, strerror(errno));
	exit(1);
}

static void check(int good, const char *what)
{
	printf("%s %s\n", good ? "PASS" : "FAIL", what);
	if (!good)
		exit(1);
}

static void get(const struct guest *g, uint64_t at, void *to, size_t size)
{
	if (pread(g->device, to, size, (off_t)at) != (ssize_t)size)
		die(g->name, "read");
}

static void put(const struct guest *g, uint64_t at, const void *from, size_t size)
{
	if (pwrite(g->device, from, size, (off_t)at) != (ssize_t)size)
		die(g->name, "write");
}

/* The fields of the region's header. */

static uint32_t state(const struct guest *g)
{
	uint32_t value;

	get(g, g->migration.offset + OFFSET(device_state), &value, sizeof(value));
	return value;
}

static void set_state(const struct guest *g, uint32_t value)
{
	put(g, g->migration.offset + OFFSET(device_state), &value, sizeof(value));
}

static uint64_t get64(const struct guest *g, size_t field)
{
	uint64_t value;

	get(g, g->migration.offset + field, &value, sizeof(value));
	return value;
}

static void set64(const struct guest *g, size_t field, uint64_t value)
{
	put(g, g->migration.offset + field, &value, sizeof(value));
}

static uint64_t pending(const struct guest *g)
{
	uint64_t counts[3];

	get(g, g->migration.offset + OFFSET(pending), counts, sizeof(counts));
	return counts[0] + counts[1] + counts[2];
}

/* Set-up. */

static int group_of(const char *bdf)
{
	char path[128], link[PATH_MAX];
	const char *number;
	ssize_t length;

	/* A mediated device is named by its UUID, which has no colon. */
	snprintf(path, sizeof(path), "/sys/bus/%s/devices/%s/iommu_group",
		 strchr(bdf, ':') ? "pci" : "mdev", bdf);
	length = readlink(path, link, sizeof(link) - 1);
	if (length < 0)
		die(bdf, path);
	link[length] = 0;
	number = strrchr(link, '/');
	return number ? atoi(number + 1) : -1;
}

/* Returns a region's info with its capabilities, in memory that the caller frees. */
static struct vfio_region_info *region_info(const struct guest *g, uint32_t index)
{
	uint32_t size = 4096;
	struct vfio_region_info *info = (struct vfio_region_info *)calloc(1, size);

	if (!info)
		die(g->name, "calloc");
	info->argsz = size;
	info->index = index;
	if (ioctl(g->device, VFIO_DEVICE_GET_REGION_INFO, info)) {
		free(info);
		return NULL;
	}
	return info;
}

static const struct vfio_info_cap_header *capability(const struct vfio_region_info *info,
						     uint16_t id)
{
	uint32_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;

	while (at) {
		const struct vfio_info_cap_header *header =
			(const struct vfio_info_cap_header *)((const char *)info + at);

		if (header->id == id)
			return header;
		at = header->next;
	}
	return NULL;
}

static void find_region(struct guest *g)
{
	struct vfio_device_info device;
	uint32_t index;

	memset(&device, 0, sizeof(device));
	device.argsz = sizeof(device);
	if (ioctl(g->device, VFIO_DEVICE_GET_INFO, &device))
		die(g->name, "VFIO_DEVICE_GET_INFO");

	for (index = 0; index < device.num_regions; index++) {
		struct vfio_region_info *info = region_info(g, index);
		const struct vfio_region_info_cap_type *type;
		const struct vfio_region_info_cap_sparse_mmap *sparse;

		if (!info)
			continue;
		if (index == VFIO_PCI_BAR0_REGION_INDEX)
			g->bar = *info;
		type = (const struct vfio_region_info_cap_type *)
			capability(info, VFIO_REGION_INFO_CAP_TYPE);
		sparse = (const struct vfio_region_info_cap_sparse_mmap *)
			capability(info, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
		if (type && type->type == VFIO_REGION_TYPE_MIGRATION_2018 &&
		    type->subtype == VFIO_REGION_SUBTYPE_MIGRATION_2018 && sparse &&
		    sparse->nr_areas == 1) {
			g->migration = *info;
			g->section_offset = sparse->areas[0].offset;
			g->section_size = sparse->areas[0].size;
		}
		free(info);
	}
	check(g->section_size != 0, "the device has a migration region");
}

static void open_guest(struct guest *g, const char *bdf)
{
	struct vfio_iommu_type1_dma_map map;
	struct vfio_region_info *config;
	char path[64];
	uint16_t command;

	memset(g, 0, sizeof(*g));
	g->name = bdf;
	snprintf(path, sizeof(path), "/dev/vfio/%d", group_of(bdf));
	g->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	g->group = open(path, O_RDWR | O_CLOEXEC);
	if (g->container < 0 || g->group < 0)
		die(bdf, path);
	if (ioctl(g->group, VFIO_GROUP_SET_CONTAINER, &g->container) ||
	    ioctl(g->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die(bdf, "container");
	g->device = ioctl(g->group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (g->device < 0)
		die(bdf, "VFIO_GROUP_GET_DEVICE_FD");
	find_region(g);

	g->section = (uint8_t *)mmap(NULL, g->section_size, PROT_READ | PROT_WRITE, MAP_SHARED,
				     g->device, (off_t)(g->migration.offset + g->section_offset));
	g->memory = (uint8_t *)mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->section == MAP_FAILED || g->memory == MAP_FAILED)
		die(bdf, "mmap");
	memset(&map, 0, sizeof(map));
	map.argsz = sizeof(map);
	map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	map.vaddr = (uintptr_t)g->memory;
	map.iova = MEMORY_IOVA;
	map.size = MEMORY_SIZE;
	if (ioctl(g->container, VFIO_IOMMU_MAP_DMA, &map))
		die(bdf, "VFIO_IOMMU_MAP_DMA");

	config = region_info(g, VFIO_PCI_CONFIG_REGION_INDEX);
	if (!config)
		die(bdf, "config space");
	get(g, config->offset + PCI_COMMAND, &command, sizeof(command));
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	put(g, config->offset + PCI_COMMAND, &command, sizeof(command));
	free(config);
}

/* The device's registers. */

static uint32_t read32(const struct guest *g, uint64_t at)
{
	uint32_t value;

	get(g, g->bar.offset + at, &value, sizeof(value));
	return value;
}

static uint64_t read_reg64(const struct guest *g, uint64_t at)
{
	uint64_t value;

	get(g, g->bar.offset + at, &value, sizeof(value));
	return value;
}

static void write32(const struct guest *g, uint64_t at, uint32_t value)
{
	put(g, g->bar.offset + at, &value, sizeof(value));
}

static void transfer(const struct guest *g, uint64_t source, uint64_t destination,
		     uint64_t command)
{
	const uint64_t registers[] = { source, destination, EDU_BUFFER_SIZE, command | RUN };

	put(g, g->bar.offset + EDU_DMA_SOURCE, registers, sizeof(registers));
	while (read_reg64(g, EDU_DMA_COMMAND) & RUN)
		usleep(1000);
}

/* The actions. */

/* Moves one buffer from @from to @to, NULL for nowhere; returns its size. */
static uint64_t move_buffer(const struct guest *from, const struct guest *to)
{
	uint64_t offset = get64(from, OFFSET(data.offset));
	uint64_t size = get64(from, OFFSET(data.size));

	if (offset != from->section_offset || size > from->section_size) {
		errno = ERANGE;
		die(from->name, "data");
	}
	if (size && to) {
		memcpy(to->section, from->section, size);
		set64(to, OFFSET(data.offset), to->section_offset);
		set64(to, OFFSET(data.size), size);
	}
	return size;
}

/* Moves all buffers that there are now; returns whether the counts fell accordingly. */
static int move_all(const struct guest *from, const struct guest *to)
{
	uint64_t left = pending(from), size;

	while ((size = move_buffer(from, to))) {
		uint64_t now = pending(from);

		if (now != left - size)
			return 0;
		left = now;
	}
	return 1;
}

/* Returns whether the page at @iova and no other of the memory is dirty. */
static int only_dirty(const struct guest *g, uint64_t iova)
{
	const uint64_t query[] = { MEMORY_IOVA, MEMORY_SIZE / VFIO_MIGRATION_DIRTY_PAGE_SIZE };
	uint64_t page, copied;
	int good = 1;

	put(g, g->migration.offset + OFFSET(dirty_pfns), query, sizeof(query));
	copied = get64(g, OFFSET(dirty_pfns.copied));
	/* The section holds the bitmap now; reading its offset changes nothing. */
	good &= get64(g, OFFSET(data.offset)) == g->section_offset;
	good &= get64(g, OFFSET(data.size)) == (copied + 7) / 8;
	for (page = 0; page < copied; page++) {
		int is_dirty = g->section[page / 8] >> page % 8 & 1;
		uint64_t at = MEMORY_IOVA + page * VFIO_MIGRATION_DIRTY_PAGE_SIZE;

		good &= is_dirty == (at == iova);
	}
	good &= copied == query[1] && get64(g, OFFSET(dirty_pfns.copied)) == copied;
	/* This tells the driver that the bitmap was copied: the next buffer may take its place. */
	pending(g);
	return good;
}

static int is_refused(const struct guest *g, uint64_t offset, size_t size)
{
	uint8_t bytes[16] = { 0 };

	errno = 0;
	return pwrite(g->device, bytes, size, (off_t)(g->migration.offset + offset)) < 0 &&
	       errno == EINVAL;
}

static void check_layout(void)
{
	check(sizeof(header_t) == 76, "the header has 76 bytes");
	check(OFFSET(pending) == 4 && OFFSET(pending.compatible) == 12 &&
		      OFFSET(pending.postcopy_only) == 20 &&
		      OFFSET(pending.threshold_size) == 28 && OFFSET(data) == 36 &&
		      OFFSET(data.size) == 44 && OFFSET(dirty_pfns) == 52 &&
		      OFFSET(dirty_pfns.total) == 60 && OFFSET(dirty_pfns.copied) == 68,
	      "the fields are where the thread of November 2018 has them");
}

static void migrate(const struct guest *source, const struct guest *target)
{
	const uint64_t page = MEMORY_IOVA + 7 * VFIO_MIGRATION_DIRTY_PAGE_SIZE;
	size_t i;

	for (i = 0; i < EDU_BUFFER_SIZE; i++)
		source->memory[i] = (uint8_t)(i * 7 + i / 256 + 1);
	transfer(source, MEMORY_IOVA, EDU_BUFFER, 0);
	write32(source, EDU_LIVENESS, 0x20181123);
	write32(source, EDU_FACTORIAL, 10);
	while (read32(source, EDU_STATUS) & COMPUTING)
		usleep(1000);
	check(read32(source, EDU_FACTORIAL) == 3628800, "the source computes");

	set64(source, OFFSET(pending.threshold_size), 1000);
	set_state(target, VFIO_MIGRATION_STATE_RESUME);
	set_state(source, VFIO_MIGRATION_STATE_SETUP);
	transfer(source, EDU_BUFFER, page, TO_MEMORY);
	check(only_dirty(source, page), "the page that the device wrote is dirty, no other is");

	set_state(source, VFIO_MIGRATION_STATE_PRECOPY);
	check(pending(source) > EDU_BUFFER_SIZE, "there is state to be moved");
	check(move_all(source, target), "pre-copy: what is pending falls by what is moved");
	transfer(source, EDU_BUFFER, page, TO_MEMORY);
	check(only_dirty(source, page), "pre-copy: the bitmap is where data.offset says");
	check(move_all(source, target), "pre-copy: a query takes nothing from the image");
	write32(source, EDU_LIVENESS, 0x12345678);

	set_state(source, VFIO_MIGRATION_STATE_STOPNCOPY);
	check(move_all(source, target), "stop-and-copy: the same");
	check(pending(source) == 0, "nothing is left");
	set_state(source, VFIO_MIGRATION_STATE_SAVE_COMPLETED);
	set_state(target, VFIO_MIGRATION_STATE_RESUME_COMPLETED);
	set_state(target, VFIO_MIGRATION_STATE_RUNNING);
	check(state(target) == VFIO_MIGRATION_STATE_RUNNING, "the target runs");
}

static void compare(const struct guest *source, const struct guest *target)
{
	static const uint64_t wide[] = { EDU_DMA_SOURCE, EDU_DMA_DESTINATION, EDU_DMA_COUNT,
					 EDU_DMA_COMMAND };
	int equal = 1;
	size_t i;

	for (i = 0; i < 0x28; i += 4)
		equal &= read32(source, i) == read32(target, i);
	for (i = 0; i < sizeof(wide) / sizeof(*wide); i++)
		equal &= read_reg64(source, wide[i]) == read_reg64(target, wide[i]);
	check(equal && read32(target, EDU_LIVENESS) == ~0x12345678U, "the registers are equal");

	transfer(target, EDU_BUFFER, MEMORY_IOVA, TO_MEMORY);
	check(!memcmp(source->memory, target->memory, EDU_BUFFER_SIZE),
	      "the internal buffers are equal");
}

int main(int argc, char **argv)
{
	struct guest source, target;

	if (argc != 3) {
		fprintf(stderr, "usage: %s SOURCE TARGET\n", argv[0]);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	check_layout();
	open_guest(&source, argv[1]);
	open_guest(&target, argv[2]);
	check(state(&source) == VFIO_MIGRATION_STATE_RUNNING &&
		      state(&target) == VFIO_MIGRATION_STATE_RUNNING,
	      "both devices run");
	check(is_refused(&source, OFFSET(pending), 8) && is_refused(&source, 2, 4) &&
		      is_refused(&source, sizeof(header_t), 4),
	      "wrong accesses are refused");

	migrate(&source, &target);
	set_state(&source, VFIO_MIGRATION_STATE_CANCELLED);
	check(state(&source) == VFIO_MIGRATION_STATE_RUNNING, "the source runs on");
	compare(&source, &target);
	return 0;
}
