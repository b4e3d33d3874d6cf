/* SPDX-License-Identifier: Apache-2.0 */
/* tests/oci/box.c — see box.h. Every call turns the loop until its callback has run, with a limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/sendfile.h>

#include "tests/oci/box.h"

enum { TURN_MS = 10000, TURNS = 3000 };

char base[] = "/tmp/husk-test-launch-XXXXXX";
struct hk_loop loop;
struct hk_reaper reaper;
struct oci_engine engine = { .loop = &loop, .reaper = &reaper };

void write_text(const char *dir, const char *name, const char *text)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, text, strlen(text)), 0);
	(void)hk_close(fd);
}

static void copy_program(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = sendfile(out, in, NULL, 1 << 24)) > 0)
		;
	assert_int_equal(n, 0);
	(void)hk_close(in);
	(void)hk_close(out);
}

static void make_rootfs(const char *dir)
{
	static const char *const dirs[] = { "bin", "etc", "proc", "sys", "dev", "tmp", "root" };
	static const char *const links[] = { "sh", "true", "cat", "id", "sleep", "ls", "readlink", "mkdir", "tty",
		"env", "kill", "ps" };
	char path[512];

	assert_int_equal(mkdir(dir, 0755), 0);
	for (size_t i = 0; i < HK_ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	(void)snprintf(path, sizeof(path), "%s/tmp", dir);
	assert_int_equal(chmod(path, 01777), 0);
	(void)snprintf(path, sizeof(path), "%s/bin/busybox", dir);
	copy_program("/bin/busybox", path);
	for (size_t i = 0; i < HK_ARRAY_SIZE(links); i++) {
		(void)snprintf(path, sizeof(path), "%s/bin/%s", dir, links[i]);
		assert_int_equal(symlink("busybox", path), 0);
	}
	write_text(dir, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
}

static const char * or (const char *s, const char *other)
{
	return s ? s : other;
}

struct box *box_new(const char *id, const struct config *cf)
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
	    "{\"destination\":\"/dev/"
	    "pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"newinstance\",\"ptmxmode=0666\"]}],"
	    "\"linux\":{%s\"cgroupsPath\":\"/husk-test-launch/"
	    "%s\",\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},"
	    "\"namespaces\":[%s" NS_MOUNT "]}}",
	    or (cf->root, ""), or (cf->rootfs, rootfs), or (cf->process, ""), cf->args, or (cf->linux_, ""), id,
	    or (cf->namespaces, NS_NEW));
	write_text(b->dir, "config.json", text);
	hk_child_init(&b->init);
	hk_child_init(&b->extra);
	b->out[0] = b->out[1] = b->console = -1;
	assert_int_equal(pipe2(b->out, O_CLOEXEC), 0);
	return b;
}

void turn_until(const bool *flag)
{
	for (int i = 0; !*flag && i < TURNS; i++)
		assert_int_equal(hk_loop_once(&loop, TURN_MS), 0);
	assert_true(*flag);
}

static void on_box_exit(void *owner, const struct hk_exit *x)
{
	struct box *b = owner;

	b->exited = true;
	b->status = x->status;
}

static void on_extra_exit(void *owner, const struct hk_exit *x)
{
	struct box *b = owner;

	b->extra_exited = true;
	b->extra_status = x->status;
}

static void launched(struct box *b, struct hk_child *child, const struct oci_launched *l, const struct hk_err *err)
{
	int fd;

	b->done = true;
	memset(&b->err, 0, sizeof(b->err));
	if (err) {
		b->err = *err;
		return;
	}
	fd = l->pidfd;
	assert_int_equal(
	    hk_child_watch(&reaper, child, l->pid, &fd, child == &b->init ? on_box_exit : on_extra_exit, b), 0);
	if (l->console_fd >= 0)
		b->console = l->console_fd;
}

void on_created(void *arg, const struct oci_launched *l, const struct hk_err *err)
{
	struct box *b = arg;

	launched(b, &b->init, l, err);
}

static void on_exec(void *arg, const struct oci_launched *l, const struct hk_err *err)
{
	struct box *b = arg;

	launched(b, &b->extra, l, err);
}

static void on_done(void *arg, const struct hk_err *err)
{
	struct box *b = arg;

	b->done = true;
	memset(&b->err, 0, sizeof(b->err));
	if (err)
		b->err = *err;
}

int box_create_begin(struct box *b, bool terminal)
{
	struct oci_create_opts o = {
		.id = b->id, .bundle = b->dir, .terminal = terminal, .stdio = { -1, b->out[1], b->out[1] }
	};

	b->done = false;
	return oci_create(&engine, &o, on_created, b, &b->c, &b->err);
}

int box_create(struct box *b, bool terminal)
{
	int r = box_create_begin(b, terminal);

	if (r < 0)
		return r;
	assert_false(b->done); /* never before the call has returned */
	turn_until(&b->done);
	return -b->err.code;
}

