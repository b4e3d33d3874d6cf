/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/sandbox/fake_engine.h — what the tests may make the fake engine do. A container is a shell script (the file `bundle` names), an exec is
 * one too (its process.json): plain processes without namespaces, so that ordering and states are tested without root and with
 * delays and failures that the real engine shows only on a bad day.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct hk_err;

enum fake_limits { NO_LIMITS, LIMITS_V1, LIMITS_V2 };
struct fake {
	int launch_ms, start_ms, remove_ms; /* before the callback */
	int freeze_looks;    /* how often oci_cgroup_frozen says "not yet"; -1 = for ever */
	int remove_failures; /* so many removals fail */
	uint64_t oom_kills; /* counted for every container */
	struct {
		uint64_t kills, hits; /* and for this one: "c1" is [1] */
		int error;      /* of the reading of it */
	} oom[4];
	bool has_slice;
	uint64_t slice_kills, slice_hits;
	/* Containers are in "/node/pod": what was hit there, and what v1's kernel would write to; [1] is "/node", [2] "/node/pod", [3] the last container. */
	enum fake_limits limits;
	uint64_t limit_hits[3];
	int limit_fd[4];
	bool has_private_pidns;
	bool is_early; /* the cgroup is whole when oci_create returns */
	const char *create_error, *start_error, *exec_error; /* NULL = works */
	const char *exec_linger; /* the annotation */
	const char *stuck;       /* what oci_cgroup_stuck says; NULL = nothing is */
	int n_signal_all; /* counts the calls */
	int n_alive;      /* containers not freed */
	/* An update that systemd is told of: its callback is kept for the test to call. */
	bool updates_later;
	void (*update_fn)(void *arg, const struct hk_err *err);
	void *update_arg;
};
extern struct fake fake;
