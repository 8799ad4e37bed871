// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program of a Linux guest, and its first process: it uses an edu device,
 * checks each answer, and prints a heartbeat, for as long as the guest runs.
 *
 * A round: a factorial; an interrupt that the program has the device raise; a page
 * to the device, and the same page back to another place in memory. Each ends with
 * an interrupt. The pages that came back are kept for some rounds and looked at
 * again and again: a page that a migration forgot would show an older content.
 */

#include "device.h"
#include "common.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PAGE		EDU_BUFFER_SIZE
#define MEMORY_SIZE	(2 << 20)
/* The number of pages that are kept. */
#define KEPT		128
#define ROUNDS_PER_BEAT	4
/* The factorial of an operand above 33 is 0 in 32 bits. */
#define OPERANDS	40

struct work {
	struct device device;
	uint8_t *memory;	/* the page to send, then KEPT pages */
	uint64_t address;	/* the device's address of it */
	uint64_t rounds;
	uint64_t factorials;
	uint64_t bytes;
	uint64_t wrong;
};

/* Counts a wrong answer, and prints what it was. */
static void check(struct work *work, bool good, const char *what)
{
	if (good)
		return;
	work->wrong++;
	printf("guest: round %" PRIu64 ": wrong: %s\n", work->rounds, what);
}

static void check_factorial(struct work *work)
{
	struct device *device = &work->device;
	uint32_t operand = work->rounds % OPERANDS, result = 1, i;

	for (i = 2; i <= operand; i++)
		result *= i;
	device_write(device, EDU_FACTORIAL, operand);
	check(work, device_wait_interrupt(device, CAUSE_FACTORIAL),
	      "the interrupt after a factorial");
	check(work, !(device_read(device, EDU_STATUS) & COMPUTING), "the status");
	check(work, device_read(device, EDU_FACTORIAL) == result, "a factorial");
	work->factorials++;
}

static void check_raise(struct work *work)
{
	uint32_t cause = 0x10000 | (work->rounds & 0xff) << 20;

	device_write(&work->device, EDU_INTERRUPT_RAISE, cause);
	check(work, device_wait_interrupt(&work->device, cause), "a raised interrupt");
	check(work, !device_read(&work->device, EDU_INTERRUPT_STATUS), "the interrupt status");
}

/* A word that no other round has: splitmix64 of the round's number. */
static uint64_t word(uint64_t round, size_t i)
{
	uint64_t z = (round * (PAGE / 8) + i + 1) * 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static size_t offset_of(uint64_t round)
{
	return (1 + round % KEPT) * PAGE;
}

static bool is_kept(const struct work *work, uint64_t round)
{
	const uint64_t *page = (const uint64_t *)(work->memory + offset_of(round));
	size_t i;

	for (i = 0; i < PAGE / 8; i++)
		if (page[i] != word(round, i))
			return false;
	return true;
}

static void check_transfers(struct work *work)
{
	struct device *device = &work->device;
	uint64_t *page = (uint64_t *)work->memory;
	size_t i, back = offset_of(work->rounds);

	for (i = 0; i < PAGE / 8; i++)
		page[i] = word(work->rounds, i);
	check(work, device_transfer(device, work->address, EDU_BUFFER, PAGE, 0),
	      "the interrupt after a transfer to the device");
	memset(work->memory + back, 0xff, PAGE);
	check(work, device_transfer(device, EDU_BUFFER, work->address + back, PAGE, TO_MEMORY),
	      "the interrupt after a transfer to memory");
	check(work, is_kept(work, work->rounds), "a page that came back");
	work->bytes += 2 * PAGE;
}

static void check_kept(struct work *work)
{
	uint64_t round = work->rounds > KEPT ? work->rounds - KEPT : 0;

	for (; round < work->rounds; round++)
		check(work, is_kept(work, round), "a page that came back in an earlier round");
}

static void beat(const struct work *work, const char *boot)
{
	static uint64_t number;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("beat %" PRIu64 " time %lld.%03ld boot %s rounds %" PRIu64 " factorials %" PRIu64
	       " bytes %" PRIu64 " expected %" PRIu64 " seen %" PRIu64 " lost %" PRIu64
	       " wrong %" PRIu64 "\n",
	       ++number, (long long)now.tv_sec, now.tv_nsec / 1000000, boot, work->rounds,
	       work->factorials, work->bytes, work->device.expected, work->device.seen,
	       work->device.lost, work->wrong);
}

int main(void)
{
	static struct work work;
	char boot[BOOT_SIZE];

	begin(boot);
	work.memory = device_memory(MEMORY_SIZE, &work.address);
	printf(WAITS);
	device_open(&work.device);
	for (;;) {
		check_factorial(&work);
		check_raise(&work);
		check_transfers(&work);
		work.rounds++;
		if (work.rounds % ROUNDS_PER_BEAT == 0) {
			check_kept(&work);
			beat(&work, boot);
		}
	}
}
