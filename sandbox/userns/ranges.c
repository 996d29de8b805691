// Whether a holder is worth a try: a cheap look at what newuidmap and newgidmap
// need, so that a machine without it pays nothing for every run.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "internal.h"

#ifndef ST_NOSUID
#define ST_NOSUID 2
#endif

// find puts the path of a program on the PATH into path; 0 when there is none.
static int find(const char *name, char *path, size_t size)
{
	const char *p = getenv("PATH");

	for (p = p ? p : "/usr/bin:/bin";; p++) {
		size_t n = strcspn(p, ":");

		if (n > 0 && n + 1 + strlen(name) < size) {
			snprintf(path, size, "%.*s/%s", (int)n, p, name);
			if (access(path, X_OK) == 0)
				return 1;
		}
		p += n;
		if (!*p)
			return 0;
	}
}

// has_helper tells whether a helper is there and can raise its rights: setuid
// root or file capabilities, which no_new_privs, nosuid and a user namespace
// that does not map the host's root all take away.
static int has_helper(const char *name)
{
	char path[PATH_MAX], caps[64];
	struct stat st;
	struct statfs fs;

	if (!find(name, path, sizeof path)) {
		snprintf(E.message, sizeof E.message, "%s is not installed", name);
		return 0;
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
		snprintf(E.message, sizeof E.message, "no_new_privs is set: %s gets no rights", name);
		return 0;
	}
	if (stat(path, &st) < 0 || st.st_uid != 0) {
		snprintf(E.message, sizeof E.message, "%s does not belong to root", name);
		return 0;
	}
	if (!(st.st_mode & S_ISUID) && getxattr(path, "security.capability", caps, sizeof caps) <= 0) {
		snprintf(E.message, sizeof E.message, "%s is not setuid root and has no file capabilities", name);
		return 0;
	}
	if (statfs(path, &fs) == 0 && (fs.f_flags & ST_NOSUID)) {
		snprintf(E.message, sizeof E.message, "%s is on a file system that is mounted nosuid", name);
		return 0;
	}
	return 1;
}

// find_name finds the caller's name in /etc/passwd, "" without one.
static void find_name(const char *uid, char *name, size_t size)
{
	char buf[1 << 16], *line, *save;

	if (sandbox_read_file("/etc/passwd", buf, sizeof buf) <= 0)
		return;
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *c1 = strchr(line, ':'), *c2 = c1 ? strchr(c1 + 1, ':') : NULL, *c3 = c2 ? strchr(c2 + 1, ':') : NULL;

		if (!c3)
			continue;
		*c1 = *c3 = 0;
		if (strcmp(c2 + 1, uid) == 0 && (size_t)(c1 - line) < size) {
			strcpy(name, line);
			return;
		}
	}
}

// has_line tells whether /etc/subuid or /etc/subgid has a line for us.
static int has_line(const char *path, const char *uid, const char *name)
{
	char buf[1 << 16], *line, *save;

	if (sandbox_read_file(path, buf, sizeof buf) <= 0)
		return 0;
	if (strlen(buf) == sizeof buf - 1)
		return 1; // longer than we read: let the holder look
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *c = strchr(line, ':');

		if (!c)
			continue;
		*c = 0;
		if (strcmp(line, uid) == 0 || (*name && strcmp(line, name) == 0))
			return 1;
	}
	return 0;
}

// sandbox_have_ranges tells whether newuidmap and newgidmap are there and
// /etc/subuid and /etc/subgid have lines for us, or nsswitch names another
// source; E.message says what is missing.
int sandbox_have_ranges(void)
{
	static const char *const files[] = { "/etc/subuid", "/etc/subgid" };
	char buf[1 << 16], name[64] = "", uid[16], *line;
	int other = 0;

	if (!has_helper("newuidmap") || !has_helper("newgidmap"))
		return 0;
	snprintf(uid, sizeof uid, "%d", E.uid);
	find_name(uid, name, sizeof name);
	for (size_t i = 0; i < 2; i++) {
		if (other || has_line(files[i], uid, name))
			continue;
		other = sandbox_read_file("/etc/nsswitch.conf", buf, sizeof buf) > 0 && (line = strstr(buf, "subid:")) &&
			(line == buf || line[-1] == '\n');
		if (!other) {
			snprintf(E.message, sizeof E.message, "no range for uid %s in %s", uid, files[i]);
			return 0;
		}
	}
	return 1;
}
