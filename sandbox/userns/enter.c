// The way into a user namespace, taken before the Go runtime starts: setns(2)
// and unshare(2) of a user namespace need a process with one thread.
//
// Runs in: the process the user started, as the user. It acts for the commands
// that need a namespace only, and decides from /proc/self/cmdline and the
// environment alone; Go compares what the command-line parser says afterwards.
//
//   with subuid ranges   join the holder's namespace (made by rootlesskit once
//                        per user and boot, see holder.go), own mount namespace
//   as root              own mount namespace only
//   else                 one id: a user namespace of this run
//
// args.c reads the command line, place.c finds the runtime directory, ranges.c
// looks for subordinate ids, join.c knows the holder.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

struct sandbox_entry sandbox_entry = { .lease_fd = -1, .lifeline_fd = -1, .alone_fd = -1 };

int sandbox_failed(int step)
{
	E.way = WAY_FAILED;
	E.step = step;
	E.err = errno;
	return -1;
}

// sandbox_read_file reads at most size - 1 bytes and ends them with NUL; -1 when
// path cannot be opened.
int sandbox_read_file(const char *path, char *buf, size_t size)
{
	size_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	for (;;) {
		ssize_t r = read(fd, buf + n, size - 1 - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	close(fd);
	buf[n] = 0;
	return (int)n;
}

static int own_mounts(void)
{
	return unshare(CLONE_NEWNS) < 0 ? sandbox_failed(STEP_UNSHARE_MOUNT) : 0;
}

// started makes what start_holder found the result of by_holder.
static int started(enum holder_result r, int dir)
{
	switch (r) {
	case HOLDER_READY:
		return sandbox_join(dir) < 0 ? sandbox_failed(STEP_JOIN) : 0;
	case HOLDER_NO_RANGES:
		return 1;
	case HOLDER_NO_CLONE:
		return sandbox_failed(STEP_UNSHARE_USER);
	case HOLDER_NO_RIGHTS:
		return sandbox_failed(STEP_RIGHTS);
	case HOLDER_FAILED:
		break;
	}
	return sandbox_failed(STEP_HOLDER);
}

// by_own_holder makes a holder for this run alone, in a directory of its own:
// nobody else shall find it. The directory's lock says that somebody works in
// it; holder.go removes those of killed runs.
static int by_own_holder(int all)
{
	char name[32];
	int dir, r;

	snprintf(name, sizeof name, "only.%d", getpid());
	dir = sandbox_private_dir(all, name, 1);
	if (dir < 0 || flock(dir, LOCK_EX | LOCK_NB) < 0)
		return sandbox_failed(STEP_RUNTIME);
	r = started(sandbox_start_holder(dir, 1), dir);
	unlinkat(dir, "record", 0);
	unlinkat(dir, "lease", 0);
	unlinkat(all, name, AT_REMOVEDIR);
	close(dir);
	return r;
}

// by_holder: 0 in, 1 no ranges here, -1 failed.
static int by_holder(int runtime)
{
	int dir = sandbox_private_dir(runtime, "holder", 1), lock = -1, r;

	if (dir < 0)
		return sandbox_failed(STEP_RUNTIME);
	if (strcmp(E.holder, "off") == 0 || E.standalone) {
		r = by_own_holder(dir);
		close(dir);
		return r;
	}
	E.lease_fd = openat(dir, "lease", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (E.lease_fd < 0 || flock(E.lease_fd, LOCK_SH) < 0) {
		close(dir);
		return sandbox_failed(STEP_LEASE);
	}
	futimens(E.lease_fd, NULL); // the holder counts idleness from here
	r = sandbox_join(dir);
	if (r < 0) {
		lock = openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (lock < 0 || flock(lock, LOCK_EX) < 0) {
			close(dir);
			return sandbox_failed(STEP_LEASE);
		}
		r = sandbox_join(dir); // somebody made one while we waited
		if (r < 0)
			r = started(sandbox_start_holder(dir, 0), dir);
		close(lock);
	}
	close(dir);
	if (r != 0) {
		close(E.lease_fd);
		E.lease_fd = -1;
	}
	return r;
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = strlen(text), w;

	if (fd < 0)
		return -1;
	w = write(fd, text, (size_t)n);
	int err = errno;

	close(fd);
	errno = err;
	return w == n ? 0 : -1;
}

static int by_single_id(void)
{
	char map[64];

	if (unshare(CLONE_NEWUSER) < 0)
		return sandbox_failed(STEP_UNSHARE_USER);
	if (put("/proc/self/setgroups", "deny") < 0 && errno != ENOENT)
		return sandbox_failed(STEP_MAP);
	snprintf(map, sizeof map, "0 %d 1\n", E.uid);
	if (put("/proc/self/uid_map", map) < 0)
		return sandbox_failed(STEP_MAP);
	snprintf(map, sizeof map, "0 %d 1\n", E.gid);
	if (put("/proc/self/gid_map", map) < 0)
		return sandbox_failed(STEP_MAP);
	if (own_mounts() < 0)
		return -1;
	E.way = WAY_SINGLE;
	return 0;
}

// capable: CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID are in effect.
static int capable(void)
{
	char buf[8192], *p;
	unsigned long long eff;
	const unsigned long long need = 1ull << 21 | 1ull << 7 | 1ull << 6;

	if (sandbox_read_file("/proc/self/status", buf, sizeof buf) <= 0 || !(p = strstr(buf, "\nCapEff:")))
		return 0;
	eff = strtoull(p + 8, NULL, 16);
	return (eff & need) == need;
}

static int full_map(void)
{
	char buf[128];
	unsigned a, b, n;

	return sandbox_read_file("/proc/self/uid_map", buf, sizeof buf) > 0 &&
	       sscanf(buf, "%u %u %u", &a, &b, &n) == 3 && a == 0 && b == 0 && n == 4294967295u;
}

// proc_fits tells whether /proc is there and shows this process under its own
// number: that of an outer pid namespace (unshare --pid without --mount-proc)
// shows others under the numbers of our children.
static int proc_fits(void)
{
	char self[16];
	ssize_t n;

	if (access("/proc/self/ns/user", F_OK) < 0)
		return sandbox_failed(STEP_PROC);
	n = readlink("/proc/self", self, sizeof self - 1);
	if (n < 0)
		return sandbox_failed(STEP_PROC);
	self[n] = 0;
	errno = ESRCH;
	return atoi(self) == getpid() ? 0 : sandbox_failed(STEP_PROC_OTHER);
}

// by_root is for root, of the machine or of a user namespace around us: no
// namespace but for mounts. 0 in, 1 not for us, -1 failed.
static int by_root(int single, int identity)
{
	int full = full_map();

	if (capable() && (!single || full)) {
		if (unshare(CLONE_NEWNS) < 0)
			return full ? sandbox_failed(STEP_UNSHARE_MOUNT) : 1;
		E.way = full ? WAY_ROOT : WAY_NESTED;
		return 0;
	}
	// One id would be 0, the machine's root: only when asked for by name.
	if (full && !identity) {
		errno = EPERM;
		return sandbox_failed(STEP_HOST_ROOT);
	}
	return 1;
}

__attribute__((constructor)) static void sandbox_enter(void)
{
	if (getauxval(AT_SECURE)) {
		static const char no[] = "sandbox: refuse to run with raised privileges\n"
			"hint: remove the setuid or setgid bit or the file capabilities of the binary\n";

		if (write(2, no, sizeof no - 1) < 0)
			_exit(125);
		_exit(125);
	}
	// A caller may have closed 0, 1 or 2: nothing of ours shall land there.
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 3);
	if (fd >= 0)
		close(fd);
	E.uid = (int)geteuid();
	E.gid = (int)getegid();
	if (!sandbox_wanted())
		return;
	int single = strcmp(E.userns, "single") == 0, subuid = strcmp(E.userns, "subuid") == 0;
	int identity = strcmp(E.userns, "identity") == 0;

	if (!single && !subuid && !identity && strcmp(E.userns, "auto") != 0)
		return; // Go names the words that --userns takes
	// Where the binary cannot be read the kernel hides our own /proc from us.
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (proc_fits() < 0)
		return;
	int runtime = sandbox_runtime_dir(), r = 1;

	if (runtime < 0) {
		sandbox_failed(STEP_RUNTIME);
		return;
	}
	if (E.uid == 0)
		r = by_root(single, identity);
	if (r <= 0) {
		close(runtime);
		return;
	}
	if (identity && E.uid != 0) {
		errno = EPERM;
		sandbox_failed(STEP_NOT_ROOT);
	} else if (single || identity) {
		by_single_id();
	} else {
		if (E.uid != 0 || subuid)
			r = sandbox_have_ranges() ? by_holder(runtime) : 1;
		if (r == 0) {
			if (own_mounts() == 0)
				E.way = WAY_HOLDER;
		} else if (r == 1 && subuid) {
			errno = ENOENT;
			sandbox_failed(STEP_NO_RANGES);
		} else if (r == 1) {
			by_single_id();
		}
	}
	close(runtime);
}
