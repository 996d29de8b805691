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
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enter.h"
#include "flags.h" // value_flags, value_shorts: made from the command line's grammar

#define HOLDER_TIMEOUT_MS 5000

struct sandbox_entry sandbox_entry = { .lease_fd = -1, .lifeline_fd = -1 };

#define E sandbox_entry

static int failed(int step)
{
	E.way = WAY_FAILED;
	E.step = step;
	E.err = errno;
	return -1;
}

static int read_file(const char *path, char *buf, size_t size)
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

// --- what was asked for ---------------------------------------------------

static int takes_value(const char *arg, size_t len)
{
	for (const char *const *f = value_flags; *f; f++)
		if (strlen(*f) == len && memcmp(*f, arg, len) == 0)
			return 1;
	return 0;
}

static void take(char *dst, size_t size, const char *value)
{
	if (value)
		snprintf(dst, size, "%s", value);
}

// flag reads one flag word at arg, its value perhaps in next; returns how many
// words it used.
static int flag(const char *arg, const char *next, int *quiet)
{
	const char *eq = strchr(arg, '='), *value = NULL;
	int used = 1;

	if (arg[1] != '-') { // a cluster such as -it, -w/tmp or -w /tmp
		for (const char *c = arg + 1; *c; c++) {
			if (*c == 'h')
				*quiet = 1;
			if (strchr(value_shorts, *c))
				return c[1] ? 1 : 2;
		}
		return 1;
	}
	size_t len = eq ? (size_t)(eq - arg) : strlen(arg);

	if (eq) {
		value = eq + 1;
	} else if (takes_value(arg, len)) {
		value = next;
		used = 2;
	}
	if (len == 4 && memcmp(arg, "--fd", 4) == 0 && value) {
		// Seen now, while no descriptor is ours yet.
		long n = strtol(value, NULL, 10);

		if (n > 2 && n < (long)sizeof E.inherited * 8 && fcntl((int)n, F_GETFD) >= 0)
			E.inherited[n / 8] |= (unsigned char)(1 << n % 8);
	}
	if (len == 8 && memcmp(arg, "--userns", 8) == 0)
		take(E.userns, sizeof E.userns, value);
	else if (len == 8 && memcmp(arg, "--holder", 8) == 0)
		take(E.holder, sizeof E.holder, value);
	else if ((len == 9 && memcmp(arg, "--dry-run", 9) == 0 && !eq) ||
		 (len == 6 && memcmp(arg, "--help", 6) == 0))
		*quiet = 1;
	return used;
}

// wanted tells whether this command needs a namespace, and fills in how.
static int wanted(void)
{
	size_t size = 1 << 16, n = 0;
	char *buf = NULL, *p, *end;
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC), quiet = 0, in_run = 0;

	if (fd < 0)
		return 0;
	for (;;) { // up to ARG_MAX
		char *bigger = realloc(buf, size + 1);

		if (!bigger)
			break;
		buf = bigger;
		ssize_t r = read(fd, buf + n, size - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		n += (size_t)r;
		if (n == size)
			size *= 2;
	}
	close(fd);
	if (!buf)
		return 0;
	buf[n] = 0;
	take(E.userns, sizeof E.userns, getenv("SANDBOX_USERNS"));
	take(E.holder, sizeof E.holder, getenv("SANDBOX_HOLDER"));
	end = buf + n;
	p = buf + strlen(buf) + 1;
	while (p < end) {
		char *next = p + strlen(p) + 1;

		if (p[0] == '-' && p[1]) {
			if (strcmp(p, "--") == 0)
				break;
			int used = flag(p, next < end ? next : NULL, &quiet);

			p = next;
			if (used == 2 && p < end)
				p += strlen(p) + 1;
			continue;
		}
		if (in_run)
			break;
		if (strcmp(p, "run") != 0) {
			quiet = 1;
			break;
		}
		in_run = 1;
		p = next;
	}
	free(buf);
	if (!*E.userns)
		strcpy(E.userns, "auto");
	if (!*E.holder)
		strcpy(E.holder, "auto");
	return in_run && !quiet;
}

