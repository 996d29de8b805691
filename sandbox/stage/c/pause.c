/*
 * The holder's last stage: keeps a user namespace joinable.
 *
 *   sandbox holder TICK TICKS     TICK seconds between looks, TICKS idle looks
 *                                 in a row and it leaves; TICKS 0: stdin is a
 *                                 lifeline, and it leaves at its end.
 *
 *   fd 3   the lease: every user holds it with flock(LOCK_SH)
 *   fd 4   the holder's directory
 *   fd 5   ready pipe: one byte, then closed
 *
 * Leaving: take the lease exclusively (nobody uses us and nobody can begin),
 * remove the record that names us, go. Who waits for the lease meanwhile finds
 * no record and makes a new holder.
 *
 * Runs in: the namespaces that rootlesskit made, as root of the user namespace.
 */
#include "sys.h"

/* let_go_of_mounts leaves the copy of the caller's mounts that the namespace
 * was made with: a holder that lives for hours must not keep file systems
 * busy. Where the kernel refuses (a root that is no mount point) the copy
 * stays; nothing depends on it.
 */
static void let_go_of_mounts(void)
{
	if (sys5(__NR_mount, 0, "/", 0, MS_REC_ | MS_PRIVATE_, 0) < 0 ||
	    sys5(__NR_mount, "sandbox", "/proc", "tmpfs", MS_RDONLY_ | MS_NOSUID_ | MS_NODEV_ | MS_NOEXEC_, "size=4k") < 0 ||
	    sys1(__NR_chdir, "/proc") < 0 || sys2(__NR_pivot_root, ".", ".") < 0)
		return;
	/* Both are at "/" now, the old root on top (pivot_root(2)). */
	(void)sys2(__NR_umount2, ".", MNT_DETACH_);
}

/* record_of returns a number that tells the record from one that another
 * holder has put in its place; 0 if there is none.
 */
static uint64_t record_of(int dir)
{
	struct statx_ st;

	if (sys5(__NR_statx, dir, "record", AT_SYMLINK_NOFOLLOW_, 0x7ff, &st) < 0)
		return 0;
	return st.ino ^ (uint64_t)(st.mtime_sec * 1000000000 + st.mtime_nsec);
}

/* touched returns the lease's modification time: every join sets it. */
static int64_t touched(void)
{
	struct statx_ st;

	if (statx_fd(3, &st) < 0)
		return -1;
	return st.mtime_sec * 1000000000 + st.mtime_nsec;
}

static long number(const char *s)
{
	long n = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		n = n * 10 + (*s - '0');
	return n;
}

void pause_main(int argc, char **argv)
{
	long tick = argc > 2 ? number(argv[2]) : 0, ticks = argc > 3 ? number(argv[3]) : 0;
	uint64_t all = ~0ull & ~(1ull << (15 - 1)); /* all but TERM, which ends us */
	uint64_t record = record_of(4);

	(void)sys4(__NR_rt_sigprocmask, SIG_SETMASK_, &all, 0, 8);
	prctl_(PR_SET_PDEATHSIG_, 0);
	prctl_(PR_SET_NAME_, (long)"sandbox-holder");
	/* "sandbox holder" and nothing else is what ps shows. */
	for (int i = 2; i < argc; i++)
		for (size_t n = strlen_(argv[i]), k = 0; k < n; k++)
			argv[i][k] = 0;
	let_go_of_mounts();
	if (write_full(5, "k", 1) < 0)
		exit_(1);
	close_(5);
	if (ticks == 0) {
		block_main();
	}
	int64_t last = touched();

	for (long idle = 0;;) {
		struct timespec_ ts = { tick, 0 };
		int64_t now;

		(void)sys5(__NR_ppoll, 0, 0, &ts, 0, 8);
		if (sys2(__NR_flock, 3, LOCK_EX_ | LOCK_NB_) < 0) {
			idle = 0;
			continue;
		}
		now = touched();
		idle = now == last ? idle + 1 : 0;
		last = now;
		if (idle >= ticks) {
			if (record_of(4) == record)
				(void)sys3(__NR_unlinkat, 4, "record", 0);
			exit_(0);
		}
		(void)sys2(__NR_flock, 3, LOCK_UN_);
	}
}
