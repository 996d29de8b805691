/*
 * Two processes that live as long as somebody else.
 */
#include "sys.h"

/*
 * watch: outside the sandbox's pid namespace. With --init=false the command
 * itself is pid 1 and nobody inside reads the lifeline, so this process does.
 * stdin is the lifeline (its writer is the supervisor alone), fd 3 pid 1's
 * pidfd. At the end of the lifeline pid 1 is killed.
 */
void watch_main(void)
{
	char c;
	long r;
	uint64_t all = ~0ull;

	(void)sys4(__NR_rt_sigprocmask, SIG_SETMASK_, &all, 0, 8);
	prctl_(PR_SET_DUMPABLE_, 0);
	prctl_(PR_SET_PDEATHSIG_, 0);
	do
		r = read_(0, &c, 1);
	while (r > 0 || r == -EINTR_);
	(void)sys4(__NR_pidfd_send_signal, 3, SIGKILL_, 0, 0);
	exit_(0);
}

/* block: keeps the namespaces it was started in until stdin ends. */
void block_main(void)
{
	char c;
	long r;

	do
		r = read_(0, &c, 1);
	while (r > 0 || r == -EINTR_);
	exit_(0);
}
