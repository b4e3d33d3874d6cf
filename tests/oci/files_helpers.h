/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/files_helpers.h — a container's file tree made by the real steps, in a child with namespaces of its own; the checks run in there.
 * Include after cmocka.h.
 */
#pragma once
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup.h"
#include "oci/files.h"
#include "oci/namespaces.h"
#include "oci/setup.h"

/* In the child: cmocka's assertions belong to the parent. */
#define CHECK(x)                                                                                        \
	do {                                                                                            \
		if (!(x)) {                                                                             \
			(void)fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #x, strerror(errno)); \
			_exit(1);                                                                       \
		}                                                                                       \
	} while (0)
#define WORDS(...)                                                                                      \
	{                                                                                               \
		.v = (const char *[]){ __VA_ARGS__, NULL }, .n = sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *) \
	}
#define LIST(member, array) .member = (array), .n_##member = HK_ARRAY_SIZE(array)

struct world { /* a bundle on the host */
	char dir[64];     /* temporary, all is below */
	char bundle[80], rootfs[96];
	char *mountinfo;  /* of the host, before */
};
struct scene {
	struct world *w;
	struct oci_setup s;
	struct oci_spec spec;
	const int *absent; /* system calls that answer ENOSYS, ended by -1; NULL = none */
	void (*before)(struct scene *sc);  /* in the child, before the steps, in its mount namespace */
	void (*check)(struct scene *sc);   /* in the container's root, all steps done */
	int expect;        /* -errno that a step must give; 0 = success */
	const char *expect_text; /* part of the error */
};

static inline char *read_all(const char *path)
{
	char *text = NULL;
	size_t len;

	if (hk_read_file_alloc(AT_FDCWD, path, 4 << 20, &text, &len) < 0)
		return NULL;
	return text;
}

static inline void make_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static inline void make_dir(const char *dir, const char *name)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static inline int world_set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/husk-files-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chmod(w->dir, 0755), 0);
	make_dir(w->dir, "bundle");
	(void)snprintf(w->bundle, sizeof(w->bundle), "%s/bundle", w->dir);
	make_dir(w->bundle, "rootfs");
	(void)snprintf(w->rootfs, sizeof(w->rootfs), "%s/rootfs", w->bundle);
	make_dir(w->rootfs, "etc");
	make_file(w->rootfs, "etc/image", "image");
	w->mountinfo = read_all("/proc/self/mountinfo");
	assert_non_null(w->mountinfo);
	*state = w;
	return 0;
}

static inline int world_tear_down(void **state)
{
	struct world *w = *state;
	hk_autofree char *now = read_all("/proc/self/mountinfo");
	int r;

	assert_non_null(now);
	r = strcmp(now, w->mountinfo); /* nothing reached the host, nothing is left */
	if (r != 0)
		print_error("mounts of the host before:\n%s\nafter:\n%s\n", w->mountinfo, now);
	free(w->mountinfo);
	assert_int_equal(hk_rm_rf(AT_FDCWD, w->dir), 0);
	free(w);
	return r;
}

/* An old kernel, or a filter around us: the calls answer ENOSYS. */
static inline void forbid(const int *calls)
{
	struct sock_filter code[32] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0) };
	struct sock_fprog prog = { .filter = code };
	unsigned short n = 1;

	if (!calls)
		return;
	for (; *calls >= 0; calls++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)*calls, 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = n;
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) == 0);
}

typedef int step_fn(struct oci_setup *s, struct hk_err *err);
static step_fn *const prepare_steps[] = { oci_rootfs_prepare, oci_mounts_prepare };
static step_fn *const attach_steps[] = {
	oci_rootfs_attach,   oci_procfs_open,  oci_mounts_attach, oci_devices_create, oci_console_create,
	oci_rootfs_make_cwd, oci_rootfs_pivot, oci_sysctl_write,  oci_masks_apply,    oci_rootfs_finish,
};

