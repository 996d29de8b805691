/*
 * tiocsti [FD]: tries to push a character into a terminal's input (TIOCSTI)
 * and to use the console's selection (TIOCLINUX), each also with high bits
 * set in the request: the kernel looks at the low 32 bits only. Prints one
 * line per try; exits 1 when a push succeeded.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static const struct { const char *name; unsigned long request; } tries[] = {
		{"TIOCSTI", TIOCSTI},
		{"TIOCSTI+high", TIOCSTI | 1ul << 32},
		{"TIOCSTI+top", TIOCSTI | 1ul << 63},
		{"TIOCLINUX", TIOCLINUX},
		{"TIOCLINUX+high", TIOCLINUX | 1ul << 32},
	};
	int fd = argc > 1 ? atoi(argv[1]) : 0, bad = 0;

	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		char arg[2] = {'#', 0};
		long r = syscall(SYS_ioctl, fd, tries[i].request, arg);

		printf("%s: %s\n", tries[i].name, r < 0 ? strerrorname_np(errno) : "done");
		bad |= r >= 0;
	}
	return bad;
}
