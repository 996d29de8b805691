/*
 * uncover FILE…: with every right that it has, tries to take away what covers
 * the host: unmounts all mounts (also lazily), moves them, binds what lies
 * below them elsewhere, makes them writable, mounts the kernel's file systems
 * anew, and makes an overlay of /. After each step that worked it looks for
 * each FILE, a name that only the host has, at its own path and below the new
 * mount, and reads it. Prints the steps that worked, "saw PATH" for what it
 * should not have seen, and exits 1 then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX 4096

static char *points[MAX], **canaries;
static int count, ncanaries, seen;

static void look(const char *below)
{
	char path[8192];
	struct stat st;

	for (int i = 0; i < ncanaries; i++) {
		snprintf(path, sizeof path, "%s%s", below, canaries[i]);
		if (!stat(path, &st)) {
			printf("saw %s\n", path);
			seen = 1;
		}
	}
}

static void step(const char *what, const char *path, int worked, const char *below)
{
	if (!worked)
		return;
	printf("%s %s\n", what, path);
	look("");
	if (below)
		look(below);
}

static void unescape(char *s)
{
	char *d = s;

	for (; *s; s++, d++) {
		if (*s == '\\' && s[1] && s[2] && s[3]) {
			*d = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*d = *s;
		}
	}
	*d = 0;
}

static void read_points(void)
{
	char line[16384], path[8192];
	FILE *f = fopen("/proc/self/mountinfo", "r");

	if (!f) {
		perror("/proc/self/mountinfo");
		exit(2);
	}
	while (count < MAX && fgets(line, sizeof line, f))
		if (sscanf(line, "%*d %*d %*s %*s %8191s", path) == 1) {
			unescape(path);
			points[count++] = strdup(path);
		}
	fclose(f);
}

int main(int argc, char **argv)
{
	static const char *const kinds[] = {"proc", "sysfs", "cgroup2", "cgroup", "devtmpfs", "devpts", "mqueue",
		"debugfs", "tracefs", "securityfs", "bpf", "ramfs", "ext4", "fuse", "configfs", "binfmt_misc", "hugetlbfs"};
	char at[] = "/tmp/uncover.XXXXXX", options[8300], dir[300];
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	canaries = argv + 1;
	ncanaries = argc - 1;
	look("");
	if (seen || !mkdtemp(at)) {
		puts("seen before anything was done, or no /tmp");
		return 2;
	}
	read_points();
	for (int i = 0; i < count; i++) {
		const char *p = points[i];

		step("remount rw", p, !mount(NULL, p, NULL, MS_REMOUNT | MS_BIND, NULL), NULL);
		/* Not recursive: without what covers p's inside. */
		if (!mount(p, at, NULL, MS_BIND, NULL)) {
			step("bind", p, 1, at);
			step("remount bind rw", p, !mount(NULL, at, NULL, MS_REMOUNT | MS_BIND, NULL), at);
			step("unmount bind", p, !umount2(at, MNT_DETACH), NULL);
		}
		if (!mount(p, at, NULL, MS_BIND | MS_REC, NULL)) {
			for (int j = count - 1; j >= 0; j--) { /* in the copy too */
				snprintf(options, sizeof options, "%s%s", at, points[j]);
				step("unmount in copy", points[j], !umount2(options, MNT_DETACH | UMOUNT_NOFOLLOW), at);
			}
			umount2(at, MNT_DETACH);
		}
		if (!mount(p, at, NULL, MS_MOVE, NULL)) {
			step("move", p, 1, at);
			mount(at, p, NULL, MS_MOVE, NULL);
		}
		fd = (int)syscall(428, AT_FDCWD, p, 1 /* OPEN_TREE_CLONE */);
		if (fd >= 0) {
			step("open_tree", p, 1, NULL);
			snprintf(options, sizeof options, "/proc/self/fd/%d", fd);
			look(options);
			close(fd);
		}
		snprintf(options, sizeof options, "lowerdir=%s:/tmp", p);
		if (!mount("overlay", at, "overlay", MS_RDONLY, options)) {
			step("overlay of", p, 1, at);
			umount2(at, MNT_DETACH);
		}
	}
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (mount("none", at, kinds[i], 0, NULL))
			continue;
		step("mount", kinds[i], 1, at);
		umount2(at, MNT_DETACH);
	}
	/* A new root, and then the old one from below. */
	snprintf(dir, sizeof dir, "%s", at);
	if (!mount("none", dir, "tmpfs", 0, NULL)) {
		snprintf(options, sizeof options, "%s/old", dir);
		mkdir(options, 0700);
		if (!syscall(SYS_pivot_root, dir, options)) {
			step("pivot_root", dir, 1, "/old");
			for (int i = count - 1; i >= 0; i--) {
				snprintf(options, sizeof options, "/old%s", points[i]);
				step("unmount below", points[i], !umount2(options, MNT_DETACH | UMOUNT_NOFOLLOW), "/old");
			}
			if (chdir("/old") || chroot("/old"))
				puts("no way back");
		}
	}
	if (chroot("/"))
		printf("chroot: %s\n", strerror(errno));
	for (int i = count - 1; i > 0; i--)
		step("unmount", points[i], !umount2(points[i], MNT_DETACH | UMOUNT_NOFOLLOW), NULL);
	step("unmount", "/", !umount2("/", MNT_DETACH), NULL);
	puts(seen ? "uncovered" : "covered");
	return seen;
}
