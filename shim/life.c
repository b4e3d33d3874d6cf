/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/life.c — the server's end. An empty table alone is no reason: between the last Delete and Shutdown, or a failed Create and the next,
 * containerd still talks to us. But nobody sends Shutdown when the sandbox was deleted before its containers, so one that came too early
 * is remembered; and nobody sends anything when containerd fails between `start` and Create or between Delete and Shutdown: it takes us
 * up again later and never asks for anything. So a vanished bundle counts, and in the end the time alone.
 */
#include "shim/life.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci/base/err.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "sandbox/sandbox.h"
#include "shim/conn.h"
#include "shim/events.h"

enum {
	LOOK_MS = 1000,       /* while there is no container */
	LOOKS_FORGOTTEN = 3,  /* no bundle, nobody connected */
	LOOKS_IDLE = 60,      /* a bundle, nobody connected */
	LOOKS_SILENT = 180,   /* somebody is, and says nothing */
	EVENTS_FLUSH_MS = 5000,
	ANSWERS_FLUSH_MS = 10,
	ANSWERS_FLUSH_TRIES = 100
};

static bool has_no_container(const struct shim_life *l)
{
	return l->n_creating == 0 && sbx_pod_count(l->pod) == 0;
}

static bool is_empty(const struct shim_life *l)
{
	return has_no_container(l) && !sbx_has_sandbox(l->pod);
}

static void look_later(struct shim_life *l)
{
	if (has_no_container(l) && !l->is_ending)
		hk_timer_set(l->loop, &l->idle, l->idle_look_ms ? l->idle_look_ms : LOOK_MS);
	else
		hk_timer_cancel(&l->idle);
}

/* Something has happened: the looks begin anew. */
static void watch_idle(struct shim_life *l)
{
	l->n_idle = l->n_forgotten = 0;
	look_later(l);
}

/* Last step: every answer written, or its reader given up. */
static void on_flush(void *owner)
{
	struct shim_life *l = owner;
	const bool is_flushed = shim_listener_is_flushed(l->listener) && (!l->lingers || l->listener->n_conns == 0);

	if (is_flushed || ++l->n_flush >= ANSWERS_FLUSH_TRIES) {
		hk_loop_stop(l->loop);
		return;
	}
	hk_timer_set(l->loop, &l->flush, ANSWERS_FLUSH_MS);
}

static bool has_parent(const char *path)
{
	char dir[PATH_MAX];
	char *slash;

	if (hk_fmt(dir, sizeof(dir), "%s", path) < 0)
		return true;
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return true;
	*slash = '\0';
	return access(dir, F_OK) == 0;
}

static void on_events_flushed(void *arg, bool is_complete)
{
	struct shim_life *l = arg;

	/* A daemon that has taken some and is away now comes back for the rest, unless its whole state is gone. */
	if (!is_complete && !l->is_stopped && shim_events_has_taken(l->events) && has_parent(l->bundle)) {
		shim_events_flush(l->events, EVENTS_FLUSH_MS, on_events_flushed, l);
		return;
	}
	if (!is_complete)
		log_warn("ending with events that containerd has not taken");
	hk_timer_set(l->loop, &l->flush, 0);
}

static void remove_socket(struct shim_life *l)
{
	struct stat st;

	if (l->socket[0] && lstat(l->socket, &st) == 0 && st.st_ino == l->socket_ino && st.st_dev == l->socket_dev)
		(void)unlink(l->socket);
}

static void end(struct shim_life *l, const char *reason)
{
	if (l->is_ending)
		return;
	log_info("shim ends", LOG_STR("reason", reason));
	l->is_ending = true;
	watch_idle(l);
	/* The names go first: a `start` of the same group must not find a socket that nobody will serve. */
	if (l->cgroup)
		oci_shim_cgroup_leave(l->cgroup); /* first: what is left of it after our death is found by the state file */
	sbx_pod_forget(l->pod);
	remove_socket(l);
	shim_listener_stop(l->listener);
	shim_events_flush(l->events, EVENTS_FLUSH_MS, on_events_flushed, l);
}

static void on_check(void *owner)
{
	struct shim_life *l = owner;

	watch_idle(l);
	if (l->shutdown_wanted && is_empty(l))
		end(l, "shutdown");
}

/* From the next turn: sandbox/ is still at its own work. */
static void shut_down_later(struct shim_life *l)
{
	l->shutdown_wanted = true;
	hk_timer_set(l->loop, &l->check, 0);
}

static void on_sandbox_gone(void *arg, const struct sbx_reply *reply, const struct hk_err *err)
{
	struct shim_life *l = arg;

	(void)reply;
	if (err)
		log_warn("remove the sandbox of a forgotten pod", LOG_STR("err", err->text));
	shut_down_later(l);
}

