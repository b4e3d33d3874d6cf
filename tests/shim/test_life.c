/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/shim/test_life.c — when the server ends and when it must not: Shutdown with and without containers, signals, and the daemon that
 * never came back. The pod is a number here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "sandbox/sandbox.h"
#include "shim/conn.h"
#include "shim/events.h"
#include "shim/life.h"

struct sbx_pod {
	size_t count;
	bool has_sandbox;
	int n_shutdowns, n_forgotten;
};

size_t sbx_pod_count(const struct sbx_pod *p)
{
	return p->count;
}

int sbx_pod_note_cgroup(struct sbx_pod *p, const char *shim_cgroup)
{
	(void)p;
	(void)shim_cgroup;
	return 0;
}

bool sbx_has_sandbox(const struct sbx_pod *p)
{
	return p->has_sandbox;
}

void sbx_pod_forget(struct sbx_pod *p)
{
	p->n_forgotten++;
}

void sbx_sandbox_shutdown(struct sbx_pod *p, const char *id, struct sbx_done done)
{
	assert_null(id);
	p->n_shutdowns++;
	p->has_sandbox = false;
	done.fn(done.arg, &(const struct sbx_reply){ 0 }, NULL);
}

struct fixture {
	struct hk_loop loop;
	struct sbx_pod pod;
	struct shim_events events;
	struct ttrpc_server server;
	struct shim_listener listener;
	struct shim_life life;
	char dir[64], bundle[80], socket[80];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_non_null(f);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-life-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->bundle, sizeof(f->bundle), "%s/b", f->dir);
	(void)snprintf(f->socket, sizeof(f->socket), "%s/s", f->dir);
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->socket);
	assert_int_equal(mkdir(f->bundle, 0700), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(hk_loop_init(&f->loop), 0);
	assert_int_equal(shim_events_init(&f->events, &f->loop, NULL, "ns"), 0);
	f->life = (struct shim_life){ .loop = &f->loop, .pod = &f->pod, .events = &f->events, .listener = &f->listener,
		.bundle = f->bundle, .idle_look_ms = 5 };
	shim_life_name(&f->life, fd);
	assert_string_equal(f->life.socket, f->socket);
	assert_int_equal(shim_listener_init(&f->listener, &f->loop, &f->server, &fd), 0);
	shim_life_init(&f->life);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	shim_listener_done(&f->listener);
	shim_life_done(&f->life);
	shim_events_done(&f->events);
	hk_loop_done(&f->loop);
	(void)rmdir(f->bundle);
	(void)unlink(f->socket);
	(void)rmdir(f->dir);
	free(f);
	return 0;
}

/* True when the loop was stopped within the time. */
static bool ends(struct fixture *f, uint64_t ms)
{
	uint64_t end = hk_now_ns() + ms * 1000000;

	while (!f->loop.stop && hk_now_ns() < end)
		assert_int_equal(hk_loop_once(&f->loop, 5), 0);
	return f->loop.stop;
}

static bool has_socket(const struct fixture *f)
{
	return access(f->socket, F_OK) == 0;
}

static void shutdown_when_empty(void **state)
{
	struct fixture *f = *state;

	shim_life_shutdown(&f->life);
	/* Before the answer: whoever kills the shim behind it finds no name of it, as containerd's `delete` may not come any more. */
	assert_false(has_socket(f));
	assert_int_equal(f->pod.n_forgotten, 1);
	assert_true(ends(f, 1000));
	assert_false(shim_life_creating(&f->life));
}

static void shutdown_with_containers(void **state)
{
	struct fixture *f = *state;

	f->pod.count = 2;
	shim_life_shutdown(&f->life);
	assert_false(ends(f, 50));
	f->pod.count = 1;
	shim_life_deleted(&f->life);
	assert_false(ends(f, 50));
	assert_true(has_socket(f));
	f->pod.count = 0;
	shim_life_deleted(&f->life);
	assert_true(ends(f, 1000));
	assert_false(has_socket(f));
}

static void create_clears_shutdown(void **state)
{
	struct fixture *f = *state;

	f->pod.count = 1;
	shim_life_shutdown(&f->life);
	assert_true(shim_life_creating(&f->life));
	/* The old one goes while the new one is being made. */
	f->pod.count = 0;
	shim_life_deleted(&f->life);
	assert_false(ends(f, 50));
	/* It fails; containerd will say Shutdown again. */
	shim_life_created(&f->life);
	assert_false(ends(f, 50));
	shim_life_shutdown(&f->life);
	assert_true(ends(f, 1000));
}

/* A Shutdown in the middle of a Create waits for what becomes of it. */
static void shutdown_during_create(void **state)
{
	struct fixture *f = *state;

	assert_true(shim_life_creating(&f->life));
	shim_life_shutdown(&f->life);
	assert_false(ends(f, 50));
	shim_life_created(&f->life);
	assert_true(ends(f, 1000));
}

static void empty_is_no_reason(void **state)
{
	struct fixture *f = *state;

	f->pod.count = 1;
	shim_life_deleted(&f->life);
	f->pod.count = 0;
	shim_life_deleted(&f->life);
	assert_false(ends(f, 100));
	assert_true(has_socket(f));
}

