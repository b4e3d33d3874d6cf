/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/serve.c — the server of a group: builds loop, log, socket, events and pod, runs until shim/life ends it. Born by shim/spawn with the
 * listening socket as fd 3 and the pipe to `start` as fd 4. Requests come by shim/conn, facts go out by shim/events; signals come
 * as bytes of a signalfd, since a handler could run anywhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/log.h"
#include "oci/base/loop.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "proto/names.h"
#include "sandbox/carry.h"
#include "sandbox/sandbox.h"
#include "shim/cmd.h"
#include "shim/conn.h"
#include "shim/convert.h"
#include "shim/crash.h"
#include "shim/dump.h"
#include "shim/events.h"
#include "shim/history.h"
#include "shim/life.h"
#include "shim/memory.h"
#include "shim/node.h"
#include "shim/resume.h"
#include "shim/sandbox_svc.h"
#include "shim/spawn.h"
#include "shim/task.h"
#include "shim/upgrade.h"

enum { MEMORY_RELEASE_MS = 1000 }; /* after the last thing that happened to a container */

struct server {
	const struct shim_flags *flags;
	struct hk_loop loop;
	struct hk_reaper reaper;
	struct hk_source signals;
	int signal_fd; /* owned */
	int log_fd;    /* owned; -1 = none */
	struct task_service task;
	struct node_service node;
	struct shim_history *history; /* owned; a page of its own */
	struct ttrpc_service services[4];
	struct ttrpc_server dispatch;
	struct shim_listener listener;
	struct shim_events events;
	struct sbx_pod *pod; /* owned */
	struct shim_life life;
	struct shim_upgrade upgrade;
	struct hk_timer memory;
	int image_fd; /* owned; see on_memory */
};

/* ---- facts ---- */

static void log_oom(const struct sbx_event *ev)
{
	char path[PATH_MAX];
	const struct hk_kv kv[] = { LOG_STR("id", ev->id), LOG_STR("limit", sbx_limit_name(ev->limit)), LOG_STR("cgroup", path) };

	(void)hk_fmt(path, sizeof(path), "%.*s", (int)ev->limit_cgroup_len, ev->limit_cgroup_len ? ev->limit_cgroup : "");
	hk_log(HK_LOG_WARN, "container ran out of memory", kv, 1 + (ev->limit != SBX_LIMIT_UNKNOWN) + (ev->limit_cgroup_len > 0));
}

static void log_event(const struct sbx_event *ev)
{
	bool is_exec = ev->exec_id && ev->exec_id[0];
	enum hk_level level = is_exec ? HK_LOG_DEBUG : HK_LOG_INFO;
	const struct hk_kv kv[] = { LOG_STR("id", ev->id), LOG_INT("pid", ev->pid), LOG_INT("status", ev->exit_status),
		LOG_STR("exec_id", is_exec ? ev->exec_id : "") };
	int n = is_exec ? 4 : 3;

	switch (ev->type) {
	case SBX_EV_CREATE:
		hk_log(level, "container created", kv, 2);
		return;
	case SBX_EV_START:
		hk_log(level, "container started", kv, 2);
		return;
	case SBX_EV_EXIT:
		hk_log(level, is_exec ? "exec exited" : "container exited", kv, n);
		return;
	case SBX_EV_DELETE:
		hk_log(level, is_exec ? "exec deleted" : "container deleted", kv, n);
		return;
	case SBX_EV_OOM:
		log_oom(ev);
		return;
	case SBX_EV_EXEC_STARTED:
		hk_log(HK_LOG_DEBUG, "exec started", kv, n);
		return;
	case SBX_EV_EXEC_ADDED:
	case SBX_EV_PAUSED:
	case SBX_EV_RESUMED:
		return;
	}
}

/* In the order of facts, and before the answer of the call that made them. */
static void on_event(void *arg, const struct sbx_event *ev)
{
	struct server *s = arg;

	log_event(ev);
	convert_event(&s->events, ev);
	shim_history_event(s->history, ev);
	node_tell(&s->node, &s->loop);
	hk_timer_set(&s->loop, &s->memory, MEMORY_RELEASE_MS);
}

/*
 * And the last fd of the detached mount we run from goes: the kernel waits a fraction of a millisecond for it to be out of sight, which
 * `start` would have to sit out before it could answer.
 */
static void on_memory(void *owner)
{
	struct server *s = owner;

	s->image_fd = hk_close(s->image_fd);
	sbx_pod_expect(s->pod, NULL);
	shim_memory_release();
}

