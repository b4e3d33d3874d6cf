/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/dump.c — see dump.h. What `husk why` gets by a call, for the moment when nobody answers calls any more, or there is no tool: operators are
 * told to send SIGUSR1 to a shim that is stuck. Lines that a full log has no room for are dropped and counted, as all others.
 */
#include "shim/dump.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "husk_version.h"
#include "oci/base/auto.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "sandbox/sandbox.h"
#include "sandbox/view.h"
#include "shim/conn.h"
#include "shim/events.h"
#include "shim/history.h"
#include "shim/node.h"
#include "shim/task.h"

enum { NS_PER_MS = 1000000, MS_PER_S = 1000 };

static void on_view(void *arg, const struct sbx_view *v)
{
	const struct hk_kv kv[] = { LOG_STR("id", v->id), LOG_STR("state", v->state), LOG_INT("pid", v->pid), LOG_INT("status", v->exit_status),
		LOG_INT("waiters", v->n_waiters), LOG_STR("waits_for", v->waits_for),
		v->exec_id ? LOG_STR("exec_id", v->exec_id) : LOG_STR("bundle", v->bundle) };

	(void)arg;
	hk_log(HK_LOG_INFO, v->exec_id ? "exec" : "container", kv, HK_ARRAY_SIZE(kv));
}

static void on_pending(void *arg, const struct task_pending *p)
{
	(void)arg;
	log_info("call without an answer", LOG_STR("method", p->method), LOG_STR("id", p->id), LOG_STR("exec_id", p->exec_id),
	    LOG_INT("age_ms", p->age_ms));
}

static int64_t ago_ms(const struct history_head *h)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return ((int64_t)now.tv_sec - h->at_s) * MS_PER_S + now.tv_nsec / NS_PER_MS - h->at_ms;
}

static void on_history(void *arg, const struct history_event *ev, const struct history_error *e)
{
	const struct history_head *h = ev ? &ev->head : &e->head;
	const struct hk_kv kv[] = { LOG_INT("seq", h->seq), LOG_INT("ago_ms", ago_ms(h)), LOG_STR("id", h->id), LOG_STR("exec_id", h->exec_id),
		ev ? LOG_STR("event", shim_history_name(h->type)) : LOG_STR("method", e->method),
		ev ? LOG_INT("pid", ev->pid) : LOG_STR("err", e->text), LOG_INT("status", h->status) };

	(void)arg;
	hk_log(HK_LOG_INFO, ev ? "past event" : "past error", kv, ev ? HK_ARRAY_SIZE(kv) : HK_ARRAY_SIZE(kv) - 1);
}

/* Counts them; tells them too if asked. */
static int each_fd(bool tells)
{
	hk_autodir d = opendir("/proc/self/fd");
	int n = 0;

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		char target[200];
		uint64_t fd;
		ssize_t len;

		if (hk_parse_u64(e->d_name, &fd) < 0 || (int)fd == dirfd(d))
			continue;
		n++;
		len = tells ? readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1) : -1;
		if (len < 0)
			continue;
		target[len] = '\0';
		log_info("descriptor", LOG_INT("fd", fd), LOG_STR("target", target));
	}
	return n;
}

void shim_dump(const struct node_service *n)
{
	const struct ttrpc_server *calls = n->listener->server;
	struct rlimit limit = { 0 };

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	log_info("state of the shim", LOG_STR("group", n->group), LOG_INT("pid", getpid()), LOG_STR("version", HUSK_VERSION),
	    LOG_STR("revision", HUSK_REVISION), LOG_INT("connections", n->listener->n_conns), LOG_INT("calls", calls->n_calls),
	    LOG_INT("waits", calls->n_parked), LOG_INT("containers", sbx_pod_count(n->pod)), LOG_INT("events_queued", n->events->n_queued),
	    LOG_INT("events_dropped", n->events->n_dropped), LOG_STR("events_head", shim_events_head(n->events)),
	    LOG_INT("log_dropped", hk_log_dropped()), LOG_INT("fds", each_fd(false)), LOG_INT("fds_limit", limit.rlim_cur));
	sbx_each(n->pod, on_view, NULL);
	task_each_pending(n->task, on_pending, NULL);
	shim_history_each(n->history, 0, on_history, NULL);
	(void)each_fd(true);
}
