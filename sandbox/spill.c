/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/spill.c — see spill.h. Whole pages are given back as soon as they have been taken; a pipe keeps those that are still in it. */
#include "sandbox/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/log.h"
#include "oci/base/str.h"

enum { CHUNK = 1 << 16, PAGE = 4096 };

struct spill *spill_new(int fd, uint64_t cap, const char *id)
{
	struct spill *s = calloc(1, sizeof(*s));

	if (!s) {
		(void)hk_close(fd);
		return NULL;
	}
	*s = (struct spill){ .fd = fd, .cap = cap };
	(void)hk_fmt(s->id, sizeof(s->id), "%.79s", id);
	if (s->fd < 0)
		s->fd = memfd_create("husk-stdio", MFD_CLOEXEC);
	if (s->fd >= 0)
		return s;
	free(s);
	return NULL;
}

void spill_free(struct spill *s)
{
	if (!s)
		return;
	(void)hk_close(s->fd);
	free(s);
}

bool spill_is_empty(const struct spill *s)
{
	return s->head == s->tail;
}

static void told_dropping(struct spill *s, bool is_dropping)
{
	if (s->is_dropping == is_dropping)
		return;
	s->is_dropping = is_dropping;
	if (is_dropping)
		log_warn("output is dropped: nobody reads it, and what may be kept is full", LOG_STR("id", s->id));
	else
		log_warn("output is kept again", LOG_STR("id", s->id), LOG_INT("dropped_bytes", s->dropped));
}

static ssize_t drop(struct spill *s, int from, size_t max)
{
	char buf[CHUNK];
	ssize_t n = read(from, buf, max < sizeof(buf) ? max : sizeof(buf));

	if (n <= 0)
		return n < 0 ? -errno : 0;
	s->dropped += (uint64_t)n;
	told_dropping(s, true);
	return n;
}

ssize_t spill_put(struct spill *s, int from, size_t max)
{
	const uint64_t room = s->cap - (s->tail - s->head);
	loff_t at = (loff_t)s->tail;
	ssize_t n;

	if (room == 0)
		return drop(s, from, max);
	told_dropping(s, false);
	if (max > room)
		max = (size_t)room;
	n = splice(from, NULL, s->fd, &at, max, SPLICE_F_NONBLOCK);
	if (n < 0) /* no memory for it */
		return errno == EAGAIN || errno == EINTR ? -errno : drop(s, from, max);
	s->tail += (uint64_t)n;
	return n;
}

ssize_t spill_take(struct spill *s, int to)
{
	const uint64_t kept = s->tail - s->head, before = s->head / PAGE * PAGE;
	loff_t at = (loff_t)s->head;
	ssize_t n = splice(s->fd, &at, to, NULL, kept < CHUNK ? (size_t)kept : CHUNK, SPLICE_F_NONBLOCK);

	if (n < 0)
		return -errno;
	s->head += (uint64_t)n;
	if (s->head / PAGE * PAGE > before)
		(void)fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)before, (off_t)(s->head / PAGE * PAGE - before));
	return n;
}
