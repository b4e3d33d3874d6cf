/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sandbox/world.h — a pod on a loop in a temporary directory, with its events written down as lines. See pod_helpers.h. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "sandbox/sandbox.h"

struct world {
	char top[64], run_dir[96];
	struct hk_loop loop;
	struct hk_reaper reaper;
	struct sbx_pod *pod;
	char events[65536]; /* "exit c1/e1 137;" ... */
	size_t n_events;    /* bytes */
};
static struct world world;

static inline void on_event(void *arg, const struct sbx_event *ev)
{
	static const char *const names[] = {
		[SBX_EV_CREATE] = "create", [SBX_EV_START] = "start", [SBX_EV_EXIT] = "exit", [SBX_EV_DELETE] = "delete",
		[SBX_EV_OOM] = "oom", [SBX_EV_EXEC_ADDED] = "exec-added", [SBX_EV_EXEC_STARTED] = "exec-started",
		[SBX_EV_PAUSED] = "paused", [SBX_EV_RESUMED] = "resumed",
	};
	struct world *w = arg;
	char status[80] = "";
	int n;

	if (ev->type == SBX_EV_EXIT) {
		(void)snprintf(status, sizeof(status), " %u", ev->exit_status);
		assert_true(ev->exited_at.tv_sec > 0);
	}
	if (ev->type == SBX_EV_OOM && ev->limit != SBX_LIMIT_UNKNOWN)
		(void)snprintf(status, sizeof(status), " %s%s%.*s", sbx_limit_name(ev->limit),
		    ev->limit_cgroup_len ? " " : "", (int)ev->limit_cgroup_len, ev->limit_cgroup);
	assert_true(ev->type == SBX_EV_EXEC_ADDED || ev->pid != 0);
	n = snprintf(w->events + w->n_events, sizeof(w->events) - w->n_events, "%s %s%s%s%s;", names[ev->type], ev->id,
	    *ev->exec_id ? "/" : "", ev->exec_id, status);
	w->n_events += (size_t)n;
	assert_true(w->n_events < sizeof(w->events));
}

static inline void pod_open(void)
{
	const struct sbx_pod_opts o = { .loop = &world.loop, .reaper = &world.reaper, .run_dir = world.run_dir, .state_dir = world.run_dir, .ns = "test",
		.group = "group", .socket = "/nonexistent/husk-test.sock", .on_event = on_event, .arg = &world };
	struct hk_err err = { 0 };

	if (sbx_pod_new(&o, &world.pod, &err) < 0)
		fail_msg("%s", err.text);
}

static inline int world_set_up(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(world.top, sizeof(world.top), "/tmp/husk-pod-XXXXXX");
	/* EINVAL: not known to an emulator, and no test with a world leaves orphans. */
	if (!mkdtemp(world.top) || (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 && errno != EINVAL) || hk_loop_init(&world.loop) < 0)
		return -1;
	(void)snprintf(world.run_dir, sizeof(world.run_dir), "%s/run", world.top);
	hk_reaper_init(&world.reaper, &world.loop);
	pod_open();
	return 0;
}

static inline int world_tear_down(void **state)
{
	char path[128];
	int left;

	(void)state;
	sbx_pod_free(world.pod);
	hk_reaper_sweep(&world.reaper);
	(void)snprintf(path, sizeof(path), "%s/test", world.run_dir);
	left = access(path, F_OK) == 0; /* an empty pod takes its state directory with it */
	hk_loop_done(&world.loop);
	return hk_rm_rf(AT_FDCWD, world.top) < 0 || left;
}
