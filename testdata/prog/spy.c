/*
 * spy [PID]: tries every way to look into another process (default: pid 1) or
 * to change it, and prints what worked, one "got WHAT" a line. Exits 1 when
 * something did; else prints "nothing" and exits 0.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static int found; /* something did */

static void got(const char *what, const char *more)
{
	printf("got %s%s\n", what, more);
	found = 1;
}

int main(int argc, char **argv)
{
	static const char *const reads[] = {"environ", "mem", "auxv", "maps", "smaps", "smaps_rollup",
		"numa_maps", "pagemap", "stack", "syscall", "io", "personality", "timers", "patch_state",
		"fdinfo/0", "fdinfo/3", "fdinfo/4"};
	static const char *const links[] = {"exe", "cwd", "root", "fd/0", "fd/1", "fd/3", "fd/4",
		"ns/user", "ns/mnt", "ns/pid", "ns/net"};
	static const char *const writes[] = {"mem", "clear_refs", "comm", "uid_map", "gid_map", "setgroups",
		"timens_offsets", "timerslack_ns", "loginuid"};
	int pid = argc > 1 ? atoi(argv[1]) : 1, status;
	char path[64], buf[4096];

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, reads[i]);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			continue;
		/* Some check at open(2), some at read(2). */
		if ((!strcmp(reads[i], "mem") ? pread(fd, buf, 16, 0x400000) : read(fd, buf, sizeof buf)) > 0)
			got("read ", reads[i]);
		close(fd);
	}
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, links[i]);
		if (readlink(path, buf, sizeof buf) >= 0)
			got("link ", links[i]);
		int fd = open(path, O_PATH | O_CLOEXEC);
		if (fd >= 0)
			got("path ", links[i]);
	}
	for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, writes[i]);
		int fd = open(path, O_WRONLY | O_CLOEXEC);

		if (fd < 0)
			continue;
		if (pwrite(fd, "0\n", 2, 0x400000) == 2 || write(fd, "0\n", 2) == 2)
			got("write ", writes[i]);
		close(fd);
	}

	struct iovec mine = {buf, 16}, its = {(void *)0x400000, 16};

	if (process_vm_readv(pid, &mine, 1, &its, 1, 0) >= 0)
		got("process_vm_readv", "");
	if (process_vm_writev(pid, &mine, 1, &its, 1, 0) >= 0)
		got("process_vm_writev", "");
	if (syscall(SYS_kcmp, getpid(), pid, 0, 0, 0) >= 0)
		got("kcmp", "");
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	for (int fd = 0; pidfd >= 0 && fd < 16; fd++) {
		snprintf(path, sizeof path, " %d", fd);
		if (syscall(SYS_pidfd_getfd, pidfd, fd, 0) >= 0)
			got("pidfd_getfd", path);
	}
	if (!ptrace(PTRACE_SEIZE, pid, 0, 0)) {
		got("PTRACE_SEIZE", "");
		ptrace(PTRACE_DETACH, pid, 0, 0);
	}
	if (!ptrace(PTRACE_ATTACH, pid, 0, 0)) {
		got("PTRACE_ATTACH", "");
		if (waitpid(pid, &status, __WALL) == pid)
			ptrace(PTRACE_DETACH, pid, 0, 0);
	}
	if (!found)
		puts("nothing");
	return found;
}
