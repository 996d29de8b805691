/*
 * sigstop1 [SIGNAL...]: sends pid 1 the numbered signals (default: STOP and
 * KILL, which a pid namespace's own processes cannot deliver to its pid 1),
 * prints what kill(2) said, and that it is still there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void try(int sig)
{
	printf("%s: %s\n", sigabbrev_np(sig) ? sigabbrev_np(sig) : "?",
	       kill(1, sig) ? strerrorname_np(errno) : "sent");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2) {
		try(SIGSTOP);
		try(SIGKILL);
	}
	for (int i = 1; i < argc; i++)
		try(atoi(argv[i]));
	printf("alive\n");
	return 0;
}