// idle_seconds is how long a holder made by us may idle: --holder's duration
// (Go's spelling: 90s, 10m, 1h30m), 60 seconds in CI, else 15 minutes.
static long idle_seconds(void)
{
	const char *p = E.holder, *ci = getenv("CI");
	long total = 0;

	if (strcmp(p, "auto") == 0 || strcmp(p, "off") == 0)
		return ci && *ci && strcmp(ci, "false") != 0 ? 60 : 15 * 60;
	while (*p) {
		char *unit;
		double n = strtod(p, &unit);

		if (unit == p || n < 0 || n > 1e9)
			return 15 * 60; // not a duration: Go refuses it later
		if (unit[0] == 'm' && unit[1] == 's') {
			n /= 1000;
			unit++;
		} else if (unit[0] == 'h') {
			n *= 3600;
		} else if (unit[0] == 'm') {
			n *= 60;
		} else if (unit[0] != 's') {
			return 15 * 60;
		}
		total += (long)n;
		p = unit + 1;
	}
	return total > 0 ? total : 1;
}

// --- the runtime directory --------------------------------------------------

// private_dir opens name below dir, making it if asked; it must be a real
// directory of ours that nobody else can enter.
static int private_dir(int dir, const char *name, int make)
{
	struct stat st;
	int fd;

	if (make && mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return -1;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077)) {
		close(fd);
		errno = EPERM;
		return -1;
	}
	return fd;
}

// remembered_runtime finds or makes the directory that stands in for
// XDG_RUNTIME_DIR: mkdtemp, remembered with the boot id below the state home.
static int remembered_runtime(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char boot[64] = "", line[PATH_MAX + 64], path[PATH_MAX - 32], *sp, *nl;
	int dir = -1, fd;

	if (read_file("/proc/sys/kernel/random/boot_id", boot, sizeof boot) > 0 && (nl = strchr(boot, '\n')))
		*nl = 0;
	if (state && *state == '/')
		snprintf(path, sizeof path, "%s", state);
	else if (home && *home == '/')
		snprintf(path, sizeof path, "%s/.local/state", home);
	else
		path[0] = 0;
	if (path[0]) {
		for (char *s = path + 1; (s = strchr(s, '/')); *s++ = '/') {
			*s = 0;
			mkdir(path, 0700); // exists, or the open below says why not
		}
		mkdir(path, 0700);
		int base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (base >= 0) {
			dir = private_dir(base, "sandbox", 1);
			close(base);
		}
	}
	if (dir >= 0) {
		struct stat st;

		fd = openat(dir, "runtime", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0) {
			ssize_t n = read(fd, line, sizeof line - 1);

			if (n > 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022)) {
				line[n] = 0;
				if ((nl = strchr(line, '\n')))
					*nl = 0;
				sp = strchr(line, ' ');
				if (sp && (size_t)(sp - line) == strlen(boot) && memcmp(line, boot, strlen(boot)) == 0) {
					int r = private_dir(AT_FDCWD, sp + 1, 0);

					if (r >= 0) {
						snprintf(E.runtime, sizeof E.runtime, "%s", sp + 1);
						close(fd);
						close(dir);
						return r;
					}
				}
			}
			close(fd);
		}
	}
	char made[] = "/tmp/sandbox-XXXXXX";

	if (!mkdtemp(made)) {
		if (dir >= 0)
			close(dir);
		return -1;
	}
	snprintf(E.runtime, sizeof E.runtime, "%s", made);
	if (dir >= 0) {
		int n = snprintf(line, sizeof line, "%s %s\n", boot, made);
		char tmp[32];

		snprintf(tmp, sizeof tmp, "runtime.%d", getpid());
		fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, line, (size_t)n) != n || renameat(dir, tmp, dir, "runtime") < 0) {
			unlinkat(dir, tmp, 0);
			E.standalone = 1;
		}
		if (fd >= 0)
			close(fd);
		close(dir);
	} else {
		E.standalone = 1;
	}
	return private_dir(AT_FDCWD, made, 0);
}

