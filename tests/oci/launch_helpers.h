/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/launch_helpers.h — drives oci/oci.h to the end of each call, for the root tests. Include after cmocka.h.
 * A box is one container with its bundle; the rootfs is busybox-static's.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/loop.h"
#include "oci/oci.h"

enum { TURN_MS = 10000, TURNS = 3000 };

#define NS_NEW "{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"network\"},"
#define NS_MOUNT "{\"type\":\"mount\"}"
#define CAPS "[\"CAP_CHOWN\",\"CAP_SETUID\",\"CAP_SETGID\",\"CAP_KILL\",\"CAP_SYS_CHROOT\"]"

static char base[] = "/tmp/husk-test-launch-XXXXXX";
static struct hk_loop loop;
static struct hk_reaper reaper;
static struct oci_engine engine = { .loop = &loop, .reaper = &reaper };

struct config { /* all optional; JSON fragments that end in a comma */
	const char *args;       /* "\"true\"" */
	const char *process, *linux_, *root;
	const char *namespaces; /* instead of NS_NEW */
	const char *rootfs;
};
struct box {
	char id[32], dir[128];
	struct oci_container *c;
	struct hk_child init, extra;
	int out[2];    /* the stdout and stderr of all that runs in it */
	int console;
	bool done, exited, extra_exited;
	int status, extra_status;
	struct hk_err err;
	char text[8192];
};

static inline void write_text(const char *dir, const char *name, const char *text)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, text, strlen(text)), 0);
	(void)hk_close(fd);
}