/* ---- signals ---- */

static void on_signal(void *owner, uint32_t events)
{
	struct server *s = owner;
	struct signalfd_siginfo si;

	(void)events;
	while (read(s->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			hk_reaper_sweep(&s->reaper);
		else if (si.ssi_signo == SIGUSR1)
			shim_dump(&s->node);
		else
			shim_life_stop(&s->life);
	}
}

/*
 * Whatever the daemon ignored when it started us would be ignored by every container too (execve keeps it): all dispositions are the default
 * here, and what must not end us is blocked instead. A child clears its mask before execve.
 */
static int init_signals(struct server *s)
{
	sigset_t set, blocked;

	for (int sig = 1; sig < SIGSYS + 1; sig++)
		(void)signal(sig, SIG_DFL);
	shim_crash_init(s->history);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	blocked = set;
	sigaddset(&blocked, SIGPIPE);
	sigaddset(&blocked, SIGHUP);
	if (sigprocmask(SIG_SETMASK, &blocked, NULL) < 0)
		return -errno;
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return -errno;
	hk_source_init(&s->signals, HK_PASS_EXIT, on_signal, s);
	return hk_source_add(&s->loop, &s->signals, s->signal_fd, EPOLLIN);
}

/* ---- birth ---- */

/*
 * What the daemon happened to have and no container may have by accident: supplementary groups, inheritable and
 * ambient capabilities (CVE-2022-24769). The permitted and the bounding set stay whole: a privileged container's spec
 * may name any capability, and only a process that has it can hand it on.
 */
static int drop_inherited(struct hk_err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (setgroups(0, NULL) < 0 && errno != EPERM) /* EPERM: a user namespace that has no groups to begin with */
		return hk_fail(err, HK_INTERNAL, errno, "drop supplementary groups");
	if (syscall(SYS_capget, &head, data) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "read capabilities");
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].inheritable = 0; /* which empties the ambient set as well: capabilities(7) */
	if (syscall(SYS_capset, &head, data) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "drop inheritable capabilities");
	return 0;
}

static int harden(struct hk_err *err)
{
	/* What a child of ours leaves behind becomes ours, not the host's init's. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "become subreaper");
	/* Every child starts as a copy of this memory: nobody may read it, not even a container's root by ptrace. */
	if (!hk_is_broken(HK_DEFENCE_SERVER_DUMPABLE) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "become non-dumpable");
	/* execveat named us after a file descriptor. */
	(void)prctl(PR_SET_NAME, "husk-shim", 0, 0, 0);
	(void)umask(0);
	shim_memory_init();
	return drop_inherited(err);
}

/* containerd holds the FIFO open; we hold it for both ways, so that its restart is no error, and never wait for it. */
static __attribute__((noinline)) void open_log(struct server *s) /* its path shall not lie in the frame that stays */
{
	char path[4100];

	if (s->flags->bundle[0] && hk_fmt(path, sizeof(path), "%s/log", s->flags->bundle) > 0)
		s->log_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	hk_log_namespace(s->flags->ns);
	hk_log_init(s->log_fd, s->flags->debug ? HK_LOG_DEBUG : HK_LOG_INFO);
}

/* containerd's FIFO as it was opened: its last reader may be away, and what is in it with it. */
static void take_log(struct server *s, const struct shim_resume *r)
{
	s->log_fd = hk_value_fd_or(r->top, "log");
	hk_log_namespace(s->flags->ns);
	hk_log_init(s->flags->rehearse[0] ? -1 : s->log_fd, s->flags->debug ? HK_LOG_DEBUG : HK_LOG_INFO);
}

