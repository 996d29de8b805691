/*
 * openfd: tries to climb out of the sandbox through every inherited
 * descriptor: openat(N, ".."), fchdir(N), and a second open of
 * /proc/self/fd/N for writing. Prints each way that works and exits 1 if a
 * directory could be reached; prints "no way out" and exits 0 otherwise.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
	int bad = 0;

	for (int fd = 0; fd < 1024; fd++) {
		char name[32];
		struct stat st;

		if (fcntl(fd, F_GETFD) < 0)
			continue;
		int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up >= 0) {
			printf("fd %d: openat .. works\n", fd);
			close(up);
			bad = 1;
		}
		if (!fchdir(fd)) {
			printf("fd %d: fchdir works\n", fd);
			bad = 1;
		}
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY && !fstat(fd, &st) &&
		    S_ISREG(st.st_mode)) {
			int w = open(name, O_WRONLY | O_CLOEXEC);
			if (w >= 0) {
				printf("fd %d: reopened for writing\n", fd);
				close(w);
				bad = 1;
			}
		}
	}
	if (!bad)
		printf("no way out\n");
	return bad;
}
