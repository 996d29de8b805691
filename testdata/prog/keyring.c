/*
 * keyring set NAME CMD…   outside: puts a key into a new session keyring and
 *                         into the user keyring, and executes CMD
 * keyring find NAME       inside: looks for it in every keyring that can be
 *                         named, and by request_key; prints "found WHERE", or
 *                         each error, and exits 1 when it was found
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long keyctl(long op, long a, long b, long c, long d)
{
	return syscall(SYS_keyctl, op, a, b, c, d);
}

static int find(const char *name)
{
	static const struct { const char *name; long id; } rings[] = {
		{"thread", KEY_SPEC_THREAD_KEYRING}, {"process", KEY_SPEC_PROCESS_KEYRING},
		{"session", KEY_SPEC_SESSION_KEYRING}, {"user", KEY_SPEC_USER_KEYRING},
		{"user session", KEY_SPEC_USER_SESSION_KEYRING}, {"group", KEY_SPEC_GROUP_KEYRING},
	};
	int found = 0;

	for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
		if (keyctl(KEYCTL_SEARCH, rings[i].id, (long)"user", (long)name, 0) >= 0) {
			printf("found in %s\n", rings[i].name);
			found = 1;
		} else {
			printf("%s: %s\n", rings[i].name, strerrorname_np(errno));
		}
	}
	if (syscall(SYS_request_key, "user", name, NULL, 0) >= 0) {
		puts("found by request_key");
		found = 1;
	} else {
		printf("request_key: %s\n", strerrorname_np(errno));
	}
	return found;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "find"))
		return find(argv[2]);
	if (argc < 4 || strcmp(argv[1], "set"))
		return 2;
	if (keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0) < 0 ||
	    syscall(SYS_add_key, "user", argv[2], "secret", 6L, KEY_SPEC_SESSION_KEYRING) < 0 ||
	    syscall(SYS_add_key, "user", argv[2], "secret", 6L, KEY_SPEC_USER_KEYRING) < 0) {
		fprintf(stderr, "set the key: %s\n", strerrorname_np(errno));
		return 2;
	}
	execvp(argv[3], argv + 3);
	perror(argv[3]);
	return 2;
}
