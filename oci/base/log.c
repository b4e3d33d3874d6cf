/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/log.c — see log.h. */
#include "oci/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	MAX_LINE = 2048, /* below PIPE_BUF: a line is written whole or not at all */
	MIN_FIELD = 40,  /* ` dropped=` and the longest number; a field that has less room is left out */
};

static struct {
	int fd;
	enum hk_level max_level;
	uint64_t dropped;
} sink = { .fd = -1, .max_level = HK_LOG_INFO };

struct line {
	size_t len;
	char text[MAX_LINE];
};

void hk_log_init(int fd, enum hk_level max_level)
{
	sink.fd = fd;
	sink.max_level = max_level;
	sink.dropped = 0;
}

int hk_log_fd(void)
{
	return sink.fd;
}

bool hk_log_enabled(enum hk_level level)
{
	return sink.fd >= 0 && level <= sink.max_level;
}

static size_t room_of(const struct line *l)
{
	return sizeof(l->text) - 1 - l->len; /* one byte stays for the newline */
}

static void put(struct line *l, const char *s, size_t n)
{
	if (n > room_of(l))
		n = room_of(l);
	memcpy(l->text + l->len, s, n);
	l->len += n;
}

static void put_str(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

/* logrus: bare only when every byte is of this set. */
static bool is_bare(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
			strchr("-._/@^+", *s)))
			return false;
	return true;
}

/* One byte of a quoted value as Go's %q would write it; returns the length. */
static size_t escape(unsigned char c, char out[5])
{
	static const char named[] = "\"\\\n\t\r", letters[] = "\"\\ntr";
	const char *at = c ? strchr(named, c) : NULL;

	if (at) {
		out[0] = '\\';
		out[1] = letters[at - named];
		return 2;
	}
	if (c < 0x20 || c == 0x7f)
		return (size_t)snprintf(out, 5, "\\x%02x", c);
	out[0] = (char)c;
	return 1;
}

/* Bytes of the UTF-8 character that begins at s, as far as they are there: what may only be written together. */
static size_t whole_character(const char *s)
{
	size_t n = 1;

	while ((unsigned char)s[0] >= 0xc0 && n < 4 && ((unsigned char)s[n] & 0xc0) == 0x80)
		n++;
	return n;
}

/* A value that does not fit is cut between two characters and still closed. */
static void put_value(struct line *l, const char *s)
{
	char esc[5];

	if (is_bare(s) && strlen(s) < room_of(l)) {
		put_str(l, s);
		return;
	}
	put(l, "\"", 1);
	for (; *s; s++) {
		const size_t n = escape((unsigned char)*s, esc);

		if (room_of(l) < n + 1 || room_of(l) < whole_character(s) + 1)
			break;
		put(l, esc, n);
	}
	put(l, "\"", 1);
}

static void put_int(struct line *l, int64_t v)
{
	char number[24];

	(void)snprintf(number, sizeof(number), "%lld", (long long)v);
	put_str(l, number);
}

static void put_time(struct line *l)
{
	struct timespec ts;
	struct tm tm;
	char text[48];

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	(void)snprintf(text, sizeof(text), "time=\"%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ\"", (tm.tm_year + 1900) % 10000,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec);
	put_str(l, text);
}

void hk_log(enum hk_level level, const char *msg, const struct hk_kv *kv, int n)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };
	struct line l;
	bool told;

	if (!hk_log_enabled(level))
		return;
	l.len = 0;
	put_time(&l);
	put_str(&l, " level=");
	put_str(&l, names[level]);
	put_str(&l, " msg=");
	put_value(&l, msg);
	for (int i = 0; i < n && room_of(&l) > strlen(kv[i].key) + MIN_FIELD; i++) {
		put(&l, " ", 1);
		put_str(&l, kv[i].key);
		put(&l, "=", 1);
		if (kv[i].type == HK_KV_INT)
			put_int(&l, kv[i].i);
		else
			put_value(&l, kv[i].s ? kv[i].s : "");
	}
	told = room_of(&l) > MIN_FIELD;
	if (sink.dropped && told) {
		put_str(&l, " dropped=");
		put_int(&l, (int64_t)sink.dropped);
	}
	l.text[l.len++] = '\n';
	if (write(sink.fd, l.text, l.len) != (ssize_t)l.len)
		sink.dropped++;
	else if (told)
		sink.dropped = 0;
}