static bool is_listener(int fd)
{
	socklen_t len = sizeof(int);
	int on = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

/* Else containerd would wait for answers from a child that hangs, and take a shim that is dead for one that is alive. */
static void in_child(void *arg)
{
	const struct server *s = arg;

	shim_listener_leave(&s->listener);
}

/* `was`: the state of the server whose place this one takes, here and below; NULL = it is the first. */
static int init_pod(struct server *s, const struct hk_value *was, struct hk_err *err)
{
	char state_dir[SHIM_STATE_DIR_SIZE];
	const struct sbx_pod_opts opts = {
		.loop = &s->loop,
		.reaper = &s->reaper,
		.run_dir = SHIM_RUN_DIR,
		.state_dir = state_dir,
		.ns = s->flags->ns,
		.group = s->flags->group,
		.socket = s->life.socket,
		.shim_cgroup = s->life.cgroup,
		.on_event = on_event,
		.in_child = in_child,
		.arg = s,
	};

	shim_state_dir(s->flags->address, state_dir);
	return was ? sbx_pod_load(&opts, was, &s->pod, err) : sbx_pod_new(&opts, &s->pod, err);
}

static void init_upgrade(struct server *s)
{
	s->upgrade = (struct shim_upgrade){ .flags = s->flags, .loop = &s->loop, .reaper = &s->reaper, .pod = s->pod, .events = &s->events,
		.history = s->history, .life = &s->life, .listener = &s->listener, .task = &s->task, .node = &s->node, .log_fd = s->log_fd };
	s->node.upgrade = &s->upgrade;
}

static int init_service(struct server *s, const struct hk_value *was, struct hk_err *err)
{
	static const char *const names[] = { TTRPC_SERVICE_TASK_V3, TTRPC_SERVICE_TASK_V2 };
	int fd = SHIM_FD_LISTENER;
	int r;

	s->task.pod = s->pod;
	s->task.life = &s->life;
	s->task.history = s->history;
	s->node.ns = s->flags->ns;
	s->node.group = s->flags->group;
	s->node.pod = s->pod;
	s->node.events = &s->events;
	s->node.history = s->history;
	s->node.listener = &s->listener;
	s->node.task = &s->task;
	for (size_t i = 0; i < HK_ARRAY_SIZE(names); i++)
		s->services[i] = (struct ttrpc_service){ .name = names[i], .methods = task_methods,
			.n_methods = TASK_N_METHODS, .ctx = &s->task };
	s->services[HK_ARRAY_SIZE(names)] = (struct ttrpc_service){ .name = TTRPC_SERVICE_NODE, .methods = node_methods,
		.n_methods = NODE_N_METHODS, .ctx = &s->node };
	s->services[HK_ARRAY_SIZE(names) + 1] = (struct ttrpc_service){ .name = TTRPC_SERVICE_SANDBOX, .methods = sandbox_methods,
		.n_methods = SANDBOX_N_METHODS, .ctx = &s->task };
	s->dispatch = (struct ttrpc_server){ .services = s->services, .n_services = HK_ARRAY_SIZE(s->services),
		.max_calls = SHIM_CALLS_MAX };
	init_upgrade(s);
	r = was ? shim_listener_load(&s->listener, &s->loop, &s->dispatch, was) : shim_listener_init(&s->listener, &s->loop, &s->dispatch, &fd);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "listen") : 0;
}

/* `start` may have put us there (ShimCgroup), or an upgrade has found us there. */
static __attribute__((noinline)) int find_cgroup(struct server *s)
{
	char path[4096];

	if (!oci_shim_cgroup_find(s->flags->group, path, sizeof(path)))
		return 0;
	s->life.cgroup = strdup(path);
	return s->life.cgroup ? 0 : -ENOMEM;
}

static int init(struct server *s, const struct hk_value *was, struct hk_err *err)
{
	const char *ttrpc_address = getenv("TTRPC_ADDRESS");
	int r;

	s->history = mmap(NULL, sizeof(*s->history), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->history == MAP_FAILED)
		return hk_fail(err, HK_INTERNAL, errno, "make the history");
	r = hk_loop_init(&s->loop);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "make event loop");
	hk_timer_init(&s->memory, on_memory, s);
	hk_list_init(&s->task.pending);
	node_init(&s->node);
	hk_reaper_init(&s->reaper, &s->loop);
	r = init_signals(s);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "take signals");
	r = shim_events_init(&s->events, &s->loop, ttrpc_address, s->flags->ns);
	if (r < 0)
		return hk_fail(err, HK_INVALID, -r, "TTRPC_ADDRESS %s", ttrpc_address);
	s->life = (struct shim_life){ .loop = &s->loop, .events = &s->events, .listener = &s->listener,
		.bundle = s->flags->bundle, .group = s->flags->group, .wants_cgroup = s->flags->pod_cgroup };
	r = find_cgroup(s);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "find the cgroup");
	shim_life_name(&s->life, was ? hk_value_fd(was, "listener") : SHIM_FD_LISTENER);
	r = init_pod(s, was ? hk_value_need(was, "pod") : NULL, err);
	if (r < 0)
		return r;
	s->life.pod = s->pod;
	r = init_service(s, was, err);
	if (r == 0)
		shim_life_init(&s->life);
	return r;
}

