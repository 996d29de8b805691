/*
 * fdkind KIND N CMD…: opens something as descriptor N and executes CMD. Used
 * outside a sandbox, to pass it one of each kind. KIND may have an argument
 * behind a colon, mostly a path.
 *
 *   epoll eventfd signalfd timerfd inotify pidfd ns:NAME opath:P dir:P ptmx
 *   tty mqueue
 *   memfd memfd-ro memfd-sealed memfd-size memfd-future
 *   file:P file-wo:P file-rw:P file-append:P deleted:P tmpfile:DIR fifo:P
 *   unix udp netlink
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

static int memory(const char *kind)
{
	static const char text[] = "memory\n";
	char path[64];
	int fd = memfd_create("test", MFD_ALLOW_SEALING);

	if (fd < 0 || write(fd, text, sizeof text - 1) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	if (!strcmp(kind, "memfd-sealed") && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW))
		return -1;
	if (!strcmp(kind, "memfd-size") && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE))
		return -1;
	if (!strcmp(kind, "memfd-future") && fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE))
		return -1;
	if (strcmp(kind, "memfd")) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		fd = open(path, O_RDONLY);
	}
	return fd;
}

static int opened(const char *kind, const char *arg)
{
	char path[256];
	sigset_t set;
	int fd;

	sigemptyset(&set);
	if (!strcmp(kind, "epoll"))
		return epoll_create1(0);
	if (!strcmp(kind, "eventfd"))
		return eventfd(0, 0);
	if (!strcmp(kind, "signalfd"))
		return signalfd(-1, &set, 0);
	if (!strcmp(kind, "timerfd"))
		return timerfd_create(CLOCK_MONOTONIC, 0);
	if (!strcmp(kind, "inotify"))
		return inotify_init1(0);
	if (!strcmp(kind, "pidfd"))
		return (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (!strcmp(kind, "ns")) {
		snprintf(path, sizeof path, "/proc/self/ns/%s", arg);
		return open(path, O_RDONLY);
	}
	if (!strcmp(kind, "opath"))
		return open(arg, O_PATH);
	if (!strcmp(kind, "dir"))
		return open(arg, O_RDONLY | O_DIRECTORY);
	if (!strcmp(kind, "ptmx"))
		return open("/dev/ptmx", O_RDWR | O_NOCTTY);
	if (!strcmp(kind, "tty")) {
		fd = open("/dev/ptmx", O_RDWR | O_NOCTTY);
		return fd < 0 || unlockpt(fd) ? -1 : open(ptsname(fd), O_RDWR | O_NOCTTY);
	}
	if (!strcmp(kind, "mqueue")) {
		snprintf(path, sizeof path, "/fdkind.%d", getpid());
		fd = mq_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
		mq_unlink(path);
		return fd;
	}
	if (!strncmp(kind, "memfd", 5))
		return memory(kind);
	if (!strcmp(kind, "file"))
		return open(arg, O_RDONLY);
	if (!strcmp(kind, "file-wo"))
		return open(arg, O_WRONLY);
	if (!strcmp(kind, "file-rw"))
		return open(arg, O_RDWR);
	if (!strcmp(kind, "file-append"))
		return open(arg, O_WRONLY | O_APPEND);
	if (!strcmp(kind, "deleted")) {
		fd = open(arg, O_RDONLY);
		return unlink(arg) ? -1 : fd;
	}
	if (!strcmp(kind, "tmpfile"))
		return open(arg, O_TMPFILE | O_RDWR, 0600);
	if (!strcmp(kind, "fifo"))
		return mkfifo(arg, 0600) ? -1 : open(arg, O_RDWR);
	if (!strcmp(kind, "unix"))
		return socket(AF_UNIX, SOCK_STREAM, 0);
	if (!strcmp(kind, "udp"))
		return socket(AF_INET, SOCK_DGRAM, 0);
	if (!strcmp(kind, "netlink"))
		return socket(AF_NETLINK, SOCK_RAW, 0);
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	char *arg = strchr(argv[1], ':');
	int to = atoi(argv[2]);

	if (arg)
		*arg++ = 0;
	int fd = opened(argv[1], arg ? arg : "");
	if (fd < 0) {
		fprintf(stderr, "fdkind %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	if (fd != to && dup2(fd, to) < 0)
		return 2;
	fcntl(to, F_SETFD, 0);
	if (fd != to)
		close(fd);
	execvp(argv[3], argv + 3);
	fprintf(stderr, "execute %s: %s\n", argv[3], strerror(errno));
	return 2;
}