static inline void make_rootfs(const char *dir)
{
	static const char *const dirs[] = { "bin", "etc", "proc", "sys", "dev", "tmp", "root" };
	static const char *const links[] = { "sh", "true", "cat", "id", "sleep", "ls", "readlink", "mkdir", "tty", "env", "kill", "ps" };
	char cmd[512], path[512];

	assert_int_equal(mkdir(dir, 0755), 0);
	for (size_t i = 0; i < HK_ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	(void)snprintf(cmd, sizeof(cmd), "cp /bin/busybox %s/bin/busybox && chmod 1777 %s/tmp", dir, dir);
	assert_int_equal(system(cmd), 0);
	for (size_t i = 0; i < HK_ARRAY_SIZE(links); i++) {
		(void)snprintf(path, sizeof(path), "%s/bin/%s", dir, links[i]);
		assert_int_equal(symlink("busybox", path), 0);
	}
	write_text(dir, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
}

static inline const char *or(const char *s, const char *other)
{
	return s ? s : other;
}

static inline struct box *box_new(const char *id, const struct config *cf)
{
	struct box *b = calloc(1, sizeof(*b));
	char text[16384], rootfs[256];

	assert_non_null(b);
	(void)snprintf(b->id, sizeof(b->id), "%s", id);
	(void)snprintf(b->dir, sizeof(b->dir), "%s/%s", base, id);
	(void)snprintf(rootfs, sizeof(rootfs), "%s/rootfs", base);
	assert_int_equal(mkdir(b->dir, 0755), 0);
	(void)snprintf(text, sizeof(text),
	    "{\"ociVersion\":\"1.2.0\",%s\"root\":{\"path\":\"%s\"},\"process\":{%s\"args\":[%s],\"cwd\":\"/\","
	    "\"env\":[\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0},"
	    "\"capabilities\":{\"bounding\":" CAPS ",\"effective\":" CAPS ",\"permitted\":" CAPS "}},"
	    "\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
	    "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"mode=755\"]},"
	    "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"newinstance\",\"ptmxmode=0666\"]}],"
	    "\"linux\":{%s\"cgroupsPath\":\"/husk-test-launch/%s\",\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},"
	    "\"namespaces\":[%s" NS_MOUNT "]}}",
	    or(cf->root, ""), or(cf->rootfs, rootfs), or(cf->process, ""), cf->args, or(cf->linux_, ""), id,
	    or(cf->namespaces, NS_NEW));
	write_text(b->dir, "config.json", text);
	hk_child_init(&b->init);
	hk_child_init(&b->extra);
	b->out[0] = b->out[1] = b->console = -1;
	assert_int_equal(pipe2(b->out, O_CLOEXEC), 0);
	return b;
}

static inline void turn_until(const bool *flag)
{
	for (int i = 0; !*flag && i < TURNS; i++)
		assert_int_equal(hk_loop_once(&loop, TURN_MS), 0);
	assert_true(*flag);
}

static inline void on_box_exit(void *owner, const struct hk_exit *x)
{
	struct box *b = owner;

	b->exited = true;
	b->status = x->status;
}

static inline void on_extra_exit(void *owner, const struct hk_exit *x)
{
	struct box *b = owner;

	b->extra_exited = true;
	b->extra_status = x->status;
}

static inline void launched(struct box *b, struct hk_child *child, const struct oci_launched *l, const struct hk_err *err)
{
	int fd;

	b->done = true;
	memset(&b->err, 0, sizeof(b->err));
	if (err) {
		b->err = *err;
		return;
	}
	fd = l->pidfd;
	assert_int_equal(hk_child_watch(&reaper, child, l->pid, &fd, child == &b->init ? on_box_exit : on_extra_exit, b), 0);
	if (l->console_fd >= 0)
		b->console = l->console_fd;
}

static inline void on_created(void *arg, const struct oci_launched *l, const struct hk_err *err)
{
	struct box *b = arg;

	launched(b, &b->init, l, err);
}

static inline void on_exec(void *arg, const struct oci_launched *l, const struct hk_err *err)
{
	struct box *b = arg;

	launched(b, &b->extra, l, err);
}

static inline void on_done(void *arg, const struct hk_err *err)
{
	struct box *b = arg;

	b->done = true;
	memset(&b->err, 0, sizeof(b->err));
	if (err)
		b->err = *err;
}

/* Each returns 0 or -errno with b->err, whether the error came at once or by the callback. */
static inline int box_create_begin(struct box *b, bool terminal)
{
	struct oci_create_opts o = { .id = b->id, .bundle = b->dir, .terminal = terminal, .stdio = { -1, b->out[1], b->out[1] } };

	b->done = false;
	return oci_create(&engine, &o, on_created, b, &b->c, &b->err);
}

static inline int box_create(struct box *b, bool terminal)
{
	int r = box_create_begin(b, terminal);

	if (r < 0)
		return r;
	assert_false(b->done); /* never before the call has returned */
	turn_until(&b->done);
	return -b->err.code;
}

static inline int box_start(struct box *b)
{
	int r;

	b->done = false;
	r = oci_start(b->c, on_done, b, &b->err);
	if (r < 0)
		return r;
	turn_until(&b->done);
	return -b->err.code;
}

static inline int box_exec(struct box *b, const char *json, bool terminal)
{
	struct oci_exec_opts o = { .process_json = json, .process_json_len = strlen(json), .terminal = terminal,
		.stdio = { -1, b->out[1], b->out[1] }, .init_pidfd = b->init.pidfd, .init_pid = b->init.pid };
	int r;

	hk_child_done(&b->extra);
	b->done = b->extra_exited = false;
	r = oci_exec(b->c, &o, on_exec, b, &b->err);
	if (r < 0)
		return r;
	turn_until(&b->done);
	return -b->err.code;
}

static inline int box_wait(struct box *b)
{
	turn_until(&b->exited);
	return b->status;
}

static inline int box_wait_extra(struct box *b)
{
	turn_until(&b->extra_exited);
	return b->extra_status;
}

/* What has been written so far. */
static inline const char *box_text(struct box *b)
{
	size_t have = 0;
	ssize_t n;

	assert_int_equal(hk_set_nonblock(b->out[0], true), 0);
	while (have < sizeof(b->text) - 1 && (n = read(b->out[0], b->text + have, sizeof(b->text) - 1 - have)) > 0)
		have += (size_t)n;
	b->text[have] = 0;
	return b->text;
}

/* Waits for the first whole line: the program is up. */
static inline const char *box_line(struct box *b)
{
	ssize_t n;

	assert_int_equal(hk_set_nonblock(b->out[0], false), 0);
	n = read(b->out[0], b->text, sizeof(b->text) - 1);
	assert_true(n > 0);
	b->text[n] = 0;
	return b->text;
}

static inline bool cgroup_exists(const struct box *b)
{
	static const char *const trees[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids" };
	char path[256];

	for (size_t i = 0; i < HK_ARRAY_SIZE(trees); i++) {
		(void)snprintf(path, sizeof(path), "%s/husk-test-launch/%s", trees[i], b->id);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

static inline void box_kill(struct box *b)
{
	if (b->init.pid && !b->exited) {
		assert_int_equal(hk_child_kill(&b->init, SIGKILL), 0);
		(void)box_wait(b);
	}
}

static inline void box_remove(struct box *b)
{
	b->done = false;
	assert_int_equal(oci_remove(b->c, on_done, b, &b->err), 0);
	turn_until(&b->done);
	if (b->err.code)
		fail_msg("remove: %s", b->err.text);
}

/* The end of every test: nothing may be left, not a process, not a zombie, not a cgroup. The fds are judged by fdcheck.c. */
static inline void box_free(struct box *b)
{
	if (b->c) {
		box_kill(b);
		if (b->init.pid)
			box_remove(b);
	}
	if (b->extra.pid)
		(void)box_wait_extra(b);
	hk_child_done(&b->init);
	hk_child_done(&b->extra);
	oci_container_free(b->c);
	(void)hk_close(b->out[0]);
	(void)hk_close(b->out[1]);
	(void)hk_close(b->console);
	assert_false(cgroup_exists(b));
	assert_int_equal(hk_rm_rf(AT_FDCWD, b->dir), 0);
	free(b);
}

static inline int launch_setup(void **state)
{
	char path[256];

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(base) || hk_loop_init(&loop) < 0)
		return -1;
	(void)chmod(base, 0755);
	hk_reaper_init(&reaper, &loop);
	engine.run_dir = base;
	(void)snprintf(path, sizeof(path), "%s/rootfs", base);
	make_rootfs(path);
	return 0;
}

static inline int launch_teardown(void **state)
{
	static const char *const trees[] = { "", "/unified", "/memory", "/pids", "/cpu", "/cpuacct", "/cpuset", "/devices", "/freezer",
		"/blkio", "/systemd", "/cpu,cpuacct", "/net_cls", "/net_prio", "/perf_event", "/hugetlb", "/net_cls,net_prio", "/rdma", "/misc" };
	char path[256];

	(void)state;
	hk_loop_done(&loop);
	for (size_t i = 0; i < HK_ARRAY_SIZE(trees); i++) {
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/husk-test-launch", trees[i]);
		(void)rmdir(path);
	}
	if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
		return -1; /* a child that nobody reaped */
	return hk_rm_rf(AT_FDCWD, base);
}
