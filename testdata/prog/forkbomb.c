/*
 * forkbomb N: forks at most N (100000) children that only wait, prints how
 * many there were and why it stopped, then kills and reaps them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long max = argc > 1 ? atol(argv[1]) : 1000, n = 0;
	const char *why = "enough";

	if (max < 1 || max > 100000)
		max = 100000;
	pid_t *child = calloc(max, sizeof *child);
	if (!child)
		return 2;
	for (; n < max; n++) {
		child[n] = fork();
		if (child[n] < 0) {
			why = strerrorname_np(errno);
			break;
		}
		if (!child[n])
			for (;;)
				pause();
	}
	for (long i = 0; i < n; i++)
		kill(child[i], SIGKILL);
	for (long i = 0; i < n; i++)
		waitpid(child[i], NULL, 0);
	printf("forked %ld: %s\n", n, why);
	return 0;
}