static void signal_ends_at_once(void **state)
{
	struct fixture *f = *state;

	f->pod.count = 3;
	shim_life_stop(&f->life);
	shim_life_stop(&f->life);
	assert_true(ends(f, 1000));
	assert_false(has_socket(f));
}

static void vanished_bundle(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rmdir(f->bundle), 0);
	f->pod.count = 1;
	shim_life_deleted(&f->life);
	assert_false(ends(f, 60));
	/* One look is not enough: the bundle may be about to come back. */
	f->pod.count = 0;
	shim_life_deleted(&f->life);
	assert_true(ends(f, 1000));
	assert_false(has_socket(f));
}

/* Somebody is connected, or events wait for a daemon: the bundle may come back. */
static void vanished_bundle_with_a_client(void **state)
{
	struct fixture *f = *state;
	char moved[80];

	(void)snprintf(moved, sizeof(moved), "%s.moved", f->dir);
	assert_int_equal(rmdir(f->bundle), 0);
	f->listener.n_conns = 1;
	assert_false(ends(f, 100));
	f->listener.n_conns = 0;
	f->events.n_queued = 1;
	f->events.is_in_flight = true;
	assert_false(ends(f, 100));
	assert_false(f->life.is_ending);
	assert_int_equal(rename(f->dir, moved), 0); /* the daemon's whole state is gone: nobody will ever take them */
	assert_false(ends(f, 100)); /* it tries for a last time to tell them */
	assert_true(f->life.is_ending);
	assert_int_equal(rename(moved, f->dir), 0);
	f->events.is_in_flight = false;
	f->events.n_queued = 0;
}

/* A daemon killed between Delete and Shutdown takes us up again when it is back, bundle and all, and then wants nothing for ever. */
static void nobody_comes(void **state)
{
	struct fixture *f = *state;

	f->listener.n_conns = 1;
	f->pod.count = 1;
	shim_life_deleted(&f->life);
	assert_false(ends(f, 1200));
	f->pod.count = 0;
	shim_life_deleted(&f->life);
	assert_false(ends(f, 500));
	assert_true(shim_life_creating(&f->life)); /* fails; the time begins anew */
	shim_life_created(&f->life);
	f->events.n_queued = 1;
	assert_false(ends(f, 1200));
	f->events.n_queued = 0;
	assert_true(ends(f, 1200));
	f->listener.n_conns = 0;
	assert_false(has_socket(f));
}

/* Without a connection it takes a third of the time; whoever comes by, a `start` perhaps, begins it anew. */
static void nobody_is_there(void **state)
{
	struct fixture *f = *state;

	f->pod.count = 0;
	shim_life_deleted(&f->life);
	assert_false(ends(f, 200));
	f->listener.n_heard++;
	assert_false(ends(f, 250));
	assert_true(ends(f, 5000));
}

/* A client that asks now and then is somebody who talks to us. */
static void somebody_talks(void **state)
{
	struct fixture *f = *state;

	f->listener.n_conns = 1;
	f->pod.count = 0;
	shim_life_deleted(&f->life);
	for (int i = 0; i < 6; i++) {
		assert_false(ends(f, 300));
		f->listener.n_heard++;
	}
	assert_true(ends(f, 5000));
	f->listener.n_conns = 0;
}

/* A pod may wait for its first container for ever, as long as its bundle is there or somebody is connected. */
static void sandbox_is_no_container(void **state)
{
	struct fixture *f = *state;

	f->pod.has_sandbox = true;
	shim_life_shutdown(&f->life); /* Task.Shutdown of a version 2 daemon */
	assert_false(ends(f, 1500));
	assert_int_equal(f->pod.n_shutdowns, 0);
	f->listener.n_conns = 1;
	assert_int_equal(rmdir(f->bundle), 0);
	assert_false(ends(f, 100));
	f->listener.n_conns = 0;
	f->pod.count = 1;
	assert_false(ends(f, 100));
	f->pod.count = 0;
	shim_life_deleted(&f->life);
	assert_true(ends(f, 1000));
	assert_int_equal(f->pod.n_shutdowns, 1);
}

/* Another shim has taken the path: its socket is not ours to remove. */
static void foreign_socket_stays(void **state)
{
	struct fixture *f = *state;
	char other[100];

	/* Made while ours still exists, so that it has another inode. */
	(void)snprintf(other, sizeof(other), "%s.new", f->socket);
	assert_int_equal(mknod(other, S_IFSOCK | 0600, 0), 0);
	assert_int_equal(rename(other, f->socket), 0);
	shim_life_stop(&f->life);
	assert_true(ends(f, 1000));
	assert_true(has_socket(f));
}

int main(void)
{
#define ROW(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		ROW(shutdown_when_empty),
		ROW(shutdown_with_containers),
		ROW(create_clears_shutdown),
		ROW(shutdown_during_create),
		ROW(empty_is_no_reason),
		ROW(signal_ends_at_once),
		ROW(vanished_bundle),
		ROW(vanished_bundle_with_a_client),
		ROW(nobody_comes),
		ROW(nobody_is_there),
		ROW(somebody_talks),
		ROW(sandbox_is_no_container),
		ROW(foreign_socket_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
