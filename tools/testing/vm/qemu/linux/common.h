/* SPDX-License-Identifier: GPL-2.0-only */
/* What all parts of the guest's program use. */

#ifndef COMMON_H
#define COMMON_H

#include <stdbool.h>

/* Prints why the guest cannot go on, and ends it. */
_Noreturn void die(const char *what);

/* Writes text to a file; false with errno if that fails. */
bool write_file(const char *path, const char *text);

#endif
