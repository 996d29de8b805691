/*
 * envsample TEXT CMD…: runs CMD and reads, as often as it can while CMD lives,
 * the environment and command line of every descendant that is in another pid
 * namespace than ours: what somebody in there could see. Prints how many
 * samples there were of how many processes, and each process that had TEXT.
 * Exits 1 when one had it, 3 when there was no sample.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *text;
static char home[64];
static long samples, processes, bad;
static int last;

static ssize_t slurp(int pid, const char *name, char *buf, size_t size)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, buf, size - 1);
	close(fd);
	if (n >= 0)
		buf[n] = 0;
	return n;
}

static void sample(int pid)
{
	static const char *const names[] = {"environ", "cmdline"};
	static char buf[1 << 17];
	char path[64], ns[64] = "";

	snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
	if (readlink(path, ns, sizeof ns - 1) < 0 || !strcmp(ns, home))
		return;
	for (size_t i = 0; i < 2; i++) {
		ssize_t n = slurp(pid, names[i], buf, sizeof buf);

		if (n <= 0)
			continue;
		samples++;
		if (pid != last)
			processes++;
		last = pid;
		if (memmem(buf, (size_t)n, text, strlen(text))) {
			if (!bad++)
				printf("%s of %d has it\n", names[i], pid);
		}
	}
}

/* descend visits the children of each thread: the supervisor forks from
 * another one than its first. */
static void descend(int pid, int depth)
{
	char name[300], children[4096], *end;
	DIR *tasks;
	struct dirent *e;

	if (depth > 0)
		sample(pid);
	snprintf(name, sizeof name, "/proc/%d/task", pid);
	if (depth == 4 || !(tasks = opendir(name)))
		return;
	while ((e = readdir(tasks))) {
		snprintf(name, sizeof name, "task/%s/children", e->d_name);
		if (e->d_name[0] == '.' || slurp(pid, name, children, sizeof children) <= 0)
			continue;
		for (char *p = children;; p = end) {
			long child = strtol(p, &end, 10);

			if (end == p)
				break;
			descend((int)child, depth + 1);
		}
	}
	closedir(tasks);
}

int main(int argc, char **argv)
{
	int status = 0;

	if (argc < 3)
		return 2;
	text = argv[1];
	if (readlink("/proc/self/ns/pid", home, sizeof home - 1) < 0)
		return 2;
	pid_t child = fork();
	if (child < 0)
		return 2;
	if (!child) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	while (waitpid(child, &status, WNOHANG) == 0)
		descend(child, 0);
	printf("%ld samples of %ld processes\n", samples, processes);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return 4;
	return bad ? 1 : samples ? 0 : 3;
}
