/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/env.c — environment and program lookup of a container's process. Runs in the set-up child, in the container's
 * root. No getpwuid, no execvp: NSS would load libraries of the container into a privileged process (CVE-2019-14271).
 */
#include "oci/env.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/path.h"

enum { PASSWD_LIMIT = 1 << 20 };

int oci_env_check(const struct oci_strv *env, struct hk_err *err)
{
	for (size_t i = 0; i < env->n; i++) {
		const char *eq = strchr(env->v[i], '=');

		if (!eq || eq == env->v[i])
			return hk_fail_text(
			    err, HK_INVALID, EINVAL, "process.env[%zu]: \"%.60s\" is not NAME=value", i, env->v[i]);
	}
	return 0;
}

static size_t name_len(const char *entry)
{
	return strcspn(entry, "=");
}

/* FNV-1a; the table lives as long as one launch, nobody can aim at it. */
static size_t name_hash(const char *s, size_t len)
{
	uint64_t h = 14695981039346656037ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 1099511628211ULL;
	return (size_t)h;
}

char **oci_env_build(const struct oci_strv *env, const char *home)
{
	size_t n_slots = 16, n = 0, home_at = SIZE_MAX;
	hk_autofree size_t *slots =
	    NULL; /* index + 1 into out: a pod beside thousands of services has tens of thousands of variables */
	hk_autofree const char **out = NULL;
	char *home_entry = NULL;

	while (n_slots < env->n * 2)
		n_slots *= 2;
	slots = calloc(n_slots, sizeof(*slots));
	out = calloc(env->n + 2, sizeof(*out));
	if (!slots || !out)
		return NULL;
	for (size_t i = 0; i < env->n; i++) {
		size_t len = name_len(env->v[i]);
		size_t at = name_hash(env->v[i], len) & (n_slots - 1);

		while (slots[at] &&
		       (name_len(out[slots[at] - 1]) != len || memcmp(out[slots[at] - 1], env->v[i], len) != 0))
			at = (at + 1) & (n_slots - 1);
		if (!slots[at])
			slots[at] = ++n;
		out[slots[at] - 1] = env->v[i];
		if (len == 4 && memcmp(env->v[i], "HOME", 4) == 0)
			home_at = slots[at] - 1;
	}
	if (home && (home_at == SIZE_MAX || strcmp(out[home_at], "HOME=") == 0)) {
		size_t size = strlen(home) + sizeof("HOME=");

		home_entry = malloc(size);
		if (!home_entry)
			return NULL;
		(void)hk_fmt(home_entry, size, "HOME=%s", home);
		if (home_at == SIZE_MAX)
			home_at = n;
		out[home_at] = home_entry;
	}
	/* execve(2) takes char *const[] for history's sake and changes nothing. */
	return (char **)(uintptr_t)hk_take_ptr(out);
}

const char *oci_env_get(const char *const *env, const char *name)
{
	size_t len = strlen(name);
	const char *found = NULL;

	for (; env && *env; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			found = *env + len + 1;
	return found;
}

/* name:password:uid:gid:gecos:dir:shell; true when the line is uid's and dir fits. */
static bool line_home(char *line, uid_t uid, char *buf, size_t size)
{
	char *field[7];
	size_t n = 0;
	uint64_t v;

	for (char *p = line; p && n < HK_ARRAY_SIZE(field); n++) {
		field[n] = p;
		p = strchr(p, ':');
		if (p)
			*p++ = 0;
	}
	if (n < 6 || hk_parse_u64(field[2], &v) < 0 || v != uid || field[5][0] != '/')
		return false;
	return strlen(field[5]) < size && hk_fmt(buf, size, "%s", field[5]) >= 0;
}

void oci_env_home(int rootfd, uid_t uid, char *buf, size_t size)
{
	hk_autofree char *text = NULL;
	hk_autofd fd = -1;
	struct stat st;
	ssize_t n;

	(void)hk_fmt(buf, size, "/");
	if (hk_is_broken(HK_DEFENCE_OWN_PASSWD)) {
		hk_naive_home(uid, buf, (unsigned)size);
		return;
	}
	/* An image may ship a FIFO, a device or an endless file there: not blocking, regular only, bounded. */
	if (oci_path_open_in(rootfd, "etc/passwd", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, &fd) < 0)
		return;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > PASSWD_LIMIT)
		return;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return;
	n = read(fd, text, (size_t)st.st_size);
	if (n <= 0)
		return;
	text[n] = 0;
	for (char *line = text, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (line_home(line, uid, buf, size))
			return;
	}
}

/* Go prints errno texts in lower case; strerror's are the same words. */
static const char *go_text(int code, char *buf, size_t size)
{
	if (hk_fmt(buf, size, "%s", strerror(code)) < 0)
		return hk_errno_name(code);
	buf[0] = (char)tolower((unsigned char)buf[0]);
	return buf;
}

/*
 * 0, or the errno that Go's findExecutable would tell; *ret_stat tells that stat itself failed. The container's own filter may be in force by
 * now and refuse the question with any errno it likes (a profile older than faccessat2 does): only EACCES is an answer.
 */
static int probe(const char *path, bool *ret_stat)
{
	struct stat st;

	*ret_stat = true;
	if (stat(path, &st) < 0)
		return errno;
	*ret_stat = false;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0)
		return 0;
	return errno != EACCES && (st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) ? 0 : EACCES;
}

static int lookup_path(const char *arg0, const char *path, char *buf, size_t size, struct hk_err *err)
{
	bool is_stat;

	while (path) {
		size_t len = strcspn(path, ":");
		int r = len ? hk_fmt(buf, size, "%.*s/%s", (int)len, path, arg0) : hk_fmt(buf, size, "./%s", arg0);

		if (r >= 0 && probe(buf, &is_stat) == 0)
			return 0;
		path = path[len] ? path + len + 1 : NULL;
	}
	return hk_fail_text(err, HK_INTERNAL, ENOENT, "exec: \"%s\": executable file not found in $PATH", arg0);
}

int oci_lookup(const char *arg0, const char *path, char *buf, size_t size, struct hk_err *err)
{
	char text[80];
	bool is_stat;
	int code;

	if (!*arg0 || !strchr(arg0, '/'))
		return lookup_path(arg0, *arg0 && path && *path ? path : NULL, buf, size, err);
	if (hk_fmt(buf, size, "%s", arg0) < 0)
		return hk_fail_text(err, HK_INVALID, ENAMETOOLONG, "exec: \"%.60s...\": file name too long", arg0);
	code = probe(buf, &is_stat);
	if (code == 0)
		return 0;
	if (is_stat)
		return hk_fail_text(
		    err, HK_INTERNAL, code, "exec: \"%s\": stat %s: %s", arg0, arg0, go_text(code, text, sizeof(text)));
	return hk_fail_text(err, HK_INTERNAL, code, "exec: \"%s\": %s", arg0, go_text(code, text, sizeof(text)));
}

int oci_exec_fail(const char *path, int code, struct hk_err *err)
{
	char text[80];

	return hk_fail_text(err, HK_INTERNAL, code, "exec %s: %s", path, go_text(code, text, sizeof(text)));
}
