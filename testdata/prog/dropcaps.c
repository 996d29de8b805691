/*
 * dropcaps CMD…: runs CMD so that every user namespace that it or its children
 * make or join gives no capabilities: what AppArmor does to programs without a
 * profile on Ubuntu since 24.04. A tracer makes each process drop them right
 * after clone, unshare or setns. x86-64 only; exits 2 elsewhere.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* drop makes pid, stopped behind a system call, do capset(nothing). */
static void drop(pid_t pid)
{
	struct user_regs_struct old, regs;
	struct {
		struct __user_cap_header_struct head;
		struct __user_cap_data_struct data[2];
	} caps = { { _LINUX_CAPABILITY_VERSION_3, 0 }, { { 0 } } }, saved;
	int status;

	if (ptrace(PTRACE_GETREGS, pid, 0, &old) < 0)
		die("dropcaps: getregs");
	/* Below the stack and its red zone; two bytes back is "syscall". */
	unsigned long at = (old.rsp - 1024) & ~15ul;
	struct iovec there = { (void *)at, sizeof caps };
	struct iovec back = { &saved, sizeof saved }, here = { &caps, sizeof caps };

	if (process_vm_readv(pid, &back, 1, &there, 1, 0) < 0 || process_vm_writev(pid, &here, 1, &there, 1, 0) < 0)
		die("dropcaps: write");
	regs = old;
	regs.rip -= 2;
	regs.rax = SYS_capset;
	regs.rdi = at;
	regs.rsi = at + sizeof caps.head;
	if (ptrace(PTRACE_SETREGS, pid, 0, &regs) < 0)
		die("dropcaps: setregs");
	for (int stops = 0; stops < 2; stops++) { /* entry and exit */
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0) < 0 || waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
			die("dropcaps: step");
	}
	if (ptrace(PTRACE_GETREGS, pid, 0, &regs) < 0 || regs.rax != 0)
		die("dropcaps: capset");
	here.iov_base = &saved;
	if (process_vm_writev(pid, &here, 1, &there, 1, 0) < 0 || ptrace(PTRACE_SETREGS, pid, 0, &old) < 0)
		die("dropcaps: restore");
}

/* userns is the inode of pid's user namespace. */
static unsigned long userns(pid_t pid)
{
	char path[64], link[64];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	n = readlink(path, link, sizeof link - 1);
	if (n < 0)
		return 0;
	link[n] = 0;
	return strtoul(strchr(link, '[') + 1, NULL, 10);
}

static struct { pid_t pid; unsigned long ns; } seen[4096];

int main(int argc, char **argv)
{
	int status;
	pid_t first = argc > 1 ? fork() : -1;

	if (first < 0) {
		fprintf(stderr, "usage: dropcaps CMD...\n");
		return 2;
	}
	if (first == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execvp(argv[1], argv + 1);
		perror(argv[1]);
		_exit(127);
	}
	if (waitpid(first, &status, 0) != first)
		die("dropcaps: wait");
	unsigned long ours = userns(first);

	if (ptrace(PTRACE_SETOPTIONS, first, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
		   PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) < 0)
		die("dropcaps: setoptions");
	ptrace(PTRACE_SYSCALL, first, 0, 0);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		int sig = 0;

		if (pid < 0)
			die("dropcaps: wait");
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (pid == first)
				return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			continue;
		}
		int stop = WSTOPSIG(status), event = status >> 16;

		if (stop != (SIGTRAP | 0x80) && !event && stop != SIGSTOP && stop != SIGTRAP)
			sig = stop;
		if (stop == (SIGTRAP | 0x80) || (stop == SIGSTOP && !event)) {
			/* Behind a system call, or a child's first stop. */
			unsigned long ns = userns(pid);
			int i = 0;

			while (i < 4095 && seen[i].pid && seen[i].pid != pid)
				i++;
			seen[i].pid = pid;
			if (ns && ns != ours && ns != seen[i].ns) {
				seen[i].ns = ns;
				drop(pid);
			}
		}
		ptrace(PTRACE_SYSCALL, pid, 0, sig);
	}
}
#else
int main(void)
{
	fprintf(stderr, "dropcaps: not an x86-64 machine\n");
	return 2;
}
#endif
