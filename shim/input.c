/* SPDX-License-Identifier: Apache-2.0 */
/* shim/input.c — reads stdin without ever hanging on it: containerd up to 2.2 may leave it /dev/null, a person's shell a terminal. */
#include "shim/input.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "oci/base/auto.h"

enum { CHUNK = 4096, LIMIT = 4 << 20, SILENCE_MS = 1000 };

/* Bytes read, 0 at the end or after the silence, -errno. */
static ssize_t read_some(int fd, uint8_t *buf, size_t size)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	for (;;) {
		int ready = poll(&pfd, 1, SILENCE_MS);
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready < 0 ? -errno : 0;
		if (pfd.revents & POLLNVAL)
			return 0;
		n = read(fd, buf, size);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		return n < 0 ? -errno : n;
	}
}

int shim_input_read(int fd, uint8_t **ret, size_t *ret_len)
{
	hk_autofree uint8_t *buf = malloc(CHUNK);
	size_t len = 0, size = CHUNK;

	if (!buf)
		return -ENOMEM;
	while (!isatty(fd)) {
		ssize_t n = read_some(fd, buf + len, size - len);
		uint8_t *grown;

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > LIMIT)
			return -EFBIG;
		if (len < size)
			continue;
		grown = realloc(buf, 2 * size);
		if (!grown)
			return -ENOMEM;
		buf = grown;
		size *= 2;
	}
	*ret = hk_take_ptr(buf);
	*ret_len = len;
	return 0;
}
