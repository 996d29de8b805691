/*
 * ttygames DEV RDEV: looks for the caller's terminal, whose st_dev and st_rdev
 * these are, among its descriptors and below /dev, and plays on whatever
 * terminal is descriptor 1: takes it as the controlling one (also by force),
 * types into it, listens to it, redirects the console, hangs it up. Prints
 * what worked and exits 1 when the caller's was found or something worked that
 * must not.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kd.h>
#include <linux/vt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static unsigned long dev, rdev;
static int bad;

static void compare(int fd, const char *name)
{
	struct stat st;

	if (!fstat(fd, &st) && st.st_dev == dev && st.st_rdev == rdev) {
		printf("%s is the caller's terminal\n", name);
		bad = 1;
	}
}

static void compare_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[600];

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		int fd = e->d_type == DT_DIR ? -1 : open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0) {
			compare(fd, path);
			close(fd);
		}
	}
	if (d)
		closedir(d);
}

static void must_fail(const char *name, long r)
{
	if (r < 0)
		return;
	printf("%s worked\n", name);
	bad = 1;
}

int main(int argc, char **argv)
{
	static const unsigned long high[] = {0, 1ul << 32, 1ul << 63, 0xffffffff00000000ul};
	char name[64], c = '#', select[8] = {2};
	int status, peer;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 3)
		return 2;
	dev = strtoul(argv[1], NULL, 0);
	rdev = strtoul(argv[2], NULL, 0);
	for (int fd = 0; fd < 1024; fd++) {
		snprintf(name, sizeof name, "fd %d", fd);
		compare(fd, name);
	}
	compare_dir("/dev");
	compare_dir("/dev/pts");

	for (size_t i = 0; i < sizeof high / sizeof *high; i++) {
		must_fail("TIOCSTI", syscall(SYS_ioctl, 1, TIOCSTI | high[i], &c));
		must_fail("TIOCLINUX", syscall(SYS_ioctl, 1, TIOCLINUX | high[i], select));
	}
	must_fail("TIOCCONS", ioctl(1, TIOCCONS, 0));
	must_fail("TIOCVHANGUP", ioctl(1, TIOCVHANGUP, 0));
	must_fail("vhangup", vhangup());
	must_fail("TIOCGPTPEER", peer = ioctl(1, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	must_fail("TIOCPKT", ioctl(1, TIOCPKT, &(int){1}));
	must_fail("TIOCGPTN", ioctl(1, TIOCGPTN, &peer));
	must_fail("KDSETMODE", ioctl(1, KDSETMODE, KD_GRAPHICS));
	must_fail("VT_ACTIVATE", ioctl(1, VT_ACTIVATE, 1));
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = {"/dev/console", "/dev/tty0", "/dev/vcs"};
		must_fail(names[i], open(names[i], O_RDWR | O_NOCTTY));
	}

	/* A new session may take a terminal that nobody has: ours alone. */
	pid_t child = fork();
	if (child == 0) {
		setsid();
		if (ioctl(1, TIOCSCTTY, 0)) {
			must_fail("TIOCSCTTY by force", ioctl(1, TIOCSCTTY, 1));
		} else {
			int fd = open("/dev/tty", O_RDWR);
			if (fd >= 0)
				compare(fd, "/dev/tty");
		}
		_exit(bad);
	}
	waitpid(child, &status, 0);
	bad |= !WIFEXITED(status) || WEXITSTATUS(status);
	if (!bad)
		puts("no way to the caller's terminal");
	return bad;
}
