/*
 * probe listen NAME     listens on a TCP port of 127.0.0.1 and on the abstract
 *                       socket NAME, prints the port, answers until killed
 * probe tcp PORT        connects to that port
 * probe abstract NAME   connects to that socket
 *
 * A connection counts when the listener's byte arrives: exit 0, else 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t abstract(struct sockaddr_un *un, const char *name)
{
	memset(un, 0, sizeof *un);
	un->sun_family = AF_UNIX;
	snprintf(un->sun_path + 1, sizeof un->sun_path - 1, "%s", name);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
}

static int serve(const char *name)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un;
	socklen_t len = sizeof in;
	struct pollfd fds[2] = {
		{.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN},
		{.fd = socket(AF_UNIX, SOCK_STREAM, 0), .events = POLLIN},
	};

	if (bind(fds[0].fd, (struct sockaddr *)&in, sizeof in) ||
	    getsockname(fds[0].fd, (struct sockaddr *)&in, &len) ||
	    bind(fds[1].fd, (struct sockaddr *)&un, abstract(&un, name)) ||
	    listen(fds[0].fd, 8) || listen(fds[1].fd, 8)) {
		perror("probe: listen");
		return 1;
	}
	printf("%d\n", ntohs(in.sin_port));
	fflush(stdout);
	while (poll(fds, 2, -1) > 0)
		for (int i = 0; i < 2; i++) {
			int c = fds[i].revents & POLLIN ? accept(fds[i].fd, NULL, NULL) : -1;

			if (c >= 0 && (write(c, "!", 1) != 1 || close(c)))
				perror("probe: answer");
		}
	return 1;
}

static int answers(int fd, const struct sockaddr *to, socklen_t len)
{
	char byte;

	return fd >= 0 && !connect(fd, to, len) && read(fd, &byte, 1) == 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un;

	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "listen"))
		return serve(argv[2]);
	if (!strcmp(argv[1], "abstract"))
		return !answers(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&un,
				abstract(&un, argv[2]));
	in.sin_port = htons(atoi(argv[2]));
	return !answers(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&in, sizeof in);
}
