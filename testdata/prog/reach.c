/*
 * reach serve CMD…        outside: listens on an abstract unix socket, and on
 *                         127.0.0.1 and ::1, executes CMD with the addresses
 *                         added to its arguments, and prints "visited" when
 *                         somebody has connected
 * reach ABSTRACT PORT     inside: tries to connect there, and to addresses of
 *                         clouds and neighbours; prints each result, and exits
 *                         1 when one was reached
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int reached;

static socklen_t abstract(struct sockaddr_un *a, const char *name)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	memcpy(a->sun_path + 1, name, strlen(name));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static void try(const char *what, int family, const void *addr, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
	socklen_t n = sizeof error;

	if (fd < 0) {
		printf("%s: %s\n", what, strerrorname_np(errno));
		return;
	}
	if (connect(fd, addr, len) < 0 && (error = errno) == EINPROGRESS) {
		poll(&(struct pollfd){fd, POLLOUT, 0}, 1, 2000);
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
			error = errno;
		if (!error && getpeername(fd, (struct sockaddr *)&(struct sockaddr_storage){0}, &(socklen_t){128}))
			error = ETIMEDOUT;
	}
	printf("%s: %s\n", what, error ? strerrorname_np(error) : "reached");
	reached |= !error;
	close(fd);
}

static void try_inet(const char *ip, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};

	inet_pton(AF_INET, ip, &a.sin_addr);
	try(ip, AF_INET, &a, sizeof a);
}

static int serve(char **cmd)
{
	struct sockaddr_un un;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	char name[64], port[16], *args[64];
	int u = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), t = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int status, n = 0;

	snprintf(name, sizeof name, "reach.%d", getpid());
	if (u < 0 || t < 0 || bind(u, (struct sockaddr *)&un, abstract(&un, name)) || listen(u, 8) ||
	    bind(t, (struct sockaddr *)&in, sizeof in) || listen(t, 8) ||
	    getsockname(t, (struct sockaddr *)&in, &len)) {
		perror("serve");
		return 2;
	}
	snprintf(port, sizeof port, "%d", ntohs(in.sin_port));
	for (; cmd[n] && n < 60; n++)
		args[n] = cmd[n];
	args[n++] = name;
	args[n++] = port;
	args[n] = NULL;
	pid_t child = fork();
	if (child < 0)
		return 2;
	if (!child) {
		execvp(args[0], args);
		_exit(127);
	}
	waitpid(child, &status, 0);
	struct pollfd fds[2] = {{u, POLLIN, 0}, {t, POLLIN, 0}};
	if (poll(fds, 2, 0) > 0)
		puts("visited");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

int main(int argc, char **argv)
{
	struct sockaddr_un un;
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	if (argc > 2 && !strcmp(argv[1], "serve"))
		return serve(argv + 2);
	if (argc != 3)
		return 2;
	int port = atoi(argv[2]);

	try("abstract", AF_UNIX, &un, abstract(&un, argv[1]));
	try_inet("127.0.0.1", port);
	try_inet("127.0.0.2", port);
	try_inet("0.0.0.0", port);
	six.sin6_port = htons((unsigned short)port);
	try("::1", AF_INET6, &six, sizeof six);
	try_inet("169.254.169.254", 80);
	try_inet("10.0.2.2", port);
	try_inet("192.168.0.1", 80);
	return reached;
}
