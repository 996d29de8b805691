/*
 * writable DIR…: walks the directories and prints each file that can be opened
 * for writing (nothing is written), and each directory in which a file can be
 * made (it is removed). Exits 1 when there is one, else prints "none".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

static int found, looked;

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char name[4096];
	int fd = -1;

	(void)ftw;
	looked++;
	if (type == FTW_F && S_ISREG(st->st_mode)) {
		fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0)
			printf("file %s\n", path);
	} else if (type == FTW_D || type == FTW_DNR) {
		snprintf(name, sizeof name, "%s/.writable", path);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0) {
			printf("directory %s\n", path);
			unlink(name);
		}
	}
	if (fd >= 0) {
		close(fd);
		found = 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		nftw(argv[i], visit, 64, FTW_PHYS | FTW_MOUNT);
	if (!looked) {
		puts("nothing to look at");
		return 2;
	}
	if (!found)
		printf("none of %d\n", looked);
	return found;
}
