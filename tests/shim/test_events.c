/* SPDX-License-Identifier: Apache-2.0 */
/* The publisher against a containerd played by our own ttrpc server on the same loop: order, retries, limits, flush. */
#include "shim/events.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/base/log.h"
#include "proto/dispatch.h"
#include "proto/events.pb-c.h"
#include "proto/names.h"
#include "shim/conn.h"

enum { MAX_SEEN = 5000 };

struct seen {
	char topic[24];
	char type_url[40];
	uint32_t pid;
};

struct fixture {
	char dir[40];
	struct sockaddr_un addr;
	struct hk_loop loop;
	/* containerd */
	struct ttrpc_server server;
	struct ttrpc_service service;
	struct shim_listener listener;
	bool is_up;
	bool is_holding;
	enum ttrpc_code answer; /* to each Forward */
	struct ttrpc_call *held;
	struct seen seen[MAX_SEEN];
	int n_seen;
	char ns[16];
	int64_t seconds;
	/* us */
	struct shim_events events;
	int n_flushed;
	bool is_complete;
};

/* The pid is field 2 of TaskStart and field 3 of TaskExit: enough to know which event this was. */
static uint32_t pid_of(const Husk__Types__Any *any)
{
	uint32_t pid = 0;

	if (strcmp(any->type_url, "containerd.events.TaskExit") == 0) {
		Husk__Events__TaskExit *m = husk__events__task_exit__unpack(NULL, any->value.len, any->value.data);

		assert_non_null(m);
		pid = m->pid;
		husk__events__task_exit__free_unpacked(m, NULL);
	} else {
		Husk__Events__TaskStart *m = husk__events__task_start__unpack(NULL, any->value.len, any->value.data);

		assert_non_null(m);
		pid = m->pid;
		husk__events__task_start__free_unpacked(m, NULL);
	}
	return pid;
}

static void forget_held(void *arg, struct ttrpc_call *call)
{
	struct fixture *f = arg;

	f->held = NULL;
	ttrpc_call_reply(call, NULL);
}

static void on_forward(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	const Husk__Events__Envelope *e = ((const Husk__Events__ForwardRequest *)(const void *)request)->envelope;
	struct fixture *f = ctx;
	struct seen *s = &f->seen[f->n_seen];

	assert_true(f->n_seen < MAX_SEEN);
	assert_null(f->held); /* one at a time */
	f->n_seen++;
	(void)snprintf(s->topic, sizeof(s->topic), "%s", e->topic);
	(void)snprintf(s->type_url, sizeof(s->type_url), "%s", e->event->type_url);
	(void)snprintf(f->ns, sizeof(f->ns), "%s", e->namespace_);
	f->seconds = e->timestamp->seconds;
	s->pid = pid_of(e->event);
	if (f->is_holding) {
		f->held = call;
		ttrpc_call_on_orphan(call, forget_held, f);
	} else if (f->answer != TTRPC_OK) {
		ttrpc_call_fail(call, f->answer, "no");
	} else {
		ttrpc_call_reply(call, NULL);
	}
}

static const struct ttrpc_method methods[] = {
	{ "Forward", &husk__events__forward_request__descriptor, on_forward },
};

static void daemon_up(struct fixture *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)unlink(f->addr.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(shim_listener_init(&f->listener, &f->loop, &f->server, &fd), 0);
	f->is_up = true;
}

