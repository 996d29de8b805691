/*
 * probe FILTER: install the filter in the file FILTER ("-": none), then make the
 * system calls that stdin asks for, each in a process of its own, and print what
 * came of each: "ret N" (negative: an errno) or "signal N".
 * A line is ABI NR A0 A1 A2 A3 A4 A5; ABI is native, i386 (int 0x80) or x32.
 *
 * probe FILTER CMD ARG...: install the filter and execute CMD.
 */
#define _GNU_SOURCE
#include <err.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned long word;

static long native(word nr, const word a[6])
{
#if defined(__x86_64__)
	long ret;
	register word r10 __asm__("r10") = a[3];
	register word r8 __asm__("r8") = a[4];
	register word r9 __asm__("r9") = a[5];
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
#elif defined(__aarch64__)
	register word x8 __asm__("x8") = nr;
	register word x0 __asm__("x0") = a[0];
	register word x1 __asm__("x1") = a[1];
	register word x2 __asm__("x2") = a[2];
	register word x3 __asm__("x3") = a[3];
	register word x4 __asm__("x4") = a[4];
	register word x5 __asm__("x5") = a[5];
	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return (long)x0;
#else
#error "no system calls for this architecture"
#endif
}

static long call(const char *abi, word nr, const word a[6])
{
#if defined(__x86_64__)
	if (!strcmp(abi, "i386")) {
		int ret;
		/* The sixth argument, ebp, is left alone: no call here has it. */
		__asm__ volatile("int $0x80"
				 : "=a"(ret)
				 : "a"((int)nr), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
				 : "r8", "r9", "r10", "r11", "memory");
		return ret;
	}
	if (!strcmp(abi, "x32"))
		return native(nr | 0x40000000, a);
#endif
	if (!strcmp(abi, "native"))
		return native(nr, a);
	errx(2, "unknown ABI %s", abi);
}

static void install(const char *file)
{
	static struct sock_filter insns[BPF_MAXINSNS];
	FILE *f = fopen(file, "r");
	size_t n;

	if (!f)
		err(2, "open %s", file);
	n = fread(insns, sizeof insns[0], BPF_MAXINSNS, f);
	if (!n || getc(f) != EOF)
		errx(2, "%s is not a filter", file);
	fclose(f);
	struct sock_fprog prog = { .len = n, .filter = insns };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		err(2, "set no_new_privs");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		err(2, "install %s", file);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		errx(2, "usage: probe FILTER [CMD ARG...]");
	long *result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED)
		err(2, "mmap");
	/* Killed callers leave no core files. */
	if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }))
		err(2, "setrlimit");
	if (strcmp(argv[1], "-"))
		install(argv[1]);
	if (argc > 2) {
		execvp(argv[2], argv + 2);
		err(127, "execute %s", argv[2]);
	}
	char abi[16];
	word nr, a[6];
	while (scanf("%15s %lu %lu %lu %lu %lu %lu %lu", abi, &nr, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5]) == 8) {
		pid_t pid = fork();
		int status;
		if (pid < 0)
			err(2, "fork");
		if (!pid) {
			*result = call(abi, nr, a);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) < 0)
			err(2, "wait");
		if (WIFSIGNALED(status))
			printf("signal %d\n", WTERMSIG(status));
		else if (WEXITSTATUS(status) == 0)
			printf("ret %ld\n", *result);
		else
			errx(2, "child exited with %d", WEXITSTATUS(status));
		fflush(stdout);
	}
	return 0;
}
