/*
 * pid 1 of a sandbox: starts the command, forwards signals, reaps orphans.
 *
 * Runs in: the sandbox's namespaces, as the process's user, no_new_privs set
 * and capabilities already those of the command (libcontainer did that).
 *
 *   fd 3   this program (closed here)
 *   fd 4   stream socket to the supervisor
 *   fd 5…  what the command gets, placed by the boot message
 *
 *   supervisor                               pid 1
 *       | -- struct boot + payload ----------> |  filter, fork, exec
 *       | <-- EVENT_STARTED ------------------ |  exec has succeeded
 *       | <-- EVENT_FAILED errno step data --- |  or it has not; pid 1 leaves
 *       | -- CMD_SIGNAL n ------------------>  |  any number of times
 *       | <-- EVENT_EXITED wait status ------- |  pid 1 leaves
 *   end of file on the socket: the supervisor is gone; pid 1 leaves, and with
 *   it the kernel kills the whole pid namespace (pid_namespaces(7)).
 *
 * Numbers are little endian as on the host; both ends are one machine.
 * The Go side of this protocol is in sandbox/runc/boot.go.
 */
#include "sys.h"

#define SOCK 4
#define BOOT_MAGIC 0x31444950u /* "PID1" */
#define BOOT_MAX (64u << 20)

enum { BOOT_TTY = 1, BOOT_DIRECT = 2, BOOT_FILTER_ALL = 4 };
enum { CMD_SIGNAL = 1 };
enum { SIGNAL_GROUP = 0x100 };
enum { EVENT_STARTED = 1, EVENT_FAILED = 2, EVENT_EXITED = 3 };
enum { STEP_BOOT = 1, STEP_FDS, STEP_FILTER, STEP_SESSION, STEP_TTY, STEP_FORK, STEP_LIMITS, STEP_EXEC, STEP_INTERP };

struct boot {
	uint32_t magic, size, flags, argc, envc, nfds, ninsns, umask, nlimits;
};
struct limit {
	uint64_t type, soft, hard;
};
struct fdmap {
	uint32_t from, to;
};
struct cmd {
	uint32_t type, value;
};
struct event {
	uint32_t type, value, step, len;
};
struct sock_fprog_ {
	unsigned short len;
	void *filter;
};

/* The state of the one command; the program has a single thread. */
static struct {
	struct boot b;
	struct limit *limits;
	struct fdmap *fds;
	void *insns;
	char **argv, **envp;
	long map;      /* the mapping that all of these point into */
	size_t mapped; /* its size */
	int out;       /* where events go: the socket, in the child the pipe */
} st;

static void send_event(uint32_t type, uint32_t value, uint32_t step, const void *data, uint32_t len)
{
	struct event e = { type, value, step, len };

	/* A supervisor that is gone cannot be told; its end of file follows. */
	if (write_full(st.out, &e, sizeof e) == 0 && len > 0)
		(void)write_full(st.out, data, len);
}

__attribute__((noreturn)) static void fail(long err, uint32_t step, const void *data, uint32_t len)
{
	send_event(EVENT_FAILED, (uint32_t)-err, step, data, len);
	exit_(125);
	__builtin_unreachable();
}

static void read_boot(void)
{
	char *p, *end;

	if (read_full(SOCK, &st.b, sizeof st.b) < 0)
		exit_(125);
	if (st.b.magic != BOOT_MAGIC || st.b.size > BOOT_MAX || st.b.argc == 0)
		fail(-EINVAL_, STEP_BOOT, 0, 0);

	size_t vec = ((size_t)st.b.argc + st.b.envc + 2) * sizeof(char *);
	long m = sys6(__NR_mmap, 0, (long)(vec + st.b.size + 1), PROT_RW_, MAP_PRIVATE_ANON_, -1, 0);

	if (m < 0 && m > -4096)
		fail(m, STEP_BOOT, 0, 0);
	st.map = m;
	st.mapped = vec + st.b.size + 1;
	st.argv = (char **)m;
	p = (char *)m + vec;
	if (read_full(SOCK, p, st.b.size) < 0)
		exit_(125);
	end = p + st.b.size;
	*end = 0;

	st.limits = (struct limit *)p;
	p += st.b.nlimits * sizeof *st.limits;
	st.fds = (struct fdmap *)p;
	p += st.b.nfds * sizeof *st.fds;
	st.insns = p;
	p += st.b.ninsns * 8;
	char **v = st.argv;

	for (uint32_t i = 0; i < st.b.argc; i++, p += strlen_(p) + 1)
		*v++ = p;
	*v++ = 0;
	st.envp = v;
	for (uint32_t i = 0; i < st.b.envc; i++, p += strlen_(p) + 1)
		*v++ = p;
	*v = 0;
	if (p > end)
		fail(-EINVAL_, STEP_BOOT, 0, 0);
}