static inline void init_setup(struct scene *sc)
{
	struct oci_setup *s = &sc->s;

	s->spec = &sc->spec;
	s->id = "t1";
	s->bundle = sc->w->bundle;
	if (!s->rootfs)
		s->rootfs = sc->w->rootfs;
	s->rootfs_fd = s->proc_fd = s->devnull_fd = s->console_master = s->console_slave = -1;
	(void)umask(0);
}

/* Ends the child when a step fails (as the scene expects it to, or not). */
static inline void run_steps(struct scene *sc, step_fn *const *steps, size_t n)
{
	struct hk_err err = { .text = "" };

	for (size_t i = 0; i < n; i++) {
		int r = steps[i](&sc->s, &err);

		if (r >= 0)
			continue;
		if (r == sc->expect && (!sc->expect_text || strstr(err.text, sc->expect_text)))
			_exit(0);
		(void)fprintf(stderr, "step %zu: %d: %s\n", i, r, err.text);
		_exit(1);
	}
}

static inline void finish_scene(struct scene *sc)
{
	if (sc->expect != 0) {
		(void)fprintf(stderr, "no step failed, with %s expected\n", sc->expect_text ? sc->expect_text : "an error");
		_exit(1);
	}
	if (sc->check)
		sc->check(sc);
	_exit(0);
}

static inline void assert_child_ok(pid_t pid)
{
	int status;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("the child ended with status %#x", (unsigned)status);
}

enum { NEW_ALL = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET };

static inline void run_scene(struct scene *sc)
{
	struct oci_clone c = { .flags = NEW_ALL, .cgroup_fd = -1, .exit_signal = SIGCHLD };
	pid_t pid = oci_clone(&c);

	if (pid == 0) {
		init_setup(sc);
		if (sc->before)
			sc->before(sc);
		forbid(sc->absent);
		run_steps(sc, prepare_steps, HK_ARRAY_SIZE(prepare_steps));
		run_steps(sc, attach_steps, HK_ARRAY_SIZE(attach_steps));
		finish_scene(sc);
	}
	assert_child_ok(pid);
}

/* "ro,nosuid opts|propagation|type|root" of the topmost mount on `point`, from the child's own procfs; false when there is none. */
static inline bool find_mount(const struct scene *sc, const char *point, char *ret, size_t size)
{
	static char text[256 * 1024];
	ssize_t n = hk_read_file_at(sc->s.proc_fd, "self/mountinfo", text, sizeof(text));
	bool found = false;
	char *save = NULL;

	CHECK(n > 0);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char root[1024], at[1024], opts[512], rest[1024], *dash;

		if (sscanf(line, "%*d %*d %*s %1023s %1023s %511s %1023[^\n]", root, at, opts, rest) != 4 || strcmp(at, point) != 0)
			continue;
		dash = strstr(rest, "- ");
		CHECK(dash != NULL);
		(void)snprintf(ret, size, "%s|%.*s|%s|%s", opts, (int)(dash - rest), rest, dash + 2, root);
		found = true;
	}
	return found;
}

/* The mount on `point` has all of the comma-separated words in its mount options, and none of those marked by '!'. */
static inline bool has_flags(const struct scene *sc, const char *point, const char *words)
{
	char line[4096], copy[256], opts[600], want[80], *save = NULL;

	if (!find_mount(sc, point, line, sizeof(line)))
		return false;
	(void)snprintf(opts, sizeof(opts), ",%.*s,", (int)strcspn(line, "|"), line);
	(void)snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		bool want_it = w[0] != '!';

		(void)snprintf(want, sizeof(want), ",%s,", want_it ? w : w + 1);
		if (!!strstr(opts, want) != want_it) {
			(void)fprintf(stderr, "%s: %s\n", point, line);
			return false;
		}
	}
	return true;
}

static inline bool mount_text_has(const struct scene *sc, const char *point, const char *text)
{
	char line[4096] = "";
	bool ok = find_mount(sc, point, line, sizeof(line)) && strstr(line, text);

	if (!ok)
		(void)fprintf(stderr, "%s: %s\n", point, line);
	return ok;
}
