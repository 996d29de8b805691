/*
 * refuse WORD[,WORD]… CMD…: runs CMD below a seccomp filter that answers some
 * system calls with EPERM, as the filter of an outer container does:
 *
 *	userns    clone and unshare with CLONE_NEWUSER (clone3: ENOSYS)
 *	hostname  sethostname
 *	keyctl    keyctl, add_key, request_key
 *	mlock     mlock, mlock2, mlockall
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter prog[128];
static unsigned short n;

static void add(struct sock_filter f) { prog[n++] = f; }

static void load(size_t offset) { add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)); }

static void answer(int nr, int err)
{
	load(offsetof(struct seccomp_data, nr));
	add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1));
	add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err));
}

/* If argument 0 of nr has CLONE_NEWUSER: EPERM. */
static void answer_flag(int nr)
{
	load(offsetof(struct seccomp_data, nr));
	add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 3));
	load(offsetof(struct seccomp_data, args[0])); /* little endian */
	add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWUSER, 0, 1));
	add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: refuse WORD[,WORD]... CMD...\n");
		return 2;
	}
	for (char *w = strtok(argv[1], ","); w; w = strtok(NULL, ",")) {
		if (strcmp(w, "userns") == 0) {
			answer_flag(SYS_clone);
			answer_flag(SYS_unshare);
			answer(SYS_clone3, ENOSYS);
		} else if (strcmp(w, "hostname") == 0) {
			answer(SYS_sethostname, EPERM);
		} else if (strcmp(w, "keyctl") == 0) {
			answer(SYS_keyctl, EPERM);
			answer(SYS_add_key, EPERM);
			answer(SYS_request_key, EPERM);
		} else if (strcmp(w, "mlock") == 0) {
			answer(SYS_mlock, EPERM);
			answer(SYS_mlock2, EPERM);
			answer(SYS_mlockall, EPERM);
		} else {
			fprintf(stderr, "refuse: unknown word %s\n", w);
			return 2;
		}
	}
	add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));

	struct sock_fprog fprog = { n, prog };

	/* Without no_new_privs where that can be had: newuidmap shall work. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog) < 0 &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog) < 0)) {
		perror("refuse: seccomp");
		return 2;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
