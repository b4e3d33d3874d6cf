/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ociexec — the engine without a shim: runs a bundle and exits as its init does. For comparing with another runtime, and for counting.
 *   ociexec [-x PROCESS.json] [-n TIMES] BUNDLE ID
 * -x also runs that process in the container, TIMES times, then kills the init. Times are printed to stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/loop.h"
#include "oci/oci.h"

struct run {
	struct hk_loop loop;
	struct hk_reaper reaper;
	struct oci_engine engine;
	struct oci_container *c;
	struct hk_child init, extra;
	char *json;
	size_t json_len;
	int times, status;
	uint64_t t0;
};

static void stop(struct run *r, const char *what, const struct hk_err *err)
{
	fprintf(stderr, "ociexec: %s: %s\n", what, err->text);
	r->status = 125;
	hk_loop_stop(&r->loop);
}

static void on_removed(void *arg, const struct hk_err *err)
{
	struct run *r = arg;

	if (err)
		stop(r, "remove", err);
	hk_loop_stop(&r->loop);
}

static void on_init_exit(void *owner, const struct hk_exit *x)
{
	struct run *r = owner;
	struct hk_err err;

	r->status = x->status;
	if (oci_remove(r->c, on_removed, r, &err) < 0)
		stop(r, "remove", &err);
}

static void exec_once(struct run *r);

static void on_extra_exit(void *owner, const struct hk_exit *x)
{
	struct run *r = owner;

	if (x->status != 0)
		fprintf(stderr, "ociexec: exec ended with %d\n", x->status);
	hk_child_done(&r->extra);
	if (--r->times > 0) {
		exec_once(r);
		return;
	}
	fprintf(stderr, "ociexec: last exec %llu us\n", (unsigned long long)(hk_now_ns() - r->t0) / 1000);
	(void)hk_child_kill(&r->init, SIGKILL);
}

static void on_exec(void *arg, const struct oci_launched *l, const struct hk_err *err)
{
	struct run *r = arg;

	if (err) {
		stop(r, "exec", err);
		return;
	}
	int fd = l->pidfd;
	if (hk_child_watch(&r->reaper, &r->extra, l->pid, &fd, on_extra_exit, r) < 0)
		abort();
}

static void exec_once(struct run *r)
{
	struct oci_exec_opts o = { .process_json = r->json,
		.process_json_len = r->json_len,
		.stdio = { -1, 1, 2 },
		.init_pidfd = r->init.pidfd,
		.init_pid = r->init.pid };
	struct hk_err err;

	r->t0 = hk_now_ns();
	if (oci_exec(r->c, &o, on_exec, r, &err) < 0)
		stop(r, "exec", &err);
}

static void on_started(void *arg, const struct hk_err *err)
{
	struct run *r = arg;

	fprintf(stderr, "ociexec: start %llu us\n", (unsigned long long)(hk_now_ns() - r->t0) / 1000);
	if (err)
		stop(r, "start", err);
	else if (r->json)
		exec_once(r);
}

static void on_created(void *arg, const struct oci_launched *l, const struct hk_err *err)
{
	struct run *r = arg;
	struct hk_err mine;
	int fd;

	if (err) {
		stop(r, "create", err);
		return;
	}
	fd = l->pidfd;
	if (hk_child_watch(&r->reaper, &r->init, l->pid, &fd, on_init_exit, r) < 0)
		abort();
	fprintf(stderr, "ociexec: create %llu us\n", (unsigned long long)(hk_now_ns() - r->t0) / 1000);
	r->t0 = hk_now_ns();
	if (oci_start(r->c, on_started, r, &mine) < 0)
		stop(r, "start", &mine);
}

int main(int argc, char **argv)
{
	struct run r = { .times = 1 };
	struct oci_create_opts o = { .stdio = { 0, 1, 2 } };
	hk_autofree char *bundle = NULL;
	struct hk_err err;
	int c;

	while ((c = getopt(argc, argv, "x:n:")) != -1) {
		if (c == 'x' && hk_read_file_alloc(AT_FDCWD, optarg, 1 << 20, &r.json, &r.json_len) < 0)
			return 125;
		if (c == 'n')
			r.times = (int)strtol(optarg, NULL, 10);
	}
	if (argc - optind != 2)
		return 125;
	(void)signal(SIGPIPE, SIG_IGN);
	o.bundle = bundle = realpath(argv[optind], NULL);
	o.id = argv[optind + 1];
	if (!bundle || hk_loop_init(&r.loop) < 0)
		return 125;
	hk_reaper_init(&r.reaper, &r.loop);
	r.engine = (struct oci_engine){ .loop = &r.loop, .reaper = &r.reaper, .run_dir = "/run/husk" };
	hk_child_init(&r.init);
	hk_child_init(&r.extra);
	r.t0 = hk_now_ns();
	if (oci_create(&r.engine, &o, on_created, &r, &r.c, &err) < 0) {
		fprintf(stderr, "ociexec: create: %s\n", err.text);
		return 125;
	}
	(void)hk_loop_run(&r.loop);
	hk_child_done(&r.init);
	oci_container_free(r.c);
	hk_loop_done(&r.loop);
	free(r.json);
	return r.status;
}
