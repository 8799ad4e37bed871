// SPDX-License-Identifier: GPL-2.0-only
/* What all parts of the guest's program use. */

#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

_Noreturn void die(const char *what)
{
	printf("guest: %s: %s\n", what, strerror(errno));
	exit(1);
}

bool write_file(const char *path, const char *text)
{
	size_t size = strlen(text);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return false;
	good = write(fd, text, size) == (ssize_t)size;
	close(fd);
	return good;
}

static void mount_at(const char *type, const char *directory)
{
	if (mount(type, directory, type, 0, NULL))
		die(directory);
}

static void load_modules(void)
{
	char name[128], path[160];
	FILE *order = fopen("/modules/order", "r");
	int fd;

	if (!order)
		die("/modules/order");
	while (fscanf(order, "%127s", name) == 1) {
		snprintf(path, sizeof(path), "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			die(path);
		close(fd);
	}
	fclose(order);
}

/* Reads the identifier of this boot. */
static void read_boot(char boot[BOOT_SIZE])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, boot, BOOT_SIZE - 1) != BOOT_SIZE - 1)
		die("the number of this boot");
	boot[BOOT_SIZE - 1] = '\0';
	close(fd);
}

void begin(char boot[BOOT_SIZE])
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	mount_at("proc", "/proc");
	mount_at("sysfs", "/sys");
	mount_at("devtmpfs", "/dev");
	read_boot(boot);
	load_modules();
}
