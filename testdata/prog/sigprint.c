/*
 * sigprint [NAME]: prints "ready", then the name of each signal that arrives;
 * exits 99 after the signal NAME (such as TERM). The signals are blocked and
 * taken by sigwait, so none is lost and the order is the kernel's.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	sigset_t all;
	int sig;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, NULL))
		return 2;
	printf("ready\n");
	while (!sigwait(&all, &sig)) {
		const char *name = sigabbrev_np(sig);

		printf("%s\n", name ? name : "?");
		if (argc > 1 && name && !strcmp(argv[1], name))
			return 99;
	}
	return 2;
}
