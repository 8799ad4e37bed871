// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program of a Linux guest, and its first process: it brings up the network
 * card that is passed through to it, driven by igbvf, and serves a TCP connection. In
 * both directions goes a stream whose every byte follows from its place; the program
 * checks what it receives, and prints a heartbeat. The guest's kernel answers pings.
 */

#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CARD		"eth0"
#define ADDRESS		"10.1.0.10"
#define NETMASK		"255.255.255.0"
#define PORT		5000
#define BEAT_MS		250
#define PIECE		16384

/* A stream: how many bytes of it have gone. */
struct stream {
	uint64_t done;
};

struct work {
	struct stream received;
	struct stream sent;
	uint64_t wrong;
	uint64_t connections;
};

/*
 * The bytes of a stream, again and again. The number is prime, so that they come at
 * other places of a packet and a page each time.
 */
static uint8_t bytes[262139];

static void make_bytes(void)
{
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = ((i / 8 + 1) * 0x9e3779b97f4a7c15) >> (i % 8 * 8);
}

static uint8_t byte_at(uint64_t place)
{
	return bytes[place % sizeof(bytes)];
}

static void fill(const struct stream *stream, uint8_t *data, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		data[i] = byte_at(stream->done + i);
}

/* Counts bytes that are not those of the stream, and prints the first of them. */
static void check(struct work *work, const uint8_t *data, size_t size)
{
	uint64_t before = work->wrong;
	size_t i;

	for (i = 0; i < size; i++) {
		if (data[i] == byte_at(work->received.done + i))
			continue;
		if (work->wrong++ == before)
			printf("guest: byte %" PRIu64 " is wrong\n", work->received.done + i);
	}
	work->received.done += size;
}

static void set_address(int fd, unsigned long request, const char *address)
{
	struct ifreq ifr = { .ifr_name = CARD };
	struct sockaddr_in *in = (struct sockaddr_in *)&ifr.ifr_addr;

	in->sin_family = AF_INET;
	if (inet_pton(AF_INET, address, &in->sin_addr) != 1 || ioctl(fd, request, &ifr))
		die(address);
}

/* Waits until the kernel has the card, and brings it up. */
static void bring_up(void)
{
	struct ifreq ifr = { .ifr_name = CARD };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("a socket");
	while (ioctl(fd, SIOCGIFFLAGS, &ifr))
		usleep(10000);
	set_address(fd, SIOCSIFADDR, ADDRESS);
	set_address(fd, SIOCSIFNETMASK, NETMASK);
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		die(CARD);
	close(fd);
}

static int serve(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 1))
		die("the port");
	return fd;
}

static void beat(const struct work *work, const char *boot)
{
	static uint64_t number, last;
	struct timespec now;
	uint64_t ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	if (ms - last < BEAT_MS)
		return;
	last = ms;
	printf("beat %" PRIu64 " time %" PRIu64 ".%03" PRIu64 " boot %s received %" PRIu64
	       " sent %" PRIu64 " wrong %" PRIu64 " connections %" PRIu64 "\n",
	       ++number, ms / 1000, ms % 1000, boot, work->received.done, work->sent.done,
	       work->wrong, work->connections);
}

/* Moves what can be moved now; false once the connection has ended. */
static bool move(struct work *work, int fd, short events)
{
	static uint8_t data[PIECE];
	ssize_t count;

	if (events & (POLLIN | POLLHUP | POLLERR)) {
		count = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		if (count == 0 || (count < 0 && errno != EAGAIN))
			return false;
		if (count > 0)
			check(work, data, count);
	}
	if (events & POLLOUT) {
		fill(&work->sent, data, sizeof(data));
		count = send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (count < 0 && errno != EAGAIN)
			return false;
		if (count > 0)
			work->sent.done += count;
	}
	return true;
}

int main(void)
{
	struct work work = { 0 };
	char boot[BOOT_SIZE];
	int port, one = 1;

	begin(boot);
	make_bytes();
	printf(WAITS);
	bring_up();
	port = serve();
	printf("guest: serving\n");
	for (;;) {
		struct pollfd poll_fd = { .events = POLLIN | POLLOUT };

		poll_fd.fd = accept(port, NULL, NULL);
		if (poll_fd.fd < 0)
			die("a connection");
		setsockopt(poll_fd.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		memset(&work.received, 0, sizeof(work.received));
		memset(&work.sent, 0, sizeof(work.sent));
		work.connections++;
		do {
			if (poll(&poll_fd, 1, BEAT_MS) < 0)
				die("poll");
			beat(&work, boot);
		} while (move(&work, poll_fd.fd, poll_fd.revents));
		close(poll_fd.fd);
	}
}
