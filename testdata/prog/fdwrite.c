/*
 * fdwrite N: tries every way to change the regular file behind descriptor N,
 * which was opened for reading, and prints what worked. Exits 1 when something
 * did; else prints "unchanged" and exits 0.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

static int found;

static void check(const char *what, const char *how, int worked)
{
	if (worked) {
		printf("%s%s\n", what, how);
		found = 1;
	}
}

/* again opens path for writing in each way, and writes. */
static void again(const char *path)
{
	static const struct { const char *name; int flags; } ways[] = {
		{" for writing", O_WRONLY}, {" for both", O_RDWR}, {" for appending", O_WRONLY | O_APPEND},
		{" truncated", O_WRONLY | O_TRUNC}, {" truncated, for reading", O_RDONLY | O_TRUNC},
		{" created", O_WRONLY | O_CREAT}, {" direct", O_WRONLY | O_DIRECT},
	};

	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		int fd = open(path, ways[i].flags | O_CLOEXEC, 0600);
		if (fd < 0)
			continue;
		check(path, ways[i].name, 1);
		check(path, " and written", write(fd, "x", 1) == 1);
		close(fd);
	}
	check(path, " truncated by name", !truncate(path, 0));
	check(path, " chmod", !chmod(path, 0666));
	check(path, " chown", !chown(path, getuid(), getgid()));
	check(path, " utimes", !utimes(path, NULL));
	check(path, " xattr", !setxattr(path, "user.x", "x", 1, 0));
}

int main(int argc, char **argv)
{
	int fd = argc > 1 ? atoi(argv[1]) : 0, flags = 0;
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	again(path);
	snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
	again(path);
	snprintf(path, sizeof path, "/dev/fd/%d", fd);
	again(path);
	check("write", "", write(fd, "x", 1) == 1);
	check("ftruncate", "", !ftruncate(fd, 0));
	check("fchmod", "", !fchmod(fd, 0666));
	check("fchown", "", !fchown(fd, getuid(), getgid()));
	check("futimens", "", !futimens(fd, NULL));
	check("fallocate", "", !fallocate(fd, 0, 0, 1));
	check("fsetxattr", "", !fsetxattr(fd, "user.x", "x", 1, 0));
	check("flags", "", !ioctl(fd, _IOW('f', 2, long), &flags));
	check("mmap", "", mmap(NULL, 1, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
	void *p = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
	check("mprotect", "", p != MAP_FAILED && !mprotect(p, 1, PROT_READ | PROT_WRITE));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	check("linkat", "", !linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/linked", AT_SYMLINK_FOLLOW));
	check("linkat empty", "", !linkat(fd, "", AT_FDCWD, "/tmp/linked2", AT_EMPTY_PATH));
	if (!found)
		puts("unchanged");
	return found;
}
