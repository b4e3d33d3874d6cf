/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/conformance/nginx.c — stands in for nginx and httpd in critest's images: answers every request on port argv[1] (80) with one page and writes
 * a line to its log. It calls itself "nginx: master process", since a test looks for that name in the process list.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_on(int port)
{
	const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0) {
		perror("listen");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	static const char page[] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 45\r\nConnection: close\r\n\r\n"
				   "<html><body><h1>It works!</h1></body></html>\n";
	const char *port = argc > 1 ? argv[1] : "80";
	char request[4096];
	FILE *pidfile;
	int fd;

	if (argc < 3 || !getenv("NGINX_RENAMED")) {
		(void)setenv("NGINX_RENAMED", "1", 1);
		(void)execl("/bin/nginx", "nginx: master process", port, "renamed", (char *)NULL);
		return 1;
	}
	(void)signal(SIGCHLD, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	pidfile = fopen("/var/run/nginx.pid", "w");
	if (pidfile) {
		(void)fprintf(pidfile, "%d\n", (int)getpid());
		(void)fclose(pidfile);
	}
	fd = listen_on((int)strtol(port, NULL, 10));
	(void)printf("listening on %s\n", port);
	(void)fflush(stdout);
	for (;;) {
		int client = accept(fd, NULL, NULL);

		if (client < 0)
			continue;
		if (read(client, request, sizeof(request)) >= 0 && write(client, page, sizeof(page) - 1) > 0)
			(void)printf("GET /\n");
		(void)fflush(stdout);
		(void)close(client);
	}
}
