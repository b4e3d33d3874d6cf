/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sandbox/fake_engine.c — see fake_engine.h. Takes the place of oci/'s calls at link time. */
#include "tests/sandbox/fake_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/loop.h"
#include "oci/oci.h"

struct fake fake;

enum { MAX_GROUPS = 64 };

struct oci_cgroup {
	pid_t groups[MAX_GROUPS]; /* process groups: one for each launch */
	size_t n;
	bool is_frozen;
	int looks;
	unsigned number; /* of the id "c1" */
};

struct pending { /* one callback to come; at most one of each kind at a time is enough here */
	struct oci_container *c;
	struct hk_timer timer;
	oci_launch_fn *fn;
	oci_done_fn *done;
	void *arg;
	pid_t pid;
	const char *error;
};

struct oci_container {
	struct hk_loop *loop;
	struct oci_cgroup cg;
	int go; /* the init waits for a byte */
	struct pending *init, *removal;
	pid_t pid;
};

static void on_pending(void *owner)
{
	struct pending *p = owner;
	const struct pending copy = *p;
	struct oci_launched l = { .pid = p->pid, .pidfd = -1, .console_fd = -1 };
	struct hk_err err;

	if (copy.c->init == p)
		copy.c->init = NULL;
	if (copy.c->removal == p)
		copy.c->removal = NULL;
	free(p);
	if (copy.error)
		(void)hk_fail_text(&err, HK_INTERNAL, EIO, "%s", copy.error);
	if (copy.done) {
		copy.done(copy.arg, copy.error ? &err : NULL);
		return;
	}
	if (!copy.error)
		l.pidfd = (int)syscall(SYS_pidfd_open, copy.pid, 0);
	copy.fn(copy.arg, copy.error ? NULL : &l, copy.error ? &err : NULL);
}

static struct pending *later(struct oci_container *c, int ms, const char *error, void *arg)
{
	struct pending *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	p->c = c;
	p->arg = arg;
	p->error = error;
	hk_timer_init(&p->timer, on_pending, p);
	hk_timer_set(c->loop, &p->timer, (uint64_t)ms);
	return p;
}

/* go < 0: at once. */
static pid_t spawn(struct oci_container *c, const int stdio[3], const char *flag, const char *script, int go)
{
	pid_t pid = fork();
	char byte;

	if (pid != 0) {
		(void)setpgid(pid, pid); /* here too: a signal may be sent before the child has run */
		c->cg.groups[c->cg.n++ % MAX_GROUPS] = pid;
		return pid;
	}
	(void)setpgid(0, 0);
	for (int i = 0; i < 3; i++) {
		int fd = stdio[i] >= 0 ? stdio[i] : open("/dev/null", O_RDWR | O_CLOEXEC);

		(void)dup2(fd, i);
	}
	if (go >= 0)
		(void)dup3(go, 3, O_CLOEXEC);
	(void)syscall(SYS_close_range, go >= 0 ? 4 : 3, ~0U, 0);
	if (go >= 0 && read(3, &byte, 1) != 1)
		_exit(125);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)execl("/bin/sh", "sh", flag, script, (char *)NULL);
	_exit(127);
}

int oci_create(const struct oci_engine *e, const struct oci_create_opts *o, oci_launch_fn *fn, void *arg, struct oci_container **ret,
    struct hk_err *err)
{
	struct oci_container *c;
	int go[2];

	if (access(o->bundle, R_OK) < 0)
		return hk_fail(err, HK_INVALID, errno, "read %s", o->bundle);
	c = calloc(1, sizeof(*c));
	if (!c || pipe2(go, O_CLOEXEC) < 0)
		abort();
	c->loop = e->loop;
	c->go = go[1];
	c->cg.number = o->id[0] == 'c' && o->id[1] > '0' && o->id[1] < '4' ? (unsigned)(o->id[1] - '0') : 0;
	if (!fake.create_error)
		c->pid = spawn(c, o->stdio, "-e", o->bundle, go[0]);
	(void)hk_close(go[0]);
	c->init = later(c, fake.launch_ms, fake.create_error, arg);
	c->init->fn = fn;
	c->init->pid = c->pid;
	fake.n_alive++;
	*ret = c;
	return 0;
}

pid_t oci_container_early_pid(const struct oci_container *c)
{
	return fake.is_early ? c->pid : 0;
}

int oci_start(struct oci_container *c, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	if (!fake.start_error && write(c->go, "x", 1) != 1)
		return hk_fail_text(err, HK_BAD_STATE, EPIPE, "cannot start: the container's init has ended");
	c->init = later(c, fake.start_ms, fake.start_error, arg);
	c->init->done = fn;
	return 0;
}

int oci_checkpoint(struct oci_container *c, const struct oci_checkpoint_opts *o, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	(void)o;
	(void)err;
	later(c, 1, NULL, arg)->done = fn;
	return 0;
}

