// The holder: finding it, joining its namespace, starting it. The exchange with
// it is drawn in holder.go.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

#define HOLDER_TIMEOUT_MS 5000

// start_time is field 22 of /proc/PID/stat (proc(5)); with the pid it names a
// process for good.
static unsigned long long start_time(int pid)
{
	char path[64], buf[2048], *p;
	unsigned long long t = 0;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (sandbox_read_file(path, buf, sizeof buf) <= 0 || !(p = strrchr(buf, ')')))
		return 0;
	if (sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &t) != 1)
		return 0;
	return t;
}

// sandbox_join enters the namespace of the holder that the record in dir names.
// 0: in; -1: there is no usable holder.
int sandbox_join(int dir)
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

// what_it_said turns the holder's answer, a letter and a text, into a result.
// The letters are drawn in holder.go.
static enum holder_result what_it_said(void)
{
	char kind = E.message[0];

	memmove(E.message, E.message + 1, strlen(E.message));
	switch (kind) {
	case 'm':
		E.broken = 1;
		return HOLDER_NO_RANGES;
	case 'n':
		return HOLDER_NO_RANGES;
	case 'c':
	case 'r':
		errno = atoi(E.message);
		E.message[0] = 0;
		return kind == 'c' ? HOLDER_NO_CLONE : HOLDER_NO_RIGHTS;
	}
	return HOLDER_FAILED;
}

static enum holder_result no_holder(const char *call)
{
	snprintf(E.message, sizeof E.message, "%s: %s", call, strerror(errno));
	return HOLDER_FAILED;
}

// sandbox_start_holder runs "sandbox holder" in a session of its own and waits
// until the namespace is there.
enum holder_result sandbox_start_holder(int dir, int off)
{
	int ready[2], life[2] = { -1, -1 }, status;
	char idle[64], path[PATH_MAX + 8], home[PATH_MAX + 8], user[300];

	if (pipe2(ready, O_CLOEXEC) < 0)
		return no_holder("pipe2");
	if (off && pipe2(life, O_CLOEXEC) < 0)
		return no_holder("pipe2");
	pid_t pid = fork();

	if (pid < 0)
		return no_holder("fork");
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

		snprintf(idle, sizeof idle, "SANDBOX_HOLDER_IDLE=%ld", off ? 0 : sandbox_idle_seconds());
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
	int up = 0;

	E.message[0] = 0;
	for (;;) {
		int got = poll(&p, 1, HOLDER_TIMEOUT_MS);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			close(ready[0]);
			snprintf(E.message, sizeof E.message, "it was not ready within %d seconds", HOLDER_TIMEOUT_MS / 1000);
			return HOLDER_FAILED;
		}
		ssize_t k = read(ready[0], E.message + n, sizeof E.message - 1 - n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			break;
		n += (size_t)k;
		up = E.message[0] == 'k';
		// A holder for this run alone also has its directory for
		// itself: wait until it is done there.
		if (up && !off)
			break;
	}
	close(ready[0]);
	E.message[n] = 0;
	if (up) {
		E.message[0] = 0;
		return HOLDER_READY;
	}
	if (n == 0) {
		snprintf(E.message, sizeof E.message, "it ended without a word");
		return HOLDER_FAILED;
	}
	return what_it_said();
}
