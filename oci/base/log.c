/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/log.c — see log.h. */
#include "oci/base/log.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	MAX_LINE = 2048, /* below PIPE_BUF: a line is written whole or not at all */
	MIN_FIELD = 40,  /* ` dropped=` and the longest number; a field that has less room is left out */
};
enum { S_PER_DAY = 86400, DAYS_PER_ERA = 146097 /* 400 years */, DAYS_TO_1970 = 719468 /* from 0000-03-01 */ };

static struct {
	int fd;
	enum hk_level max_level;
	uint64_t dropped;
	const char *ns;
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

void hk_log_namespace(const char *ns)
{
	sink.ns = ns;
}

uint64_t hk_log_dropped(void)
{
	return sink.dropped;
}

int hk_log_fd(void)
{
	return sink.fd;
}

bool hk_log_enabled(enum hk_level level)
{
	return sink.fd >= 0 && level <= sink.max_level;
}

static const char hex_digits[] = "0123456789abcdef";

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
	if (c < 0x20 || c == 0x7f) {
		memcpy(out, "\\x", 2);
		out[2] = hex_digits[c >> 4];
		out[3] = hex_digits[c & 15];
		return 4;
	}
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

/* Neither snprintf nor gmtime_r: a handler of SIGSEGV may write a line too. */
static void put_number(struct line *l, uint64_t v, unsigned base, unsigned width)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[sizeof(digits) - ++n] = hex_digits[v % base];
		v /= base;
	} while (v > 0 || n < width);
	put(l, digits + sizeof(digits) - n, n);
}

static void put_kv(struct line *l, const struct hk_kv *kv)
{
	switch (kv->type) {
	case HK_KV_STR:
		put_value(l, kv->s ? kv->s : "");
		return;
	case HK_KV_INT:
		if (kv->i < 0)
			put(l, "-", 1);
		put_number(l, kv->i < 0 ? -(uint64_t)kv->i : (uint64_t)kv->i, 10, 1);
		return;
	case HK_KV_HEX:
		put_str(l, "0x");
		put_number(l, (uint64_t)kv->i, 16, 1);
		return;
	}
}

struct date {
	unsigned year, month, day, hour, minute, second;
};

/* UTC. */
static struct date date_of(int64_t seconds)
{
	const int64_t day = seconds / S_PER_DAY, second = seconds % S_PER_DAY;
	/* Years that begin in March: the leap day is the last of its year, and the lengths of the months follow a line. */
	const int64_t z = day + DAYS_TO_1970, era = z / DAYS_PER_ERA, doe = z % DAYS_PER_ERA;
	const int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	const int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	const int64_t month = mp < 10 ? mp + 3 : mp - 9;

	return (struct date){
		.year = (unsigned)(yoe + era * 400 + (month <= 2)),
		.month = (unsigned)month,
		.day = (unsigned)(doy - (153 * mp + 2) / 5 + 1),
		.hour = (unsigned)(second / 3600),
		.minute = (unsigned)(second / 60 % 60),
		.second = (unsigned)(second % 60),
	};
}

static void put_time(struct line *l)
{
	struct timespec ts;
	struct date d;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	d = date_of(ts.tv_sec);
	put_str(l, "time=\"");
	put_number(l, d.year % 10000, 10, 4);
	put(l, "-", 1);
	put_number(l, d.month, 10, 2);
	put(l, "-", 1);
	put_number(l, d.day, 10, 2);
	put(l, "T", 1);
	put_number(l, d.hour, 10, 2);
	put(l, ":", 1);
	put_number(l, d.minute, 10, 2);
	put(l, ":", 1);
	put_number(l, d.second, 10, 2);
	put(l, ".", 1);
	put_number(l, (uint64_t)ts.tv_nsec, 10, 9);
	put_str(l, "Z\"");
}

void hk_log(enum hk_level level, const char *msg, const struct hk_kv *kv, int n)
{
	static const char *const names[] = { "fatal", "error", "warning", "info", "debug" };
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
		put_kv(&l, &kv[i]);
	}
	if (sink.ns && room_of(&l) > strlen(sink.ns) + MIN_FIELD) {
		put_str(&l, " namespace=");
		put_value(&l, sink.ns);
	}
	told = room_of(&l) > MIN_FIELD;
	if (sink.dropped && told) {
		put_str(&l, " dropped=");
		put_number(&l, sink.dropped, 10, 1);
	}
	l.text[l.len++] = '\n';
	if (write(sink.fd, l.text, l.len) != (ssize_t)l.len)
		sink.dropped++;
	else if (told)
		sink.dropped = 0;
}