/* A sandbox may well wait for its first container for ever, but not without a bundle and a client. */
static void look_at_sandbox(struct shim_life *l)
{
	if (l->n_forgotten == LOOKS_FORGOTTEN)
		sbx_sandbox_shutdown(l->pod, NULL, (struct sbx_done){ .fn = on_sandbox_gone, .arg = l });
}

static void on_idle(void *owner)
{
	struct shim_life *l = owner;
	bool has_bundle = !l->bundle[0] || access(l->bundle, F_OK) == 0;
	/* Events wait for a daemon that is away, but not for one whose whole state is gone. */
	bool has_told = shim_events_is_idle(l->events) || !has_parent(l->bundle);
	bool is_idle;

	look_later(l);
	if (!has_no_container(l))
		return;
	if (l->n_heard != l->listener->n_heard) /* also a `start` that found us: a Create may follow */
		l->n_idle = 0;
	l->n_heard = l->listener->n_heard;
	l->n_idle++;
	l->n_forgotten = !has_bundle && has_told && l->listener->n_conns == 0 ? l->n_forgotten + 1 : 0;
	if (sbx_has_sandbox(l->pod)) {
		look_at_sandbox(l);
		return;
	}
	is_idle = l->n_idle >= (l->listener->n_conns == 0 ? LOOKS_IDLE : LOOKS_SILENT);
	if (l->n_forgotten >= LOOKS_FORGOTTEN || (is_idle && !has_bundle))
		end(l, "no container and no bundle");
	else if (is_idle && has_told)
		end(l, "no container for a long time");
}

void shim_life_name(struct shim_life *l, int listener_fd)
{
	struct sockaddr_un address = { 0 };
	socklen_t len = sizeof(address);
	struct stat st;

	if (getsockname(listener_fd, (struct sockaddr *)&address, &len) == 0 && address.sun_path[0] &&
	    hk_fmt(l->socket, sizeof(l->socket), "%.*s", (int)sizeof(address.sun_path), address.sun_path) > 0 &&
	    lstat(l->socket, &st) == 0) {
		l->socket_dev = st.st_dev;
		l->socket_ino = st.st_ino;
	}
}

void shim_life_init(struct shim_life *l)
{
	hk_timer_init(&l->idle, on_idle, l);
	hk_timer_init(&l->check, on_check, l);
	hk_timer_init(&l->flush, on_flush, l);
	watch_idle(l);
}

bool shim_life_creating(struct shim_life *l)
{
	if (l->is_ending)
		return false;
	l->shutdown_wanted = false;
	l->n_creating++;
	watch_idle(l);
	return true;
}

void shim_life_created(struct shim_life *l)
{
	l->n_creating--;
	hk_timer_set(l->loop, &l->check, 0);
}

/* The end begins before the answer is on its way: containerd forgets a shim that has answered, so one that dies then must leave no name. */
void shim_life_shutdown(struct shim_life *l)
{
	l->shutdown_wanted = true;
	if (is_empty(l))
		end(l, "shutdown");
}

/*
 * A Go client that finds an answer and the end of the connection at the same time takes either; containerd forgives that for Task.Shutdown and
 * fails RemovePodSandbox here. It closes the connection itself once it has the answer.
 */
void shim_life_shutdown_sandbox(struct shim_life *l)
{
	l->lingers = true;
	shut_down_later(l);
}

/* From the next turn: sandbox/ is still at its own work when it tells us. */
void shim_life_deleted(struct shim_life *l)
{
	hk_timer_set(l->loop, &l->check, 0);
}

void shim_life_stop(struct shim_life *l)
{
	l->is_stopped = true;
	end(l, "signal");
}

void shim_life_done(struct shim_life *l)
{
	hk_timer_cancel(&l->idle);
	hk_timer_cancel(&l->check);
	hk_timer_cancel(&l->flush);
	remove_socket(l);
	free(l->cgroup);
	l->cgroup = NULL;
}

int shim_life_enter(struct shim_life *l, const char *pod, struct hk_err *err)
{
	char path[PATH_MAX];
	int r = l->wants_cgroup && !l->cgroup ? oci_shim_cgroup_in(pod, l->group, path, sizeof(path), err) : 1;

	if (r == 0)
		r = oci_shim_cgroup_enter(path, err);
	if (r != 0)
		return r < 0 ? r : 0;
	l->cgroup = strdup(path);
	r = l->cgroup ? sbx_pod_note_cgroup(l->pod, path) : -ENOMEM;
	if (r == 0)
		return 0;
	oci_shim_cgroup_leave(path);
	free(l->cgroup);
	l->cgroup = NULL;
	return hk_fail(err, HK_INTERNAL, -r, "remember cgroup %s", path);
}
