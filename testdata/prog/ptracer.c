/*
 * ptracer attach|seize [hold|leave]: attaches to pid 1 and waits until it is
 * stopped, prints what happened, and exits without detaching. With hold it
 * stays attached until it is killed; with leave it exits at once, so that the
 * SIGSTOP of PTRACE_ATTACH comes when nobody traces pid 1 any more. A sandbox
 * must end all the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int seize = argc > 1 && !strcmp(argv[1], "seize"), status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (ptrace(seize ? PTRACE_SEIZE : PTRACE_ATTACH, 1, 0, 0)) {
		printf("ptrace: %s\n", strerrorname_np(errno));
	} else {
		if (argc > 2 && !strcmp(argv[2], "leave"))
			_exit(0);
		if (seize && ptrace(PTRACE_INTERRUPT, 1, 0, 0))
			printf("interrupt: %s\n", strerrorname_np(errno));
		if (waitpid(1, &status, __WALL) == 1)
			printf("ptrace: stopped\n");
		else
			printf("wait: %s\n", strerrorname_np(errno));
	}
	if (argc > 2 && !strcmp(argv[2], "hold"))
		for (;;)
			pause();
	return 0;
}