int oci_restore(struct oci_container *c, const struct oci_restore_opts *o, oci_launch_fn *fn, void *arg, struct hk_err *err)
{
	(void)c;
	(void)o;
	(void)fn;
	(void)arg;
	return hk_fail_text(err, HK_UNSUPPORTED, EOPNOTSUPP, "no criu here");
}

void oci_criu_log(const char *path, char *buf, size_t size)
{
	(void)path;
	(void)size;
	buf[0] = '\0';
}

int oci_exec(struct oci_container *c, const struct oci_exec_opts *o, oci_launch_fn *fn, void *arg, struct hk_err *err)
{
	struct pending *p = later(c, fake.launch_ms, fake.exec_error, arg);

	(void)err;
	p->fn = fn;
	if (!fake.exec_error)
		p->pid = spawn(c, o->stdio, "-c", o->process_json, -1);
	return 0;
}

int oci_exec_check(const char *process_json, size_t len, struct hk_err *err)
{
	return len > 0 && process_json[0] != '?' ? 0 : hk_fail_text(err, HK_INVALID, EINVAL, "process.json: not JSON");
}

struct oci_cgroup *oci_container_cgroup(const struct oci_container *c)
{
	return (struct oci_cgroup *)(uintptr_t)&c->cg;
}

bool oci_container_has_private_pidns(const struct oci_container *c)
{
	(void)c;
	return fake.has_private_pidns;
}

uid_t oci_container_host_uid(const struct oci_container *c)
{
	(void)c;
	return getuid();
}

gid_t oci_container_host_gid(const struct oci_container *c)
{
	(void)c;
	return getgid();
}

void oci_container_trace(struct oci_container *c, const char *traceparent)
{
	(void)c;
	(void)traceparent;
}

const char *oci_container_annotation(const struct oci_container *c, const char *key)
{
	(void)c;
	return strcmp(key, "husk.io/exec-linger") == 0 ? fake.exec_linger : NULL;
}

int oci_remove(struct oci_container *c, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	(void)err;
	c->removal = later(c, fake.remove_ms, fake.remove_failures > 0 ? "remove cgroup: EBUSY" : NULL, arg);
	c->removal->done = fn;
	fake.remove_failures -= fake.remove_failures > 0;
	return 0;
}

static void drop(struct pending *p)
{
	if (p)
		hk_timer_cancel(&p->timer);
	free(p);
}

/* An upgrade is tried on the real engine alone (e2e/test_upgrade.py). */
const char *oci_container_busy(const struct oci_container *c)
{
	(void)c;
	return "it is a fake";
}

int oci_container_save(const struct oci_container *c, struct hk_record *to, struct hk_err *err)
{
	(void)c;
	(void)to;
	return hk_fail(err, HK_UNSUPPORTED, ENOSYS, "fake engine");
}

int oci_container_load(const struct oci_engine *e, const struct hk_value *from, struct oci_container **ret, struct hk_err *err)
{
	(void)e;
	(void)from;
	(void)ret;
	return hk_fail(err, HK_UNSUPPORTED, ENOSYS, "fake engine");
}

void oci_stats_save(const struct oci_stats *s, struct hk_record *to)
{
	(void)s;
	(void)to;
}

int oci_stats_load(const struct hk_value *from, struct oci_stats *ret)
{
	(void)from;
	(void)ret;
	return -ENOSYS;
}

void oci_container_free(struct oci_container *c)
{
	if (!c)
		return;
	drop(c->init);
	drop(c->removal);
	(void)hk_close(c->go);
	free(c);
	fake.n_alive--;
}

int oci_cleanup(const char *cgroup_path, const char *id, const char *rootfs, int timeout_ms, struct hk_err *err)
{
	(void)cgroup_path, (void)id, (void)rootfs, (void)timeout_ms, (void)err;
	return 0;
}

/* ---- cgroup ---- */

enum oci_cgroup_mode oci_cgroup_host_mode(void)
{
	return OCI_CGROUP_UNIFIED;
}

bool oci_cgroup_is_unit(const struct oci_cgroup *cg)
{
	(void)cg;
	return false;
}

int oci_cgroup_stats(const struct oci_cgroup *cg, struct oci_stats *ret, struct hk_err *err)
{
	(void)err;
	*ret = (struct oci_stats){ .has_pids = true, .pids_current = cg->n };
	return 0;
}

void oci_stats_done(struct oci_stats *s)
{
	*s = (struct oci_stats){ 0 };
}

int oci_container_net_stats(const struct oci_container *c, struct oci_stats *s)
{
	(void)c;
	(void)s;
	return 0;
}

const char *oci_cgroup_path(const struct oci_cgroup *cg)
{
	(void)cg;
	return fake.limits == NO_LIMITS ? "/fake" : "/node/pod/container";
}