int box_start(struct box *b)
{
	int r;

	b->done = false;
	r = oci_start(b->c, on_done, b, &b->err);
	if (r < 0)
		return r;
	turn_until(&b->done);
	return -b->err.code;
}

int box_exec_begin(struct box *b, const char *json, bool terminal)
{
	struct oci_exec_opts o = { .process_json = json,
		.process_json_len = strlen(json),
		.terminal = terminal,
		.stdio = { -1, b->out[1], b->out[1] },
		.init_pidfd = b->init.pidfd,
		.init_pid = b->init.pid };

	hk_child_done(&b->extra);
	b->done = b->extra_exited = false;
	return oci_exec(b->c, &o, on_exec, b, &b->err);
}

int box_exec(struct box *b, const char *json, bool terminal)
{
	int r = box_exec_begin(b, json, terminal);

	if (r < 0)
		return r;
	turn_until(&b->done);
	return -b->err.code;
}

int box_wait(struct box *b)
{
	turn_until(&b->exited);
	return b->status;
}

int box_wait_extra(struct box *b)
{
	turn_until(&b->extra_exited);
	return b->extra_status;
}

const char *box_text(struct box *b)
{
	size_t have = 0;
	ssize_t n;

	assert_int_equal(hk_set_nonblock(b->out[0], true), 0);
	while (have < sizeof(b->text) - 1 && (n = read(b->out[0], b->text + have, sizeof(b->text) - 1 - have)) > 0)
		have += (size_t)n;
	b->text[have] = 0;
	return b->text;
}

const char *box_line(struct box *b)
{
	ssize_t n;

	assert_int_equal(hk_set_nonblock(b->out[0], false), 0);
	n = read(b->out[0], b->text, sizeof(b->text) - 1);
	assert_true(n > 0);
	b->text[n] = 0;
	return b->text;
}

bool cgroup_exists(const struct box *b)
{
	static const char *const trees[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory",
		"/sys/fs/cgroup/pids" };
	char path[256];

	for (size_t i = 0; i < HK_ARRAY_SIZE(trees); i++) {
		(void)snprintf(path, sizeof(path), "%s/husk-test-launch/%s", trees[i], b->id);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

void box_kill(struct box *b)
{
	if (b->init.pid && !b->exited) {
		assert_int_equal(hk_child_kill(&b->init, SIGKILL), 0);
		(void)box_wait(b);
	}
}

void box_remove(struct box *b)
{
	b->done = false;
	assert_int_equal(oci_remove(b->c, on_done, b, &b->err), 0);
	turn_until(&b->done);
	if (b->err.code)
		fail_msg("remove: %s", b->err.text);
}

void box_free(struct box *b)
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

void nobody_is_left(void **state)
{
	bool gone = false;

	(void)state;
	for (int i = 0; !gone && i < 200; i++) {
		hk_reaper_sweep(&reaper);
		gone = waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
		(void)usleep(10000);
	}
	assert_true(gone);
}

int launch_setup(void **state)
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

int launch_teardown(void **state)
{
	static const char *const trees[] = { "", "/unified", "/memory", "/pids", "/cpu", "/cpuacct", "/cpuset",
		"/devices", "/freezer", "/blkio", "/systemd", "/cpu,cpuacct", "/net_cls", "/net_prio", "/perf_event",
		"/hugetlb", "/net_cls,net_prio", "/rdma", "/misc" };
	char path[256];

	(void)state;
	hk_loop_done(&loop);
	for (size_t i = 0; i < HK_ARRAY_SIZE(trees); i++) {
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/husk-test-launch", trees[i]);
		(void)rmdir(path);
	}
	return hk_rm_rf(AT_FDCWD, base);
}
