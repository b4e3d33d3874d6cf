/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-payload — what runs inside the benchmark's containers, static and small, so that its own cost is next to nothing.
 *   bench-payload true | pause | write BYTES [FIFO] | sink
 * write: zeros in pieces of 64 KiB to stdout, or to a FIFO it opens itself. sink: containerd's binary:// logger, which forgets what it reads.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 64 << 10 };

static int write_zeros(unsigned long long left)
{
	static char zeros[PIECE];

	while (left > 0) {
		ssize_t n = write(STDOUT_FILENO, zeros, left < PIECE ? (size_t)left : PIECE);

		if (n < 0)
			return 1;
		left -= (unsigned long long)n;
	}
	return 0;
}

/* Stdout of the container is 3, its stderr 4; closing 5 says that we are ready. */
static int sink(void)
{
	enum { OUT = 3, READY = 5 };
	static char bytes[PIECE];

	(void)close(READY);
	while (read(OUT, bytes, sizeof(bytes)) > 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "true") == 0)
		return 0;
	if (strcmp(what, "pause") == 0)
		for (;;)
			(void)pause();
	if (strcmp(what, "sink") == 0)
		return sink();
	if (strcmp(what, "write") != 0 || argc < 3)
		return 2;
	if (argc > 3) {
		int fd = open(argv[3], O_WRONLY | O_CLOEXEC);

		if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
			return 1;
	}
	return write_zeros(strtoull(argv[2], NULL, 10));
}
