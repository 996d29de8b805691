/*
 * orphans [N [P]]: makes N (1000) daemons that exit at once, in P (1) processes
 * beside each other, waits until pid 1 has reaped all, and prints how many
 * zombies are left then. With P = 0 two processes go on for ever.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* daemons makes n orphans; the middle process is waited for, the last is not. */
static void daemons(long n)
{
	for (long i = 0; n == 0 || i < n; i++) {
		pid_t middle = fork();

		if (middle == 0) {
			setsid();
			pid_t last = vfork();

			if (last == 0)
				_exit(0);
			_exit(last < 0);
		}
		int status;
		if (middle < 0 || waitpid(middle, &status, 0) < 0 || status) {
			perror("fork");
			_exit(1);
		}
	}
}

static int zombies(void)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	char path[300], buf[512];
	int n = 0;

	if (!d)
		exit(2);
	while ((e = readdir(d))) {
		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		int fd = e->d_name[0] >= '0' && e->d_name[0] <= '9' ? open(path, O_RDONLY) : -1;
		if (fd < 0)
			continue;
		ssize_t r = read(fd, buf, sizeof buf - 1);
		close(fd);
		if (r <= 0)
			continue;
		buf[r] = 0;
		char *p = strrchr(buf, ')');
		n += p && p[2] == 'Z';
	}
	closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 1000, p = argc > 2 ? atol(argv[2]) : 1;
	int forever = p == 0, status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (long i = 0; i < (forever ? 2 : p); i++) {
		pid_t child = fork();

		if (child < 0)
			return 2;
		if (!child) {
			daemons(forever ? 0 : n / p);
			_exit(0);
		}
	}
	if (forever)
		puts("ready");
	while (wait(&status) > 0 || errno == EINTR)
		if (status)
			return 1;
	/* The kernel tells pid 1 alone: look again until it is done. */
	int left = 0;
	for (int i = 0; i < 500 && (left = zombies()) > 0; i++)
		nanosleep(&(struct timespec){0, 10000000}, NULL);
	printf("%d zombies\n", left);
	return left != 0;
}