/* What of it is not its parts'. */
static int load(struct server *s, const struct hk_value *was, struct hk_err *err)
{
	const struct hk_value *events = hk_value_need(was, "events"), *history = hk_value_need(was, "history");
	int r;

	if (!hk_value_need(was, "pod"))
		return hk_value_check(was, err);
	r = init(s, was, err);
	if (r < 0)
		return r;
	s->life.shutdown_wanted = hk_value_bool(was, "shutdown_wanted");
	s->life.lingers = hk_value_bool(was, "lingers");
	if (history)
		shim_history_load(s->history, history);
	r = events ? shim_events_load(&s->events, events) : 0;
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "take the events over") : hk_value_check(was, err);
}

/* Instead of the birth: in the process of another version of us, or as its rehearsal. */
static int take_over(struct server *s, struct hk_err *err)
{
	struct shim_resume was;
	int r = shim_resume_open(s->flags, &was, err);

	if (r == 0)
		r = harden(err);
	if (r == 0) {
		take_log(s, &was);
		r = load(s, was.top, err);
	}
	if (s->flags->rehearse[0]) /* and whatever has failed: a rehearsal never goes on, nor back */
		shim_resume_say(&was, r < 0 ? err : NULL);
	if (r < 0) {
		shim_resume_back(&was, err);
		return r;
	}
	shim_resume_finish(&was, &s->listener);
	shim_events_hold(&s->events, false);
	/* execve has made a SIGCHLD that waited be ignored. */
	hk_timer_set(&s->loop, &s->reaper.sweep, 0);
	return 0;
}

static int loop(struct server *s, struct hk_err *err)
{
	int r;

	hk_timer_set(&s->loop, &s->memory, MEMORY_RELEASE_MS);
	r = hk_loop_run(&s->loop);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "event loop") : 0;
}

static int run(struct server *s, struct hk_err *err)
{
	int ready = SHIM_FD_READY;
	int r;

	(void)fcntl(SHIM_FD_LISTENER, F_SETFD, FD_CLOEXEC);
	(void)fcntl(SHIM_FD_READY, F_SETFD, FD_CLOEXEC);
	if (fcntl(SHIM_FD_IMAGE, F_SETFD, FD_CLOEXEC) == 0)
		s->image_fd = SHIM_FD_IMAGE;
	r = harden(err);
	if (r == 0) {
		open_log(s);
		r = init(s, NULL, err);
	}
	shim_spawn_ready(&ready, r < 0 ? err->text : NULL);
	if (r < 0)
		return r;
	log_info("shim started", LOG_STR("group", s->flags->group), LOG_INT("pid", getpid()));
	sbx_pod_expect(s->pod, s->flags->bundle);
	return loop(s, err);
}

static int run_again(struct server *s, struct hk_err *err)
{
	int r = take_over(s, err);

	return r < 0 ? r : loop(s, err);
}

int shim_cmd_serve(const struct shim_flags *f)
{
	struct server s = { .flags = f, .signal_fd = -1, .log_fd = -1, .image_fd = -1 };
	struct hk_err err = { 0 };
	int r;

	if (!hk_is_valid_id(f->ns) || !hk_is_valid_id(f->group) ||
	    (!f->resume[0] && (!is_listener(SHIM_FD_LISTENER) || fcntl(SHIM_FD_READY, F_GETFD) < 0))) {
		(void)hk_fail_text(&err, HK_INVALID, EINVAL, "the server is run by `" SHIM_PROGRAM " start`, not by hand");
		return shim_cmd_fail(&err);
	}
	r = f->resume[0] ? run_again(&s, &err) : run(&s, &err);
	if (r < 0) {
		log_error("shim failed", LOG_STR("err", err.text));
		return 1;
	}
	/* Containers go on when a signal ended us; their state files stay for `delete`. */
	shim_upgrade_done(&s.upgrade);
	node_done(&s.node);
	shim_listener_done(&s.listener);
	sbx_pod_free(s.pod);
	shim_life_done(&s.life);
	shim_events_done(&s.events);
	hk_timer_cancel(&s.memory);
	hk_close(s.image_fd);
	hk_source_del(&s.loop, &s.signals);
	hk_close(s.signal_fd);
	hk_loop_done(&s.loop);
	(void)munmap(s.history, sizeof(*s.history));
	hk_log_init(-1, HK_LOG_ERROR);
	hk_close(s.log_fd);
	return 0;
}
