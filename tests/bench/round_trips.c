/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Round trips of REGION_READ's size, timed by the side that asks.
 *
 *   round_trips pingpong CPU COUNT        against a child of this process over a socketpair
 *   round_trips client CPU COUNT PATH     against the vfio-user server that listens at PATH
 *
 * Prints round trips per second. Both modes ask with the same code; the first answers with the least that a
 * server can do. The server of the second mode is pinned by whoever started it.
 */
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 1, REGION_READ = 9, SCRATCH_REGISTER = 7 };

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

struct access {
	struct header header;
	uint64_t offset;
	uint32_t region, count;
	uint8_t data[1];
} __attribute__((packed));

#define REQUEST (sizeof(struct access) - 1)
#define REPLY sizeof(struct access)

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "cannot run on cpu %d", cpu);
}

static void answer(int fd)
{
	struct access message;

	while (recv(fd, &message, sizeof(message), 0) == REQUEST) {
		message.header.size = REPLY;
		message.header.flags = 1;
		message.data[0] = 0x55;
		if (send(fd, &message, REPLY, MSG_NOSIGNAL) != REPLY)
			return;
	}
}

static void ask(int fd, long count)
{
	struct access message;

	for (long i = 0; i < count; i++) {
		memset(&message, 0, sizeof(message));
		message.header = (struct header){ .id = i, .command = REGION_READ, .size = REQUEST };
		message.offset = SCRATCH_REGISTER;
		message.count = 1;
		if (send(fd, &message, REQUEST, MSG_NOSIGNAL) != REQUEST)
			err(1, "send");
		if (recv(fd, &message, sizeof(message), 0) != REPLY)
			errx(1, "a reply of another size");
		if (message.header.id != (uint16_t)i || message.header.flags != 1 || message.count != 1)
			errx(1, "a reply of another kind");
	}
}

static int ping_pong(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		err(1, "socketpair");
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		close(pair[0]);
		answer(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	return pair[0];
}

static int client(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct {
		struct header header;
		uint16_t major, minor;
	} version = { { .command = VERSION, .size = sizeof(version) } };
	char reply[512];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		errx(1, "the path is too long");
	strcpy(address.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		err(1, "cannot connect to %s", path);
	if (send(fd, &version, sizeof(version), 0) != sizeof(version))
		err(1, "send");
	if (recv(fd, reply, sizeof(reply), 0) <= (ssize_t)sizeof(version))
		errx(1, "no version");
	return fd;
}

int main(int argc, char **argv)
{
	struct timespec from, to;
	long count;
	int fd;

	if (argc < 4)
		errx(2, "usage: round_trips pingpong CPU COUNT | client CPU COUNT PATH");
	pin(atoi(argv[2]));
	count = atol(argv[3]);
	fd = argc > 4 ? client(argv[4]) : ping_pong();
	ask(fd, count / 10 + 1);
	clock_gettime(CLOCK_MONOTONIC, &from);
	ask(fd, count);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.0f\n", count / (to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9));
	close(fd);
	while (wait(NULL) > 0)
		;
	return 0;
}
