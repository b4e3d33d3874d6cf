/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/store.c — see store.h. */
#include "sandbox/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

#define FORMAT_LINE "husk 1\n"
#define SHIM_FILE ".shim"
enum { MAX_FILE = 16384, START_TIME_FIELD = 22, BOOT_ID_SIZE = 64, MAKE_TRIES = 100 };

char *store_dir(const char *state_dir, const char *ns, const char *group)
{
	char name[65];
	char *dir = NULL;

	if (!hk_is_valid_id(group)) {
		uint8_t digest[32];

		hk_sha256(group, strlen(group), digest);
		hk_hex(digest, sizeof(digest), name);
		group = name;
	}
	return asprintf(&dir, "%s/%s/%s", state_dir, ns, group) < 0 ? NULL : dir;
}

uint64_t store_start_time(pid_t pid)
{
	char path[64], text[1024];
	const char *at;
	uint64_t v = 0;

	if (pid <= 0 || hk_fmt(path, sizeof(path), "/proc/%d/stat", (int)pid) < 0 || hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) < 0)
		return 0;
	at = strrchr(text, ')'); /* field 2 is a name of any bytes */
	for (int field = 2; at && field < START_TIME_FIELD; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return 0;
	text[(size_t)(at - text) + 1 + strcspn(at + 1, " ")] = '\0';
	return hk_parse_u64(at + 1, &v) == 0 ? v : 0;
}

bool store_is_running(pid_t pid)
{
	hk_autofd pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd < 0 ? errno != ESRCH : poll(&p, 1, 0) == 0;
}

/* A pid and a start time mean a process of one boot only; /run may be kept over a reboot. */
static void boot_id(char buf[BOOT_ID_SIZE])
{
	if (hk_read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", buf, BOOT_ID_SIZE) < 0)
		buf[0] = '\0';
}

static int write_lines(const char *dir, const char *name, const char *text, int len)
{
	char path[PATH_MAX];

	if (len < 0)
		return -ENOMEM;
	if (hk_fmt(path, sizeof(path), "%s/%s", dir, name) < 0)
		return -ENAMETOOLONG;
	return hk_write_file_atomic(AT_FDCWD, path, text, (size_t)len, 0600);
}

int store_write_shim(const char *dir, pid_t pid, const char *socket, const char *cgroup)
{
	const bool has_cgroup = cgroup && cgroup[0] && !strchr(cgroup, '\n');
	hk_autofree char *text = NULL;
	int len = asprintf(&text, FORMAT_LINE "pid %d\nsocket %s\n%s%s%s", (int)pid, socket, has_cgroup ? "cgroup " : "", has_cgroup ? cgroup : "",
	    has_cgroup ? "\n" : "");
	int r = -ENOENT;

	/* Another shim, the last of its namespace, may be taking the directories above away while we make ours below. */
	for (int tries = 0; r == -ENOENT && tries < MAKE_TRIES; tries++) {
		r = hk_mkdir_p(AT_FDCWD, dir, 0700);
		if (r == 0)
			r = write_lines(dir, SHIM_FILE, text, len);
	}
	return r;
}

int store_write_container(const char *dir, const struct store_record *r)
{
	hk_autofree char *text = NULL;
	char boot[BOOT_ID_SIZE];
	int len;

	if (strchr(r->bundle, '\n') || strchr(r->cgroup, '\n'))
		return -EINVAL;
	boot_id(boot);
	len = asprintf(&text, FORMAT_LINE "id %s\nbundle %s\ncgroup %s\npid %d\nstart_time %llu\nboot %s\n", r->id, r->bundle, r->cgroup,
	    (int)r->pid, (unsigned long long)store_start_time(r->pid), boot);
	return write_lines(dir, r->id, text, len);
}

void store_remove_container(const char *dir, const char *id)
{
	char path[PATH_MAX];

	if (hk_fmt(path, sizeof(path), "%s/%s", dir, id) >= 0)
		(void)unlink(path);
}

/* "NAME.PID~": a file that its writer, dead by now, did not come to rename (hk_write_file_atomic). */
static bool is_abandoned(const char *name)
{
	const char *dot = strrchr(name, '.');
	char digits[16];
	uint64_t pid;

	if (!dot || !hk_has_suffix(dot, "~") || hk_fmt(digits, sizeof(digits), "%.*s", (int)strlen(dot) - 2, dot + 1) < 0)
		return false;
	return hk_parse_u64(digits, &pid) == 0 && pid <= INT_MAX && !store_is_running((pid_t)pid);
}

static void remove_abandoned(const char *dir)
{
	hk_autodir d = opendir(dir);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		if (is_abandoned(e->d_name))
			(void)unlinkat(dirfd(d), e->d_name, 0);
	}
}