static void daemon_down(struct fixture *f)
{
	if (f->is_up)
		shim_listener_done(&f->listener);
	f->is_up = false;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char url[120];

	assert_non_null(f);
	hk_log_init(-1, HK_LOG_ERROR);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-test-events-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->addr.sun_family = AF_UNIX;
	(void)snprintf(f->addr.sun_path, sizeof(f->addr.sun_path), "%s/s", f->dir);
	(void)snprintf(url, sizeof(url), "unix://%s/s", f->dir);
	f->service = (struct ttrpc_service){ TTRPC_SERVICE_EVENTS, methods, 1, f };
	f->server = (struct ttrpc_server){ .services = &f->service, .n_services = 1, .max_calls = 100 };
	assert_int_equal(hk_loop_init(&f->loop), 0);
	assert_int_equal(shim_events_init(&f->events, &f->loop, url, "k8s.io"), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	shim_events_done(&f->events);
	assert_int_equal(f->events.n_queued, 0);
	assert_int_equal(f->events.n_droppable, 0);
	daemon_down(f);
	hk_loop_done(&f->loop);
	(void)unlink(f->addr.sun_path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(hk_loop_once(&f->loop, 0), 0);
}

/* Turns the loop until n events were seen; fails after 3 s. */
static void until_seen(struct fixture *f, int n)
{
	uint64_t end = hk_now_ns() + UINT64_C(3000000000);

	while (f->n_seen < n && hk_now_ns() < end)
		assert_int_equal(hk_loop_once(&f->loop, 50), 0);
	turn(f);
	assert_int_equal(f->n_seen, n);
}

static void publish_start(struct fixture *f, enum shim_topic topic, uint32_t pid)
{
	Husk__Events__TaskStart m;

	husk__events__task_start__init(&m);
	m.container_id = f->dir;
	m.pid = pid;
	shim_events_publish(&f->events, topic, &m.base);
}

static void publish_exit(struct fixture *f, uint32_t pid)
{
	Husk__Events__TaskExit m;

	husk__events__task_exit__init(&m);
	m.container_id = f->dir;
	m.pid = pid;
	shim_events_publish(&f->events, SHIM_TASK_EXIT, &m.base);
}

static void test_order_and_content(void **state)
{
	struct fixture *f = *state;

	daemon_up(f);
	publish_start(f, SHIM_TASK_START, 1);
	publish_exit(f, 2);
	publish_start(f, SHIM_TASK_START, 3);
	assert_false(shim_events_is_idle(&f->events));
	until_seen(f, 3);
	assert_true(shim_events_is_idle(&f->events));
	assert_string_equal(f->ns, "k8s.io");
	assert_true(f->seconds > 1500000000);
	assert_string_equal(f->seen[0].topic, "/tasks/start");
	assert_string_equal(f->seen[0].type_url, "containerd.events.TaskStart");
	assert_int_equal(f->seen[0].pid, 1);
	assert_string_equal(f->seen[1].topic, "/tasks/exit");
	assert_string_equal(f->seen[1].type_url, "containerd.events.TaskExit");
	assert_int_equal(f->seen[1].pid, 2);
	assert_int_equal(f->seen[2].pid, 3);
	assert_int_equal(f->listener.n_conns, 1);
}

static void test_topics(void **state)
{
	static const char *const names[SHIM_N_TOPICS][2] = {
		[SHIM_TASK_CREATE] = { "/tasks/create", "containerd.events.TaskCreate" },
		[SHIM_TASK_START] = { "/tasks/start", "containerd.events.TaskStart" },
		[SHIM_TASK_EXIT] = { "/tasks/exit", "containerd.events.TaskExit" },
		[SHIM_TASK_DELETE] = { "/tasks/delete", "containerd.events.TaskDelete" },
		[SHIM_TASK_OOM] = { "/tasks/oom", "containerd.events.TaskOOM" },
		[SHIM_TASK_EXEC_ADDED] = { "/tasks/exec-added", "containerd.events.TaskExecAdded" },
		[SHIM_TASK_EXEC_STARTED] = { "/tasks/exec-started", "containerd.events.TaskExecStarted" },
		[SHIM_TASK_PAUSED] = { "/tasks/paused", "containerd.events.TaskPaused" },
		[SHIM_TASK_RESUMED] = { "/tasks/resumed", "containerd.events.TaskResumed" },
		[SHIM_TASK_CHECKPOINTED] = { "/tasks/checkpointed", "containerd.events.TaskCheckpointed" },
	};
	struct fixture *f = *state;

	daemon_up(f);
	for (int t = 0; t < SHIM_N_TOPICS; t++) {
		Husk__Events__TaskPaused m;

		/* every event begins with its container's id; here the topic's strings count */
		husk__events__task_paused__init(&m);
		m.container_id = f->dir;
		shim_events_publish(&f->events, (enum shim_topic)t, &m.base);
	}
	until_seen(f, SHIM_N_TOPICS);
	for (int t = 0; t < SHIM_N_TOPICS; t++) {
		assert_string_equal(f->seen[t].topic, names[t][0]);
		assert_string_equal(f->seen[t].type_url, names[t][1]);
	}
}

static void test_one_in_flight(void **state)
{
	struct fixture *f = *state;

	daemon_up(f);
	f->is_holding = true;
	for (uint32_t i = 1; i <= 3; i++)
		publish_exit(f, i);
	until_seen(f, 1);
	turn(f);
	assert_int_equal(f->n_seen, 1);
	assert_non_null(f->held);
	f->is_holding = false;
	ttrpc_call_reply(f->held, NULL);
	f->held = NULL;
	until_seen(f, 3);
	assert_int_equal(f->seen[2].pid, 3);
}

static void test_daemon_comes_later(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 1; i <= 5; i++)
		publish_exit(f, i);
	turn(f);
	assert_int_equal(f->events.n_queued, 5);
	daemon_up(f);
	until_seen(f, 5);
	for (uint32_t i = 1; i <= 5; i++)
		assert_int_equal(f->seen[i - 1].pid, i);
}

static void test_daemon_restarts(void **state)
{
	struct fixture *f = *state;

	daemon_up(f);
	publish_exit(f, 1);
	until_seen(f, 1);
	/* an idle connection that goes away is no reason to retry anything */
	daemon_down(f);
	turn(f);
	assert_int_equal(f->events.fd, -1);
	assert_false(hk_timer_is_armed(&f->events.timer));
	daemon_up(f);
	publish_exit(f, 2);
	until_seen(f, 2);
	/* one that goes away with an event in flight is: the head comes again, before the rest */
	f->is_holding = true;
	publish_exit(f, 3);
	publish_exit(f, 4);
	until_seen(f, 3);
	f->is_holding = false;
	daemon_down(f);
	turn(f);
	assert_int_equal(f->events.n_queued, 2);
	daemon_up(f);
	until_seen(f, 5);
	assert_int_equal(f->seen[3].pid, 3);
	assert_int_equal(f->seen[4].pid, 4);
	assert_true(shim_events_is_idle(&f->events));
}

static void test_refused_event_is_given_up(void **state)
{
	struct fixture *f = *state;

	daemon_up(f);
	f->answer = TTRPC_INVALID_ARGUMENT;
	publish_exit(f, 1);
	until_seen(f, 1);
	assert_true(shim_events_is_idle(&f->events));
	f->answer = TTRPC_OK;
	publish_exit(f, 2);
	until_seen(f, 2);
}

static void test_failed_event_is_retried(void **state)
{
	struct fixture *f = *state;

	daemon_up(f);
	f->answer = TTRPC_UNKNOWN;
	publish_exit(f, 1);
	publish_exit(f, 2);
	until_seen(f, 1);
	assert_int_equal(f->events.n_queued, 2);
	assert_int_equal(f->events.backoff_ms, 200);
	until_seen(f, 2);
	assert_int_equal(f->seen[1].pid, 1);
	assert_int_equal(f->events.backoff_ms, 400);
	f->answer = TTRPC_OK;
	until_seen(f, 4);
	assert_int_equal(f->seen[2].pid, 1);
	assert_int_equal(f->seen[3].pid, 2);
	assert_int_equal(f->events.backoff_ms, 100);
}

static void test_backoff_has_a_cap(void **state)
{
	struct fixture *f = *state;

	publish_exit(f, 1);
	for (int i = 0; i < 12; i++) {
		assert_true(hk_timer_is_armed(&f->events.timer));
		hk_timer_set(&f->loop, &f->events.timer, 0);
		turn(f);
	}
	assert_int_equal(f->events.backoff_ms, 5000);
	assert_int_equal(f->events.n_queued, 1);
}

static void test_deadline(void **state)
{
	struct fixture *f = *state;

	daemon_up(f);
	f->is_holding = true;
	publish_exit(f, 1);
	until_seen(f, 1);
	f->is_holding = false;
	/* five seconds later */
	hk_timer_set(&f->loop, &f->events.timer, 0);
	until_seen(f, 2);
	assert_int_equal(f->seen[1].pid, 1);
	assert_true(shim_events_is_idle(&f->events));
}

static void test_limit(void **state)
{
	const uint32_t n = SHIM_EVENTS_DROPPABLE_MAX + 10;
	struct fixture *f = *state;

	publish_start(f, SHIM_TASK_START, 1000000);
	for (uint32_t i = 0; i < n; i++) {
		publish_start(f, SHIM_TASK_PAUSED, i + 1);
		if (i % 1000 == 0)
			publish_exit(f, 2000000 + i);
	}
	assert_int_equal(f->events.n_droppable, SHIM_EVENTS_DROPPABLE_MAX);
	assert_int_equal(f->events.n_dropped, 10);
	daemon_up(f);
	until_seen(f, SHIM_EVENTS_DROPPABLE_MAX + 6);
	assert_int_equal(f->seen[0].pid, 1000000);
	assert_int_equal(f->seen[1].pid, 2000000);
	assert_string_equal(f->seen[2].topic, "/tasks/paused");
	assert_int_equal(f->events.n_dropped, 0);
	assert_true(shim_events_is_idle(&f->events));
}

static void on_flushed(void *arg, bool is_complete)
{
	struct fixture *f = arg;

	f->n_flushed++;
	f->is_complete = is_complete;
}

static void test_flush(void **state)
{
	struct fixture *f = *state;

	/* nothing to do: still from the loop, not from inside the call */
	shim_events_flush(&f->events, 1000, on_flushed, f);
	assert_int_equal(f->n_flushed, 0);
	turn(f);
	assert_int_equal(f->n_flushed, 1);
	assert_true(f->is_complete);

	/* in the middle of a long back-off: tried at once */
	publish_exit(f, 1);
	f->events.backoff_ms = 5000;
	hk_timer_set(&f->loop, &f->events.timer, 5000);
	daemon_up(f);
	shim_events_flush(&f->events, 2000, on_flushed, f);
	until_seen(f, 1);
	assert_int_equal(f->n_flushed, 2);
	assert_true(f->is_complete);
}

static void test_flush_times_out(void **state)
{
	struct fixture *f = *state;
	uint64_t end = hk_now_ns() + UINT64_C(2000000000);

	publish_exit(f, 1);
	shim_events_flush(&f->events, 50, on_flushed, f);
	while (f->n_flushed == 0 && hk_now_ns() < end)
		assert_int_equal(hk_loop_once(&f->loop, 20), 0);
	assert_int_equal(f->n_flushed, 1);
	assert_false(f->is_complete);
	assert_int_equal(f->events.n_queued, 1);
}

static void test_addresses(void **state)
{
	struct fixture *f = *state;
	char path[sizeof(f->addr.sun_path) + 1];
	struct shim_events e;

	assert_int_equal(shim_events_init(&e, &f->loop, "relative", "n"), -EINVAL);
	assert_int_equal(shim_events_init(&e, &f->loop, "tcp://1.2.3.4:5", "n"), -EINVAL);
	memset(path, 'p', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(shim_events_init(&e, &f->loop, path, "n"), -EINVAL);
	path[sizeof(path) - 2] = '\0';
	assert_int_equal(shim_events_init(&e, &f->loop, path, "n"), 0);
	assert_string_equal(e.addr.sun_path, path);
	shim_events_done(&e);
}

static void test_no_address(void **state)
{
	struct fixture *f = *state;
	static const char *const none[] = { NULL, "", "unix://" };

	for (int i = 0; i < 3; i++) {
		struct shim_events e;
		Husk__Events__TaskOOM m;

		husk__events__task_oom__init(&m);
		assert_int_equal(shim_events_init(&e, &f->loop, none[i], "n"), 0);
		shim_events_publish(&e, SHIM_TASK_OOM, &m.base);
		shim_events_publish(&e, SHIM_TASK_OOM, &m.base);
		assert_true(shim_events_is_idle(&e));
		assert_true(e.has_warned);
		shim_events_done(&e);
	}
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_order_and_content),
		T(test_topics),
		T(test_one_in_flight),
		T(test_daemon_comes_later),
		T(test_daemon_restarts),
		T(test_refused_event_is_given_up),
		T(test_failed_event_is_retried),
		T(test_backoff_has_a_cap),
		T(test_deadline),
		T(test_limit),
		T(test_flush),
		T(test_flush_times_out),
		T(test_addresses),
		T(test_no_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
