/*
 * orphan FILE|- [keep]: becomes a daemon (two forks, own session, cwd /) that
 * sleeps until it is killed and ignores HUP, INT, QUIT and TERM. The first
 * process returns when the daemon is up; its pid is in FILE or on stdout.
 * The daemon's stdio is /dev/null; with keep it keeps the caller's.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int up[2], pid = 0;

	if (argc < 2 || pipe(up))
		return 2;
	pid_t first = fork();
	if (first < 0)
		return 2;
	if (first) {
		close(up[1]);
		if (read(up[0], &pid, sizeof pid) != sizeof pid)
			return 1;
		waitpid(first, NULL, 0);
		FILE *f = strcmp(argv[1], "-") ? fopen(argv[1], "w") : stdout;
		return !f || fprintf(f, "%d\n", pid) < 0 || fclose(f) ? 1 : 0;
	}
	if (setsid() < 0)
		_exit(1);
	if (fork())
		_exit(0);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (chdir("/"))
		_exit(1);
	if (argc < 3 || strcmp(argv[2], "keep")) {
		int null = open("/dev/null", O_RDWR);
		if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
			_exit(1);
	}
	pid = getpid();
	if (write(up[1], &pid, sizeof pid) != sizeof pid)
		_exit(1);
	close(up[0]);
	close(up[1]);
	for (;;)
		pause();
}
