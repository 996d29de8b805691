/*
 * stage: the small static program that plays every role which needs no Go.
 *
 *   argv[0] as libcontainer starts it   pid 1 of a sandbox        (pid1.c)
 *   "sandbox watch"                     kills pid 1 when the
 *                                       supervisor dies           (watch.c)
 *   "sandbox holder"                    keeps a user namespace    (pause.c)
 *   "sandbox block"                     lives until stdin ends    (watch.c)
 *
 * It arrives in a sealed memfd, so nobody can change it and it needs no file
 * in any root.
 */
#include "sys.h"

/* The kernel hands over argc at the stack pointer; align it and go on in C. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n"
	"\tand $-16,%rsp\n\tcall stage_main\n\thlt\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x0,sp\n\tbl stage_main\n");
#endif

void *memcpy(void *dst, const void *src, size_t n)
{
	char *d = dst;
	const char *s = src;

	while (n--)
		*d++ = *s++;
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	char *d = dst;

	while (n--)
		*d++ = (char)c;
	return dst;
}

/* Called by _start with the initial stack: argc, argv…, NULL, envp…, NULL. */
__attribute__((used)) void stage_main(long *sp)
{
	int argc = (int)sp[0];
	char **argv = (char **)(sp + 1);

	if (argc >= 2 && streq_(argv[1], "watch"))
		watch_main();
	else if (argc >= 2 && streq_(argv[1], "holder"))
		pause_main(argc, argv);
	else if (argc >= 2 && streq_(argv[1], "block"))
		block_main();
	else if (argc == 1) {
		/* ps inside should show something sensible: argv[0] is a path
		 * of ours ("/proc/self/fd/3", 15 bytes), overwritten in place. */
		static const char name[] = "sandbox-init";
		size_t room = strlen_(argv[0]);

		for (size_t i = 0; i < room; i++)
			argv[0][i] = i < sizeof name - 1 ? name[i] : 0;
		pid1_main();
	}
	exit_(125);
}
