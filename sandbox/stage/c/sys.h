/*
 * System calls and types for a program without a C library.
 *
 * The stage program must start in any root (scratch included), cost no page
 * that it does not use, and bring no code that reads environment variables
 * or configuration; so it is freestanding and talks to the kernel directly.
 * All wrappers return the kernel's value: >= 0, or a negated errno.
 */
#ifndef SANDBOX_SYS_H
#define SANDBOX_SYS_H

#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

typedef long ssize;

#if defined(__x86_64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}
#elif defined(__aarch64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "the stage program has no system call interface for this architecture"
#endif

#define sys0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define sys1(n, a) sys6(n, (long)(a), 0, 0, 0, 0, 0)
#define sys2(n, a, b) sys6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define sys3(n, a, b, c) sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define sys4(n, a, b, c, d) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define sys5(n, a, b, c, d, e) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

enum {
	EPERM_ = 1, ENOENT_ = 2, EINTR_ = 4, EAGAIN_ = 11, EACCES_ = 13, EINVAL_ = 22,
	ENOTDIR_ = 20, ENAMETOOLONG_ = 36, ELOOP_ = 40,
};

/* fcntl.h, unistd.h, signal.h, poll.h, prctl.h as far as used here. */
#define AT_FDCWD_ (-100)
#define AT_SYMLINK_NOFOLLOW_ 0x100
#define MS_RDONLY_ 1
#define MS_NOSUID_ 2
#define MS_NODEV_ 4
#define MS_NOEXEC_ 8
#define MS_REC_ 0x4000
#define MS_PRIVATE_ 0x40000
#define MNT_DETACH_ 2
#define O_RDONLY_ 0
#define O_RDWR_ 2
#define O_CLOEXEC_ 02000000
#define F_DUPFD_CLOEXEC_ 1030
#define F_SETFD_ 2
#define LOCK_EX_ 2
#define LOCK_NB_ 4
#define LOCK_UN_ 8
#define SIG_BLOCK_ 0
#define SIG_SETMASK_ 2
#define SIGHUP_ 1
#define SIGKILL_ 9
#define SIGCHLD_ 17
#define SIGSTOP_ 19
#define NSIG_ 64
#define SFD_CLOEXEC_ O_CLOEXEC_
#define SFD_NONBLOCK_ 04000
#define POLLIN_ 1
#define POLLERR_ 8
#define POLLHUP_ 16
#define WNOHANG_ 1
#define PR_SET_PDEATHSIG_ 1
#define PR_SET_DUMPABLE_ 4
#define PR_SET_NAME_ 15
#define TIOCSCTTY_ 0x540E
#define CLOSE_RANGE_CLOEXEC_ 4
#define SECCOMP_SET_MODE_FILTER_ 1
#define PROT_RW_ 3
#define MAP_PRIVATE_ANON_ 0x22

struct pollfd_ { int fd; short events; short revents; };
struct timespec_ { long sec; long nsec; };
struct sigaction_ { void *handler; unsigned long flags; void *restorer; uint64_t mask; };
struct signalfd_siginfo_ { uint32_t signo; uint8_t rest[124]; };

static inline void exit_(int code)
{
	(void)sys1(__NR_exit_group, code);
	/* A filter of the user's that refuses even this: an illegal instruction
	 * ends us, no filter is asked. */
	__builtin_trap();
}
static inline long read_(int fd, void *p, size_t n) { return sys3(__NR_read, fd, p, n); }
static inline long write_(int fd, const void *p, size_t n) { return sys3(__NR_write, fd, p, n); }
static inline long close_(int fd) { return sys1(__NR_close, fd); }
static inline long prctl_(int op, long a) { return sys5(__NR_prctl, op, a, 0, 0, 0); }
static inline long openat_(int dir, const char *p, int fl) { return sys4(__NR_openat, dir, p, fl, 0); }

/* read_full returns 0 once n bytes are there, -1 at end of file or error. */
static inline int read_full(int fd, void *buf, size_t n)
{
	char *p = buf;

	while (n > 0) {
		long r = read_(fd, p, n);

		if (r == -EINTR_)
			continue;
		if (r <= 0)
			return -1;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

static inline int write_full(int fd, const void *buf, size_t n)
{
	const char *p = buf;

	while (n > 0) {
		long r = write_(fd, p, n);

		if (r == -EINTR_)
			continue;
		if (r <= 0)
			return -1;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

/* struct statx of statx(2), as far as used here. */
struct statx_ {
	uint8_t head[32];
	uint64_t ino;
	uint8_t middle[72];
	int64_t mtime_sec;
	uint32_t mtime_nsec, pad;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint8_t tail[112];
};
_Static_assert(sizeof(struct statx_) == 256, "struct statx of statx(2)");

static inline long statx_fd(int fd, struct statx_ *st)
{
	return sys5(__NR_statx, fd, "", 0x1000 /* AT_EMPTY_PATH */, 0x7ff /* STATX_BASIC_STATS */, st);
}

static inline size_t strlen_(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static inline int streq_(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* The compiler may emit calls to these two. */
void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);

/* Roles: each runs in a process of its own and never returns. */
void pid1_main(void);
void watch_main(void);
void pause_main(int argc, char **argv);
void block_main(void);

#endif
