/* SPDX-License-Identifier: GPL-2.0-only */
/* What all parts of the guest's program use. */

#ifndef COMMON_H
#define COMMON_H

#include <stdbool.h>

/* Prints why the guest cannot go on, and ends it. */
_Noreturn void die(const char *what);

/* Writes text to a file; false with errno if that fails. */
bool write_file(const char *path, const char *text);

/* The first digits of the number of a boot, and an end. */
#define BOOT_SIZE	9

/* What the program prints when it is ready for a device. */
#define WAITS		"guest: waiting for a device\n"

/*
 * Sets up the guest: standard output by lines, the kernel's file systems, the modules. Returns the
 * number of this boot.
 */
void begin(char boot[BOOT_SIZE]);

#endif
