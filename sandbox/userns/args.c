// Reading the command line before Go does: which command it is, and the few
// flags that the constructor acts on. sandbox/cli cuts the line by the same
// rules (splitCommand), and compares what both have read.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "flags.h" // value_flags, value_shorts: made from the command line's grammar

static int takes_value(const char *arg, size_t len)
{
	for (const char *const *f = value_flags; *f; f++)
		if (strlen(*f) == len && memcmp(*f, arg, len) == 0)
			return 1;
	return 0;
}

static void take(char *dst, size_t size, const char *value)
{
	if (value)
		snprintf(dst, size, "%s", value);
}

// flag reads one flag word at arg, its value perhaps in next; returns how many
// words it used.
static int flag(const char *arg, const char *next, int *quiet)
{
	const char *eq = strchr(arg, '='), *value = NULL;
	int used = 1;

	if (arg[1] != '-') { // a cluster such as -it, -w/tmp or -w /tmp
		for (const char *c = arg + 1; *c; c++) {
			if (*c == 'h')
				*quiet = 1;
			if (strchr(value_shorts, *c))
				return c[1] ? 1 : 2;
		}
		return 1;
	}
	size_t len = eq ? (size_t)(eq - arg) : strlen(arg);

	if (eq) {
		value = eq + 1;
	} else if (takes_value(arg, len)) {
		value = next;
		used = 2;
	}
	if (len == 4 && memcmp(arg, "--fd", 4) == 0 && value) {
		// Seen now, while no descriptor is ours yet.
		long n = strtol(value, NULL, 10);

		if (n > 2 && n < (long)sizeof E.inherited * 8 && fcntl((int)n, F_GETFD) >= 0)
			E.inherited[n / 8] |= (unsigned char)(1 << n % 8);
	}
	if (len == 8 && memcmp(arg, "--userns", 8) == 0)
		take(E.userns, sizeof E.userns, value);
	else if (len == 8 && memcmp(arg, "--holder", 8) == 0)
		take(E.holder, sizeof E.holder, value);
	else if ((len == 9 && memcmp(arg, "--dry-run", 9) == 0 && !eq) ||
		 (len == 6 && memcmp(arg, "--help", 6) == 0))
		*quiet = 1;
	return used;
}

// block is the whole life of a process that doctor starts to see whether a
// namespace can be had for it: until its stdin ends.
static void block(void)
{
	char c;

	while (read(0, &c, 1) > 0 || errno == EINTR)
		errno = 0;
	_exit(0);
}

// sandbox_wanted tells whether this command needs a namespace, and fills in
// E.userns, E.holder and E.inherited.
int sandbox_wanted(void)
{
	size_t size = 1 << 16, n = 0;
	char *buf = NULL, *p, *end;
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC), quiet = 0, in_run = 0;

	if (fd < 0) {
		sandbox_failed(STEP_PROC); // for "run"; no other command looks
		return 0;
	}
	for (;;) { // up to ARG_MAX
		char *bigger = realloc(buf, size + 1);

		if (!bigger)
			break;
		buf = bigger;
		ssize_t r = read(fd, buf + n, size - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		n += (size_t)r;
		if (n == size)
			size *= 2;
	}
	close(fd);
	if (!buf)
		return 0;
	buf[n] = 0;
	if (strcmp(buf, "sandbox-block") == 0)
		block();
	take(E.userns, sizeof E.userns, getenv("SANDBOX_USERNS"));
	take(E.holder, sizeof E.holder, getenv("SANDBOX_HOLDER"));
	end = buf + n;
	p = buf + strlen(buf) + 1;
	while (p < end) {
		char *next = p + strlen(p) + 1;

		if (p[0] == '-' && p[1]) {
			if (strcmp(p, "--") == 0)
				break;
			int used = flag(p, next < end ? next : NULL, &quiet);

			p = next;
			if (used == 2 && p < end)
				p += strlen(p) + 1;
			continue;
		}
		if (in_run)
			break;
		if (strcmp(p, "run") != 0) {
			quiet = 1;
			break;
		}
		in_run = 1;
		p = next;
	}
	free(buf);
	if (!*E.userns)
		strcpy(E.userns, "auto");
	if (!*E.holder)
		strcpy(E.holder, "auto");
	return in_run && !quiet;
}

// sandbox_idle_seconds is how long a holder made by us may idle: --holder's duration
// (Go's spelling: 90s, 10m, 1h30m), 60 seconds in CI, else 15 minutes.
long sandbox_idle_seconds(void)
{
	const char *p = E.holder, *ci = getenv("CI");
	long total = 0;

	if (strcmp(p, "auto") == 0 || strcmp(p, "off") == 0)
		return ci && *ci && strcmp(ci, "false") != 0 ? 60 : 15 * 60;
	while (*p) {
		char *unit;
		double n = strtod(p, &unit);

		if (unit == p || n < 0 || n > 1e9)
			return 15 * 60; // not a duration: Go refuses it later
		if (unit[0] == 'm' && unit[1] == 's') {
			n /= 1000;
			unit++;
		} else if (unit[0] == 'h') {
			n *= 3600;
		} else if (unit[0] == 'm') {
			n *= 60;
		} else if (unit[0] != 's') {
			return 15 * 60;
		}
		total += (long)n;
		p = unit + 1;
	}
	return total > 0 ? total : 1;
}
