/*
 * syscall32 NR [A [B [C]]]: makes one i386 system call with int 0x80 from a
 * 64-bit program, and prints the result or the error's name. Without NR it
 * calls getpid. Exits 2 where there is no such call (not x86-64).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
#if defined(__x86_64__)
	unsigned long v[4] = {20, 0, 0, 0};
	int r;

	for (int i = 1; i < argc && i <= 4; i++)
		v[i - 1] = strtoul(argv[i], NULL, 0);
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(v[0]), "b"(v[1]), "c"(v[2]), "d"(v[3])
			 : "memory", "r8", "r9", "r10", "r11");
	if (r < 0 && r > -4096)
		printf("%s\n", strerrorname_np(-r));
	else
		printf("%d\n", r);
	return 0;
#else
	(void)argc, (void)argv;
	printf("not an x86-64 machine\n");
	return 2;
#endif
}
