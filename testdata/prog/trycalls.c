/*
 * trycalls: makes system calls that a sandbox refuses, and prints "NAME: ok"
 * or the error's name for each. The arguments are such that the kernel itself
 * would not say EPERM to a process with all capabilities.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long r)
{
	printf("%s: %s\n", name, r < 0 ? strerrorname_np(errno) : "ok");
}

/* forked makes the call in a child: it may change the process. */
static void forked(const char *name, long nr, long a, long b)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		say(name, syscall(nr, a, b, 0, 0, 0));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
}

static void cloned(const char *name, unsigned long flags)
{
	long r = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (r == 0)
		_exit(0);
	say(name, r);
	if (r > 0)
		waitpid((pid_t)r, NULL, 0);
}

int main(void)
{
	static char block[512];
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	static const struct { const char *name; unsigned long flag; } spaces[] = {
		{"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET},
		{"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", 0x80},
	};
	char name[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
		snprintf(name, sizeof name, "unshare %s", spaces[i].name);
		forked(name, SYS_unshare, (long)spaces[i].flag, 0);
		if (spaces[i].flag != 0x80) {
			snprintf(name, sizeof name, "clone %s", spaces[i].name);
			cloned(name, spaces[i].flag);
		}
		char path[64];
		snprintf(path, sizeof path, "/proc/self/ns/%s", spaces[i].name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		snprintf(name, sizeof name, "setns %s", spaces[i].name);
		forked(name, SYS_setns, fd, 0);
		close(fd);
	}
	long r = syscall(SYS_clone3, &args, sizeof args);
	if (r == 0)
		_exit(0);
	say("clone3", r);
	say("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
	say("umount", umount2("/tmp/none", 0));
	say("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
	say("open_tree", syscall(428, AT_FDCWD, "/", 0x8001));
	say("fsopen", syscall(430, "tmpfs", 0));
	say("mount_setattr", syscall(442, AT_FDCWD, "/tmp", 0, block, 32));
	say("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
	say("add_key", syscall(SYS_add_key, "user", "x", "x", 1, KEY_SPEC_PROCESS_KEYRING));
	say("request_key", syscall(SYS_request_key, "user", "x", 0, 0));
	say("bpf", syscall(SYS_bpf, BPF_PROG_LOAD, block, 48));
	say("perf_event_open", syscall(SYS_perf_event_open, block, 0, -1, -1, 0));
	say("userfaultfd", syscall(SYS_userfaultfd, 1));
	say("io_uring_setup", syscall(425, 4, block));
	say("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
	say("init_module", syscall(SYS_init_module, block, 0, ""));
	say("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
	say("swapon", syscall(SYS_swapon, "/nowhere", 0));
	say("acct", syscall(SYS_acct, "/nowhere"));
	say("settimeofday", syscall(SYS_settimeofday, 0, 0));
	say("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, block, 0));
	say("unknown", syscall(9999));
	say("socket packet", socket(AF_PACKET, SOCK_RAW, 0));
	say("socket vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
	say("socket alg", socket(AF_ALG, SOCK_SEQPACKET, 0));
	say("socket audit", socket(AF_NETLINK, SOCK_RAW, 9));
	say("socket unix", socket(AF_UNIX, SOCK_STREAM, 0));
	say("socket inet6", socket(AF_INET6, SOCK_DGRAM, 0));
	return 0;
}
