// The runtime directory: below XDG_RUNTIME_DIR, else one in /tmp that is
// remembered for this boot, else one for this run alone. Go finds it again by
// the same rules (runtime.go).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

// sandbox_private_dir opens name below dir, making it if asked; it must be a
// real directory of ours that we can write to and nobody else can enter.
int sandbox_private_dir(int dir, const char *name, int make)
{
	struct stat st;
	int fd;

	if (make && mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return -1;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077) || (st.st_mode & 0700) != 0700) {
		close(fd);
		errno = EPERM;
		return -1;
	}
	if (faccessat(fd, ".", W_OK, AT_EACCESS) < 0) { // a read-only file system
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

// make_path makes the directories of path, an absolute one, where they are
// missing; never in a directory of somebody else's: with sudo, HOME may still be
// the user's. 0 when path is there in the end and ours.
static int make_path(char *path)
{
	struct stat st = { 0 };

	for (char *s = path;;) {
		s = strchrnul(s + 1, '/');
		char end = *s;

		*s = 0;
		if (stat(path, &st) < 0) {
			struct stat made;

			if (errno != ENOENT || st.st_uid != geteuid() || (mkdir(path, 0700) < 0 && errno != EEXIST) ||
			    stat(path, &made) < 0)
				return -1;
			st = made;
		}
		*s = end;
		if (!end)
			return st.st_uid == geteuid() ? 0 : -1;
	}
}

// state_dir opens our own directory below the state home, -1 when there is none.
static int state_dir(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char path[PATH_MAX];
	int n, base, dir;

	if (state && *state == '/')
		n = snprintf(path, sizeof path, "%s", state);
	else if (home && *home == '/')
		n = snprintf(path, sizeof path, "%s/.local/state", home);
	else
		return -1;
	if (n >= (int)sizeof path || make_path(path) < 0)
		return -1;
	base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return -1;
	dir = sandbox_private_dir(base, "sandbox", 1);
	close(base);
	return dir;
}

// recall opens the directory that the file "runtime" in dir names, if it was
// written by us since the machine was started; -1 without one.
static int recall(int dir, const char *boot)
{
	char line[PATH_MAX + 64], *sp, *nl;
	struct stat st;
	int fd = openat(dir, "runtime", O_RDONLY | O_NOFOLLOW | O_CLOEXEC), r = -1;

	if (fd < 0)
		return -1;
	ssize_t n = read(fd, line, sizeof line - 1);

	if (n > 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022)) {
		line[n] = 0;
		if ((nl = strchr(line, '\n')))
			*nl = 0;
		sp = strchr(line, ' ');
		if (sp && strlen(sp + 1) < sizeof E.runtime) {
			*sp = 0;
			if (strcmp(line, boot) == 0 && (r = sandbox_private_dir(AT_FDCWD, sp + 1, 0)) >= 0)
				strcpy(E.runtime, sp + 1);
		}
	}
	close(fd);
	return r;
}

// remember writes the file that recall reads. dir is locked.
static int remember(int dir, const char *boot, const char *made)
{
	char line[PATH_MAX + 128];
	int n = snprintf(line, sizeof line, "%s %s\n", boot, made), fd;

	unlinkat(dir, "runtime.new", 0); // of one that was killed
	fd = openat(dir, "runtime.new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	if (write(fd, line, (size_t)n) != n || fsync(fd) < 0 || renameat(dir, "runtime.new", dir, "runtime") < 0) {
		unlinkat(dir, "runtime.new", 0);
		close(fd);
		return -1;
	}
	return close(fd);
}

// stand_alone marks a directory that goes with this run: the lock in it is held
// for as long as we live. See Entry.Leave.
static void stand_alone(int dir)
{
	E.standalone = 1;
	E.alone_fd = openat(dir, "alone", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (E.alone_fd >= 0)
		flock(E.alone_fd, LOCK_EX | LOCK_NB); // new: nobody has it
}

// remembered_runtime finds or makes the directory that stands in for
// XDG_RUNTIME_DIR: mkdtemp, remembered with the boot id below the state home.
static int remembered_runtime(void)
{
	char boot[64] = "", made[] = "/tmp/sandbox-XXXXXX", *nl;
	int state = state_dir(), dir = -1;

	if (sandbox_read_file("/proc/sys/kernel/random/boot_id", boot, sizeof boot) > 0 && (nl = strchr(boot, '\n')))
		*nl = 0;
	if (state >= 0 && flock(state, LOCK_EX) == 0) // of several first runs one makes it
		dir = recall(state, boot);
	if (dir < 0 && mkdtemp(made)) {
		dir = sandbox_private_dir(AT_FDCWD, made, 0);
		if (dir >= 0) {
			strcpy(E.runtime, made);
			if (state < 0 || !*boot || remember(state, boot, made) < 0)
				stand_alone(dir);
		}
	}
	if (state >= 0) {
		int err = errno;

		close(state);
		errno = err;
	}
	return dir;
}

// sandbox_runtime_dir returns a descriptor of our runtime directory, its path in
// E.runtime; -1 when none can be made.
int sandbox_runtime_dir(void)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (xdg && *xdg == '/' && strlen(xdg) < sizeof E.runtime - 16) {
		int base = open(xdg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		// With su or sudo it may be another user's.
		if (base >= 0 && fstat(base, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022)) {
			int dir = sandbox_private_dir(base, "sandbox", 1);

			if (dir >= 0) {
				snprintf(E.runtime, sizeof E.runtime, "%s/sandbox", xdg);
				close(base);
				return dir;
			}
		}
		if (base >= 0)
			close(base);
	}
	return remembered_runtime();
}