int oci_cgroup_open(const char *cgroups_path, const char *id, struct oci_cgroup **ret, struct hk_err *err)
{
	(void)cgroups_path, (void)id, (void)ret;
	return hk_fail_text(err, HK_UNSUPPORTED, ENOTSUP, "no cgroups here");
}

int oci_cgroup_signal_all(struct oci_cgroup *cg, int sig, struct hk_err *err)
{
	(void)err;
	fake.n_signal_all++;
	for (size_t i = 0; i < cg->n && i < MAX_GROUPS; i++)
		(void)kill(-cg->groups[i], sig);
	return 0;
}

bool oci_cgroup_is_empty(const struct oci_cgroup *cg)
{
	for (size_t i = 0; i < cg->n && i < MAX_GROUPS; i++)
		if (kill(-cg->groups[i], 0) == 0)
			return false;
	return true;
}

int oci_cgroup_pids(const struct oci_cgroup *cg, pid_t **ret, size_t *ret_n)
{
	pid_t *v = calloc(MAX_GROUPS, sizeof(*v));
	size_t n = 0;

	for (size_t i = 0; i < cg->n && i < MAX_GROUPS; i++)
		if (kill(cg->groups[i], 0) == 0)
			v[n++] = cg->groups[i];
	*ret = v;
	*ret_n = n;
	return 0;
}

int oci_cgroup_freeze(struct oci_cgroup *cg, bool frozen, struct hk_err *err)
{
	(void)err;
	cg->is_frozen = frozen;
	cg->looks = frozen ? fake.freeze_looks : 0;
	return 0;
}

int oci_cgroup_frozen(const struct oci_cgroup *cg)
{
	struct oci_cgroup *mine = (struct oci_cgroup *)(uintptr_t)cg;

	if (mine->looks != 0) {
		mine->looks -= mine->looks > 0;
		return cg->is_frozen ? 0 : 1;
	}
	return cg->is_frozen;
}

int oci_update(struct oci_container *c, const struct oci_resources *r, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	(void)c, (void)r, (void)err;
	fake.update_fn = fn;
	fake.update_arg = arg;
	return fake.updates_later;
}

int oci_cgroup_sub_end(const struct oci_cgroup *cg, const char *name)
{
	(void)cg, (void)name;
	return 0;
}

bool oci_cgroup_stuck(const struct oci_cgroup *cg, char *buf, size_t size)
{
	(void)cg;
	return fake.stuck && snprintf(buf, size, "%s", fake.stuck) > 0;
}

/* Never ready but where a test writes to it, as v1's kernel does. */
static int open_event(int *ret_fd, uint32_t *ret_events)
{
	*ret_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*ret_events = fake.limits == LIMITS_V1 ? EPOLLIN : EPOLLPRI;
	return *ret_fd < 0 ? -errno : 0;
}

int oci_cgroup_oom_open(const struct oci_cgroup *cg, int *ret_fd, uint32_t *ret_events)
{
	(void)cg;
	if (fake.limits == NO_LIMITS || open_event(ret_fd, ret_events) < 0)
		return -ENOENT;
	fake.limit_fd[3] = *ret_fd;
	return 0;
}

int oci_cgroup_oom_count(const struct oci_cgroup *cg, struct oci_oom *ret)
{
	*ret = (struct oci_oom){ .kills = fake.oom_kills + fake.oom[cg->number].kills, .hits = fake.oom[cg->number].hits };
	return fake.oom[cg->number].error;
}

int oci_cgroup_oom_count_above(const struct oci_cgroup *cg, struct oci_oom *ret)
{
	(void)cg;
	*ret = (struct oci_oom){ .kills = fake.slice_kills, .hits = fake.slice_hits };
	return fake.has_slice ? 0 : -ENOENT;
}

int oci_cgroup_limit_open(const struct oci_cgroup *cg, size_t len, int *ret_fd, uint32_t *ret_events)
{
	const int depth = len == strlen("/node") ? 1 : 2;

	(void)cg;
	if (len == 0)
		return -ENOENT;
	if (open_event(ret_fd, ret_events) < 0)
		return -errno;
	fake.limit_fd[depth] = *ret_fd;
	return 0;
}

int oci_cgroup_limit_hits(int fd, uint32_t events, uint64_t *hits)
{
	uint64_t n = 0;

	if ((events & EPOLLIN) && read(fd, &n, sizeof(n)) > 0)
		*hits += n;
	for (int depth = 1; depth < 3; depth++)
		if (!(events & EPOLLIN) && fake.limit_fd[depth] == fd)
			*hits = fake.limit_hits[depth];
	return 0;
}

/* Never ready: what is looked at follows from what happens to the containers. */
int oci_cgroup_oom_open_above(const struct oci_cgroup *cg, int *ret_fd)
{
	(void)cg;
	*ret_fd = eventfd(0, EFD_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}