static void install_filter(void)
{
	struct sock_fprog_ prog = { (unsigned short)st.b.ninsns, st.insns };

	if (st.b.ninsns == 0)
		return;
	long r = sys3(__NR_seccomp, SECCOMP_SET_MODE_FILTER_, 0, &prog);

	if (r < 0)
		fail(r, STEP_FILTER, 0, 0);
}

/*
 * place_fds puts every descriptor at its number. The sources lie at 5 and
 * above, the targets may too: so everything is first lifted above all of
 * them, close-on-exec, and then dropped to its place.
 */
static void place_fds(void)
{
	uint32_t top = SOCK + 1 + st.b.nfds;

	for (uint32_t i = 0; i < st.b.nfds; i++)
		if (st.fds[i].to >= top)
			top = st.fds[i].to + 1;
	long out = sys3(__NR_fcntl, st.out, F_DUPFD_CLOEXEC_, top);

	if (out < 0)
		fail(out, STEP_FDS, 0, 0);
	st.out = (int)out;
	for (uint32_t i = 0; i < st.b.nfds; i++) {
		long fd = sys3(__NR_fcntl, st.fds[i].from, F_DUPFD_CLOEXEC_, top);

		if (fd < 0)
			fail(fd, STEP_FDS, 0, 0);
		st.fds[i].from = (uint32_t)fd;
	}
	/* All else goes: the supervisor's socket, the lifted copies, leaks. */
	long r = sys3(__NR_close_range, 0, ~0u, CLOSE_RANGE_CLOEXEC_);

	if (r < 0)
		fail(r, STEP_FDS, 0, 0);
	for (uint32_t i = 0; i < st.b.nfds; i++) {
		r = sys3(__NR_dup3, st.fds[i].from, st.fds[i].to, 0);
		if (r < 0)
			fail(r, STEP_FDS, 0, 0);
	}
}

static void default_signals(void)
{
	struct sigaction_ dfl = { 0, 0, 0, 0 };
	uint64_t none = 0;

	for (int s = 1; s <= NSIG_; s++)
		(void)sys4(__NR_rt_sigaction, s, &dfl, 0, 8);
	(void)sys4(__NR_rt_sigprocmask, SIG_SETMASK_, &none, 0, 8);
}

/* set_limits: here and not before, so that they bind the command alone. With
 * few descriptors or processes there would be nobody to start it. */
static void set_limits(void)
{
	for (uint32_t i = 0; i < st.b.nlimits; i++) {
		long r = sys4(__NR_prlimit64, 0, st.limits[i].type, &st.limits[i].soft, 0);

		if (r < 0)
			fail(r, STEP_LIMITS, 0, 0);
	}
}

