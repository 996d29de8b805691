/*
 * peak KB CMD…: runs CMD and prints to stderr how much memory it, or a child
 * that it waited for, had at most. Exits as CMD does, or with 99 when that was
 * more than KB.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rusage use;
	int status;

	if (argc < 3)
		return 2;
	pid_t child = fork();
	if (child < 0)
		return 2;
	if (!child) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (wait4(child, &status, 0, &use) != child)
		return 2;
	fprintf(stderr, "peak %ld kB\n", use.ru_maxrss);
	if (use.ru_maxrss > atol(argv[1]))
		return 99;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