void store_remove_dir(const char *dir)
{
	char path[PATH_MAX], text[MAX_FILE];
	hk_autofd fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return;
	remove_abandoned(dir);
	/* rmdir alone tells whether it is empty, so the shim's file goes first, and comes back if it is not. */
	len = hk_read_file_at(fd, SHIM_FILE, text, sizeof(text) - 1);
	(void)unlinkat(fd, SHIM_FILE, 0);
	if (rmdir(dir) < 0) {
		if (len > 0 && errno == ENOTEMPTY) {
			text[len++] = '\n'; /* which the reading cut off */
			(void)hk_write_file_atomic(fd, SHIM_FILE, text, (size_t)len, 0600);
		}
		return;
	}
	/* Upwards: the namespace's directory if this was its last pod, the daemon's if that was its last namespace. */
	for (int up = 0; up < 2 && (up > 0 || hk_fmt(path, sizeof(path), "%s", dir) >= 0) && strrchr(path, '/'); up++) {
		*strrchr(path, '/') = '\0';
		if (rmdir(path) < 0)
			break;
	}
}

/* The value of "key value\n", heap; NULL when absent. */
static char *value_of(const char *text, const char *key)
{
	const size_t n = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, key, n) == 0 && line[n] == ' ')
			return strndup(line + n + 1, strcspn(line + n + 1, "\n"));
	return NULL;
}

static int number_of(const char *text, const char *key, uint64_t max, uint64_t *ret)
{
	hk_autofree char *s = value_of(text, key);

	return s && hk_parse_u64(s, ret) == 0 && *ret <= max ? 0 : -EPROTO;
}

static int read_lines(int dirfd, const char *name, char *text, size_t size)
{
	const ssize_t n = hk_read_file_at(dirfd, name, text, size);

	if (n < 0)
		return (int)n;
	return hk_has_prefix(text, FORMAT_LINE) ? 0 : -EPROTO;
}

static bool is_this_boot(const char *text)
{
	hk_autofree char *then = value_of(text, "boot");
	char now[BOOT_ID_SIZE];

	boot_id(now);
	return !then || !*then || !*now || strcmp(then, now) == 0;
}

int store_read_container(int dirfd, const char *id, struct store_record *ret)
{
	struct store_record rec = { 0 };
	char text[MAX_FILE];
	uint64_t pid = 0;
	int r = hk_is_valid_id(id) ? read_lines(dirfd, id, text, sizeof(text)) : -EPROTO;

	if (r < 0)
		return r;
	rec.id = value_of(text, "id");
	rec.bundle = value_of(text, "bundle");
	rec.cgroup = value_of(text, "cgroup");
	if (!rec.id || !rec.bundle || !rec.cgroup || number_of(text, "pid", INT_MAX, &pid) < 0 ||
	    number_of(text, "start_time", UINT64_MAX, &rec.start_time) < 0 || !hk_streq(rec.id, id)) {
		store_record_done(&rec);
		return -EPROTO;
	}
	rec.pid = is_this_boot(text) ? (pid_t)pid : 0;
	*ret = rec;
	return 0;
}

static void drop(const char *s)
{
	free((void *)(uintptr_t)s); /* heap on the reading side, where it is ours */
}

void store_record_done(struct store_record *r)
{
	drop(r->id);
	drop(r->bundle);
	drop(r->cgroup);
	*r = (struct store_record){ 0 };
}

int store_read_shim(int dirfd, struct store_shim *ret)
{
	struct store_shim s = { 0 };
	char text[MAX_FILE];
	uint64_t pid = 0;
	int r = read_lines(dirfd, SHIM_FILE, text, sizeof(text));

	if (r < 0)
		return r;
	s.socket = value_of(text, "socket");
	if (!s.socket || number_of(text, "pid", INT_MAX, &pid) < 0) {
		store_shim_done(&s);
		return -EPROTO;
	}
	s.pid = (pid_t)pid;
	s.cgroup = value_of(text, "cgroup");
	*ret = s;
	return 0;
}

void store_shim_done(struct store_shim *s)
{
	free(s->socket);
	free(s->cgroup);
	s->socket = s->cgroup = NULL;
}