// runtime_dir returns a descriptor of our runtime directory.
static int runtime_dir(void)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (xdg && *xdg == '/' && strlen(xdg) < sizeof E.runtime - 16) {
		int base = open(xdg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (base >= 0 && fstat(base, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022)) {
			int dir = private_dir(base, "sandbox", 1);

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

// --- the holder ---------------------------------------------------------------

// start_time is field 22 of /proc/PID/stat (proc(5)); with the pid it names a
// process for good.
static unsigned long long start_time(int pid)
{
	char path[64], buf[2048], *p;
	unsigned long long t = 0;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (read_file(path, buf, sizeof buf) <= 0 || !(p = strrchr(buf, ')')))
		return 0;
	if (sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &t) != 1)
		return 0;
	return t;
}

// join enters the namespace of the holder that the record in dir names. 0: in;
// -1: there is no usable holder.
static int join(int dir)
{
	char line[64] = "", path[64];
	int pid, ns, fd, parent;
	unsigned long long start;
	uid_t owner;
	struct stat a, b;

	fd = openat(dir, "record", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, line, sizeof line - 1);

	close(fd);
	if (n <= 0 || sscanf(line, "%d %llu", &pid, &start) != 2 || pid <= 1)
		return -1;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	// The start time is read after the descriptors exist: what they name is
	// the process that had this start time, or they name nothing any more.
	int ok = ns >= 0 && start_time(pid) == start &&
		 syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 &&
		 ioctl(ns, NS_GET_OWNER_UID, &owner) == 0 && owner == geteuid();

	if (ok) { // made by us, in our own namespace, or it is not for us
		parent = ioctl(ns, NS_GET_PARENT);
		ok = parent >= 0 && fstat(parent, &a) == 0 && stat("/proc/self/ns/user", &b) == 0 &&
		     a.st_ino == b.st_ino && a.st_dev == b.st_dev;
		if (parent >= 0)
			close(parent);
	}
	if (ok)
		ok = setns(ns, CLONE_NEWUSER) == 0;
	if (ok)
		E.holder_pid = pid;
	close(pidfd);
	if (ns >= 0)
		close(ns);
	return ok ? 0 : -1;
}

// start_holder runs "sandbox holder" in a session of its own and waits until
// the namespace is there. 0: ready; 1: this machine has no ranges for us;
// -1: it failed.
static int start_holder(int dir, int off)
{
	int ready[2], life[2] = { -1, -1 }, status;
	char idle[64], path[PATH_MAX + 8], home[PATH_MAX + 8], user[300];

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -1;
	if (off && pipe2(life, O_CLOEXEC) < 0)
		return -1;
	pid_t pid = fork();

	if (pid < 0)
		return -1;
	if (pid == 0) {
		if (fork() != 0) // so that init collects the holder, not the user's shell
			_exit(0);
		setsid();
		if (chdir("/") < 0)
			_exit(125);
		int lease = openat(dir, "lease", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
		int null = open("/dev/null", O_RDWR);

		if (lease < 0 || null < 0)
			_exit(125);
		// Above 12 first, then to their places: rootlesskit uses 3 and 4.
		int src[6] = { off ? life[0] : null, null, null, lease, dir, ready[1] };
		static const int dst[6] = { 0, 1, 2, 10, 11, 12 };

		for (int i = 0; i < 6; i++)
			if ((src[i] = fcntl(src[i], F_DUPFD, 20)) < 0)
				_exit(125);
		for (int i = 0; i < 6; i++)
			if (dup2(src[i], dst[i]) < 0)
				_exit(125);
		// Nothing else of the caller's stays with a process that outlives him.
		if (syscall(SYS_close_range, 3, 9, 0) < 0 || syscall(SYS_close_range, 13, ~0U, 0) < 0)
			_exit(125);
		const char *p = getenv("PATH"), *h = getenv("HOME"), *u = getenv("USER");

		snprintf(idle, sizeof idle, "SANDBOX_HOLDER_IDLE=%ld", off ? 0 : idle_seconds());
		snprintf(path, sizeof path, "PATH=%s", p ? p : "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
		snprintf(home, sizeof home, "HOME=%s", h ? h : "/");
		snprintf(user, sizeof user, "USER=%s", u ? u : "");
		char *argv[] = { "sandbox", "holder", NULL };
		char *envp[] = { idle, path, home, user, NULL };

		execve("/proc/self/exe", argv, envp);
		dprintf(12, "eexec /proc/self/exe: %s", strerror(errno));
		_exit(125);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	close(ready[1]);
	if (off) {
		close(life[0]);
		E.lifeline_fd = life[1];
	}
	struct pollfd p = { ready[0], POLLIN, 0 };
	size_t n = 0;
	int r = -1;

	for (;;) {
		int got = poll(&p, 1, HOLDER_TIMEOUT_MS);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			snprintf(E.message, sizeof E.message, "it was not ready within %d seconds", HOLDER_TIMEOUT_MS / 1000);
			break;
		}
		ssize_t k = read(ready[0], E.message + n, sizeof E.message - 1 - n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			break;
		n += (size_t)k;
		if (E.message[0] == 'k') {
			r = 0;
			// A holder for this run alone also has its directory
			// for itself: wait until it is done there.
			if (!off)
				break;
		}
	}
	close(ready[0]);
	if (r == 0) {
		E.message[0] = 0;
	} else if (n > 0) {
		E.message[n] = 0;
		r = E.message[0] == 'n' ? 1 : -1;
		memmove(E.message, E.message + 1, n);
	} else if (!E.message[0]) {
		snprintf(E.message, sizeof E.message, "it ended without a word");
	}
	return r;
}

// have_ranges tells cheaply whether a holder is worth a try: newuidmap is on
// the PATH and /etc/subuid has a line for us, or nsswitch names another source.
static int have_ranges(void)
{
	const char *p = getenv("PATH");
	char buf[1 << 16], path[PATH_MAX], name[64] = "", uid[16], *line, *save;
	int found = 0;

	for (p = p ? p : "/usr/bin:/bin"; !found;) {
		size_t n = strcspn(p, ":");

		if (n > 0 && n + 11 < sizeof path) {
			memcpy(path, p, n);
			strcpy(path + n, "/newuidmap");
			found = access(path, X_OK) == 0;
		}
		if (!p[n])
			break;
		p += n + 1;
	}
	if (!found) {
		snprintf(E.message, sizeof E.message, "newuidmap is not installed");
		return 0;
	}
	snprintf(uid, sizeof uid, "%d", (int)geteuid());
	if (read_file("/etc/passwd", buf, sizeof buf) > 0) {
		for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			char *c1 = strchr(line, ':'), *c2 = c1 ? strchr(c1 + 1, ':') : NULL, *c3 = c2 ? strchr(c2 + 1, ':') : NULL;

			if (!c3)
				continue;
			*c1 = *c3 = 0;
			if (strcmp(c2 + 1, uid) == 0 && c1 - line < (long)sizeof name) {
				strcpy(name, line);
				break;
			}
		}
	}
	if (read_file("/etc/subuid", buf, sizeof buf) > 0) {
		if (strlen(buf) == sizeof buf - 1)
			return 1; // longer than we read: let the holder look
		for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			char *c = strchr(line, ':');

			if (!c)
				continue;
			*c = 0;
			if (strcmp(line, uid) == 0 || (*name && strcmp(line, name) == 0))
				return 1;
		}
	}
	if (read_file("/etc/nsswitch.conf", buf, sizeof buf) > 0 && (line = strstr(buf, "subid:")) &&
	    (line == buf || line[-1] == '\n'))
		return 1;
	snprintf(E.message, sizeof E.message, "no range for uid %s in /etc/subuid", uid);
	return 0;
}

static int own_mounts(void)
{
	return unshare(CLONE_NEWNS) < 0 ? failed(STEP_UNSHARE_MOUNT) : 0;
}

// by_holder: 0 in, 1 no ranges here, -1 failed.
static int by_holder(int runtime)
{
	int off = strcmp(E.holder, "off") == 0 || E.standalone;
	int dir = private_dir(runtime, "holder", 1), lock = -1, r;
	char only[32];

	if (dir < 0)
		return failed(STEP_RUNTIME);
	if (off) { // a directory of its own: nobody else shall find this holder
		snprintf(only, sizeof only, "only.%d", getpid());
		int mine = private_dir(dir, only, 1);

		if (mine < 0) {
			close(dir);
			return failed(STEP_RUNTIME);
		}
		r = start_holder(mine, 1);
		if (r == 0 && join(mine) < 0)
			r = failed(STEP_JOIN);
		else if (r < 0)
			failed(STEP_HOLDER);
		unlinkat(mine, "record", 0);
		unlinkat(mine, "lease", 0);
		close(mine);
		unlinkat(dir, only, AT_REMOVEDIR);
		close(dir);
		return r;
	}
	E.lease_fd = openat(dir, "lease", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (E.lease_fd < 0 || flock(E.lease_fd, LOCK_SH) < 0) {
		close(dir);
		return failed(STEP_LEASE);
	}
	futimens(E.lease_fd, NULL); // the holder counts idleness from here
	r = join(dir);
	if (r < 0) {
		lock = openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (lock < 0 || flock(lock, LOCK_EX) < 0) {
			close(dir);
			return failed(STEP_LEASE);
		}
		r = join(dir); // somebody made one while we waited
		if (r < 0) {
			r = start_holder(dir, 0);
			if (r == 0 && join(dir) < 0)
				r = failed(STEP_JOIN);
			else if (r < 0)
				failed(STEP_HOLDER);
		}
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
		return failed(STEP_UNSHARE_USER);
	if (put("/proc/self/setgroups", "deny") < 0 && errno != ENOENT)
		return failed(STEP_MAP);
	snprintf(map, sizeof map, "0 %d 1\n", E.uid);
	if (put("/proc/self/uid_map", map) < 0)
		return failed(STEP_MAP);
	snprintf(map, sizeof map, "0 %d 1\n", E.gid);
	if (put("/proc/self/gid_map", map) < 0)
		return failed(STEP_MAP);
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

	if (read_file("/proc/self/status", buf, sizeof buf) <= 0 || !(p = strstr(buf, "\nCapEff:")))
		return 0;
	eff = strtoull(p + 8, NULL, 16);
	return (eff & need) == need;
}

static int full_map(void)
{
	char buf[128];
	unsigned a, b, n;

	return read_file("/proc/self/uid_map", buf, sizeof buf) > 0 &&
	       sscanf(buf, "%u %u %u", &a, &b, &n) == 3 && a == 0 && b == 0 && n == 4294967295u;
}

__attribute__((constructor)) static void sandbox_enter(void)
{
	if (getauxval(AT_SECURE)) {
		static const char no[] = "sandbox: refuse to run with raised privileges: remove the setuid or setgid bit or the file capabilities of the binary\n";

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
	if (!wanted())
		return;
	if (access("/proc/self/ns/user", F_OK) < 0) {
		failed(STEP_PROC);
		return;
	}
	int single = strcmp(E.userns, "single") == 0, subuid = strcmp(E.userns, "subuid") == 0;
	int identity = strcmp(E.userns, "identity") == 0;

	if (!single && !subuid && !identity && strcmp(E.userns, "auto") != 0)
		return; // Go names the words that --userns takes
	int runtime = runtime_dir();

	if (runtime < 0) {
		failed(STEP_RUNTIME);
		return;
	}
	if (E.uid == 0 && !single && capable()) {
		int full = full_map();

		if (unshare(CLONE_NEWNS) == 0) {
			E.way = full ? WAY_ROOT : WAY_NESTED;
			close(runtime);
			return;
		}
	}
	if (identity) {
		errno = EPERM;
		failed(STEP_NOT_ROOT);
	} else if (single) {
		by_single_id();
	} else {
		int r = E.uid != 0 || subuid ? (have_ranges() ? by_holder(runtime) : 1) : 1;

		if (r == 0) {
			if (own_mounts() == 0)
				E.way = WAY_HOLDER;
		} else if (r == 1 && subuid) {
			errno = ENOENT;
			failed(STEP_HOLDER);
		} else if (r == 1) {
			by_single_id();
		}
	}
	close(runtime);
}
