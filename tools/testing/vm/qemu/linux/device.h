/* SPDX-License-Identifier: GPL-2.0-only */
/* The edu device through uio_pci_generic, and memory that it reaches. */

#ifndef DEVICE_H
#define DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Registers, after docs/specs/edu.rst of QEMU. */
enum {
	EDU_FACTORIAL = 0x08,
	EDU_STATUS = 0x20,
	EDU_INTERRUPT_STATUS = 0x24,
	EDU_INTERRUPT_RAISE = 0x60,
	EDU_INTERRUPT_ACKNOWLEDGE = 0x64,
	EDU_DMA_SOURCE = 0x80,
	EDU_DMA_DESTINATION = 0x88,
	EDU_DMA_COUNT = 0x90,
	EDU_DMA_COMMAND = 0x98,
	EDU_BUFFER = 0x40000,
	EDU_BUFFER_SIZE = 4096,
};

/* Bits of EDU_STATUS, EDU_DMA_COMMAND and EDU_INTERRUPT_STATUS. */
enum { COMPUTING = 1, FACTORIAL_INTERRUPT = 0x80 };
enum { RUN = 1, TO_MEMORY = 2, DMA_INTERRUPT = 4 };
enum { CAUSE_FACTORIAL = 1, CAUSE_DMA = 0x100 };

struct device {
	volatile uint8_t *registers;
	int config;		/* PCI configuration space, a file of sysfs */
	int uio;		/* reads as the number of interrupts so far */
	uint32_t last;		/* that number when it was read last */
	uint64_t expected;	/* interrupts that were waited for */
	uint64_t seen;		/* interrupts that the kernel has counted */
	uint64_t lost;		/* interrupts that did not come in time */
};

/* Waits until there is an edu, and takes it. */
void device_open(struct device *device);

uint32_t device_read(const struct device *device, size_t reg);
void device_write(struct device *device, size_t reg, uint32_t value);

/*
 * Waits for one interrupt and acknowledges it. False if it did not come, or if
 * the device shows another cause besides.
 */
bool device_wait_interrupt(struct device *device, uint32_t cause);

/* Moves bytes between bus addresses; false as above. */
bool device_transfer(struct device *device, uint64_t from, uint64_t to,
		     size_t count, uint32_t command);

/* Returns memory that stays where it is, and the device's address of it. */
uint8_t *device_memory(size_t size, uint64_t *address);

#endif
