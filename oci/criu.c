/* SPDX-License-Identifier: Apache-2.0 */
/* oci/criu.c — criu as a program: found, given its arguments, executed; its log read when it failed. */
#include "oci/criu.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/oci.h"

/* Of a containerd that was started without one. criu itself looks for ip, tar and iptables there. */
#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
enum { TAIL_BYTES = 1 << 14 };

static const char *search_path(void)
{
	const char *path = getenv("PATH");

	return path && *path ? path : USUAL_PATH;
}

int oci_criu_find(struct oci_criu_args *a, struct hk_err *err)
{
	const char *path = search_path();
	char *list = hk_arena_strdup(&a->arena, path), *save = NULL;

	if (!list)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "criu");
	for (char *dir = strtok_r(list, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
		char *file = hk_arena_printf(&a->arena, "%s/criu", dir);
		struct stat st;

		if (file && dir[0] == '/' && stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0) {
			a->program = file;
			return 0;
		}
	}
	return hk_fail_text(err, HK_UNSUPPORTED, EOPNOTSUPP, "criu is not installed: no such program in %.400s", path);
}

void oci_criu_arg(struct oci_criu_args *a, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	if (a->n + 1 >= a->cap) { /* the NULL behind the last */
		const size_t cap = a->cap ? a->cap * 2 : 64;
		const char **v = hk_arena_array(&a->arena, cap, sizeof(*v));

		if (!v) {
			a->is_short_of_memory = true;
			return;
		}
		if (a->n > 0)
			memcpy(v, a->v, a->n * sizeof(*v));
		a->v = v;
		a->cap = cap;
	}
	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	s = n < 0 ? NULL : hk_arena_alloc(&a->arena, (size_t)n + 1);
	if (!s) {
		a->is_short_of_memory = true;
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	a->v[a->n++] = s;
}

int oci_criu_exec(const struct oci_criu_args *a, const char *log_path, struct hk_err *err)
{
	struct hk_arena arena = { 0 };
	char *const env[] = { hk_arena_printf(&arena, "PATH=%s", search_path()), NULL };
	sigset_t none;
	int null, log;

	if (a->is_short_of_memory || !env[0])
		return hk_fail(err, HK_INTERNAL, ENOMEM, "arguments of criu");
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (null < 0 || log < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open %s", null < 0 ? "/dev/null" : log_path);
	if (dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "stdio of criu");
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)execve(a->program, (char *const *)(uintptr_t)a->v, env);
	return hk_fail(err, HK_INTERNAL, errno, "execute %s", a->program);
}

int oci_criu_mkdir(const char *path, struct hk_err *err)
{
	const int r = hk_mkdir_p(AT_FDCWD, path, 0700);

	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "make directory %s", path) : 0;
}

void oci_criu_log(const char *path, char *buf, size_t size)
{
	hk_autofree char *text = malloc(TAIL_BYTES);
	hk_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const char *from;
	struct stat st;
	ssize_t n;
	size_t len;
	int lines = 0;

	buf[0] = '\0';
	if (!text || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	n = pread(fd, text, TAIL_BYTES, st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0);
	if (n <= 0)
		return;
	len = (size_t)n;
	while (len > 0 && text[len - 1] == '\n')
		len--;
	from = text + len;
	while (from > text && (size_t)(text + len - from) + 1 < size && (from[-1] != '\n' || ++lines < OCI_CRIU_LOG_LINES))
		from--;
	len -= (size_t)(from - text);
	memcpy(buf, from, len);
	buf[len] = '\0';
	for (char *p = buf; *p; p++)
		if (*p != '\n' && *p != '\t' && ((unsigned char)*p < 0x20 || *p == 0x7f))
			*p = ' ';
}
