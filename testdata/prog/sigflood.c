/*
 * sigflood [N]: N (4) children send SIGUSR1 to pid 1 as fast as they can; the
 * first process ignores it, prints "ready" and waits. A pid 1 that forwards
 * signals must still hear its supervisor.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 4;

	signal(SIGUSR1, SIG_IGN);
	for (int i = 0; i < n; i++) {
		pid_t child = fork();

		if (child < 0)
			return 2;
		if (!child)
			for (;;)
				kill(1, SIGUSR1);
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