static const char *path_of_env(void)
{
	static const char key[] = "PATH=";

	for (char **e = st.envp; *e; e++) {
		size_t i = 0;

		while (i < 5 && (*e)[i] == key[i])
			i++;
		if (i == 5)
			return *e + 5;
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/*
 * try_exec returns execve's error. When the file is there and the kernel says
 * "no such file", its interpreter is what is missing: the supervisor gets the
 * path and the head of the file and names it.
 */
static long try_exec(const char *path)
{
	static char data[4096 + 256];
	long r = sys3(__NR_execve, path, st.argv, st.envp);

	if (r != -ENOENT_)
		return r;
	long fd = openat_(AT_FDCWD_, path, O_RDONLY_ | O_CLOEXEC_);

	if (fd < 0)
		return r;
	size_t n = strlen_(path) + 1;

	if (n > 4096)
		return r;
	memcpy(data, path, n);
	long got = read_((int)fd, data + n, 256);

	fail(r, STEP_INTERP, data, (uint32_t)(n + (got > 0 ? (size_t)got : 0)));
}

/* exec_command is execvp(3): a name with a slash is a path, else PATH is
 * searched; a file that may not be run is remembered and the search goes on. */
__attribute__((noreturn)) static void exec_command(void)
{
	static char buf[4096];
	const char *name = st.argv[0], *p;
	size_t len = strlen_(name);
	long err = -ENOENT_;

	for (p = name; *p; p++)
		if (*p == '/')
			fail(try_exec(name), STEP_EXEC, name, (uint32_t)len);
	if (len == 0)
		fail(err, STEP_EXEC, 0, 0);
	for (p = path_of_env();; p++) {
		size_t n = 0;

		for (; *p && *p != ':'; p++)
			if (n < sizeof buf)
				buf[n++] = *p;
		if (n == 0)
			buf[n++] = '.';
		if (n + 1 + len + 1 <= sizeof buf) {
			buf[n] = '/';
			memcpy(buf + n + 1, name, len + 1);
			long r = try_exec(buf);

			if (r == -EACCES_)
				err = r;
			else if (r != -ENOENT_ && r != -ENOTDIR_ && r != -ENAMETOOLONG_ && r != -ELOOP_)
				fail(r, STEP_EXEC, buf, (uint32_t)strlen_(buf));
		}
		if (!*p)
			break;
	}
	fail(err, STEP_EXEC, name, (uint32_t)len);
}

/*
 * own_terminal replaces the terminal, which the supervisor opened through its
 * own mounts, by the same one under the name it has here: ttyname(3) and ps
 * then find it. Where something else is mounted on /dev/pts it stays as it is.
 */
static void own_terminal(void)
{
	char path[32] = "/dev/pts/", digits[12];
	struct statx_ a, b;
	size_t n = 9, d = 0;

	if (statx_fd(0, &a) < 0)
		return;
	uint32_t index = a.rdev_minor + ((a.rdev_major - 136) << 8); /* devices.txt: 136-143 */

	do
		digits[d++] = (char)('0' + index % 10);
	while ((index /= 10) > 0);
	while (d > 0)
		path[n++] = digits[--d];
	path[n] = 0;
	long fd = openat_(AT_FDCWD_, path, O_RDWR_ | O_CLOEXEC_ | 0400 /* O_NOCTTY */);

	if (fd < 0)
		return;
	if (statx_fd((int)fd, &b) < 0 || a.ino != b.ino || a.dev_major != b.dev_major || a.dev_minor != b.dev_minor)
		return;
	for (int i = 0; i < 3; i++)
		(void)sys3(__NR_dup3, fd, i, 0);
}

/* run_command turns the calling process into the command. */
__attribute__((noreturn)) static void run_command(void)
{
	place_fds();
	if (st.b.flags & BOOT_TTY) {
		own_terminal();
		long r = sys3(__NR_ioctl, 0, TIOCSCTTY_, 0);

		if (r < 0)
			fail(r, STEP_TTY, 0, 0);
	}
	sys1(__NR_umask, st.b.umask);
	default_signals();
	set_limits();
	if (!(st.b.flags & BOOT_FILTER_ALL))
		install_filter();
	exec_command();
}

/*
 * leave_group gives the command a process group for signals to come. With a
 * terminal it leads a session, which TIOCSCTTY asks for. Without one it stays
 * in that of pid 1, a session of its own already: it is then no leader that
 * gets a controlling terminal by opening one, and its group has a parent in
 * the session, so that the kernel does not throw SIGTSTP away (setpgid(2),
 * orphaned groups).
 */
static void leave_group(void)
{
	long r = st.b.flags & BOOT_TTY ? sys0(__NR_setsid) : sys2(__NR_setpgid, 0, 0);

	if (r < 0)
		fail(r, STEP_SESSION, 0, 0);
}

static int fork_command(void)
{
	int pipe[2];
	long r = sys2(__NR_pipe2, pipe, O_CLOEXEC_);

	if (r < 0)
		fail(r, STEP_FORK, 0, 0);
	long pid = sys5(__NR_clone, SIGCHLD_, 0, 0, 0, 0);

	if (pid < 0)
		fail(pid, STEP_FORK, 0, 0);
	if (pid == 0) {
		st.out = pipe[1];
		leave_group();
		run_command();
	}
	close_(pipe[1]);

	/* Nothing on the pipe: exec closed it, the command runs. Else what is
	 * there is the child's report of failure, passed on as it is. */
	static char report[sizeof(struct event) + 4096 + 256];
	size_t n = 0;

	for (;;) {
		r = read_(pipe[0], report + n, sizeof report - n);
		if (r == -EINTR_)
			continue;
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	close_(pipe[0]);
	if (n > 0) {
		(void)write_full(SOCK, report, n);
		exit_(125);
	}
	/* The command's descriptors are the command's alone: a pipe must reach
	 * its end when the command closes it. */
	for (uint32_t i = 0; i < st.b.nfds; i++)
		close_((int)(SOCK + 1 + i));
	/* So are its arguments and variables, however many there are. */
	(void)sys2(__NR_munmap, st.map, st.mapped);
	send_event(EVENT_STARTED, (uint32_t)pid, 0, 0, 0);
	return (int)pid;
}

enum { REAP_NONE, REAP_MORE, REAP_COMMAND };

/*
 * reap collects dead children: all that there are, or enough of them for now,
 * since somebody inside may make them faster than we reap. The command is the
 * eldest child, which the kernel finds first.
 */
static int reap(int command, int *status)
{
	for (int i = 0; i < 64; i++) {
		long pid = sys4(__NR_wait4, -1, status, WNOHANG_, 0);

		if (pid <= 0)
			return REAP_NONE;
		if (pid == command)
			return REAP_COMMAND;
	}
	return REAP_MORE;
}

/* send_signal: a command that has ended meanwhile is about to be reaped. */
static void send_signal(int command, uint32_t value)
{
	int sig = (int)(value & 0xff);

	(void)sys2(__NR_kill, value & SIGNAL_GROUP ? -command : command, sig);
}

/*
 * forward_signals gives the command what somebody inside sent to pid 1, as
 * under any init. A few at a time: they may come faster than we read, and
 * neither the dead nor the supervisor may wait for the end of that.
 */
static void forward_signals(int sfd, int command)
{
	struct signalfd_siginfo_ si;

	for (int i = 0; i < 16 && read_(sfd, &si, sizeof si) == sizeof si; i++)
		if (si.signo != SIGCHLD_)
			send_signal(command, si.signo);
}

void pid1_main(void)
{
	uint64_t all = ~0ull;

	st.out = SOCK;
	/* First of all: /proc/1/{mem,environ,fd,exe} yield nothing (ptrace(2),
	 * PTRACE_MODE checks). */
	prctl_(PR_SET_DUMPABLE_, 0);
	prctl_(PR_SET_NAME_, (long)"sandbox-init");
	close_(3);
	(void)sys4(__NR_rt_sigprocmask, SIG_SETMASK_, &all, 0, 8);
	read_boot();
	if (st.b.flags & BOOT_FILTER_ALL)
		install_filter();
	if (st.b.flags & BOOT_DIRECT)
		run_command();

	long sfd = sys4(__NR_signalfd4, -1, &all, 8, SFD_CLOEXEC_ | SFD_NONBLOCK_);

	if (sfd < 0)
		fail(sfd, STEP_BOOT, 0, 0);
	int command = fork_command(), status = 0;
	struct pollfd_ pfd[2] = { { (int)sfd, POLLIN_, 0 }, { SOCK, POLLIN_, 0 } };
	static const struct timespec_ now = { 0, 0 };
	int dead = REAP_NONE;

	for (;;) {
		long r = sys5(__NR_ppoll, pfd, 2, dead == REAP_MORE ? &now : 0, 0, 8);

		if (r == -EINTR_)
			continue;
		if (r < 0)
			exit_(125);
		if (pfd[0].revents)
			forward_signals((int)sfd, command);
		if (pfd[0].revents || dead == REAP_MORE)
			dead = reap(command, &status);
		if (dead == REAP_COMMAND) {
			send_event(EVENT_EXITED, (uint32_t)status, 0, 0, 0);
			exit_(0);
		}
		if (pfd[1].revents) {
			struct cmd c;

			if (read_full(SOCK, &c, sizeof c) < 0)
				exit_(125);
			if (c.type == CMD_SIGNAL)
				send_signal(command, c.value);
		}
	}
}
