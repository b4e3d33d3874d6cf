/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/unit.c — where systemd has its part in a container's life: while the set-up process waits (the unit around it, then what systemd
 * cannot write), and when resources are updated (files first, which may refuse, then the unit's properties).
 */
#include "oci/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "oci/base/auto.h"
#include "oci/cgroup_systemd.h"
#include "oci/launch.h"

static void on_started(void *arg, const struct hk_err *err)
{
	struct oci_launch *l = arg;
	struct hk_err mine;

	l->helper = NULL;
	if (err) {
		if (err->kind == HK_EXISTS)
			l->is_unit_ours = false;
		oci_launch_fail(l, err);
		return;
	}
	if (oci_cgroup_adopt(l->c->cgroup, &l->c->spec->resources, &mine) < 0 ||
	    oci_cgroup_give(l->c->cgroup, l->c->spec, l->c->host_uid, &mine) < 0) {
		oci_launch_fail(l, &mine);
		return;
	}
	l->state = LS_SETTING_UP;
	hk_timer_set(l->c->engine->loop, &l->timer, OCI_LAUNCH_TIMEOUT_MS);
	if (oci_sync_send(l->sock, OCI_MSG_DONE, 0, -1) < 0)
		oci_launch_fail_step(l, HK_INTERNAL, EPIPE, "the set-up process died");
}

void oci_unit_begin(struct oci_launch *l)
{
	const struct oci_container *c = l->c;
	const struct oci_unit_start o = {
		.id = c->id, .pid = l->first_pid, .resources = &c->spec->resources, .annotations = &c->spec->annotations
	};
	struct hk_err err;

	if (l->is_exec || l->is_unit_ours || !oci_cgroup_is_unit(c->cgroup)) {
		(void)hk_fail(&err, HK_INTERNAL, EPROTO, "the set-up process asks for a unit");
		oci_launch_fail(l, &err);
		return;
	}
	hk_timer_cancel(&l->timer); /* the helper has a deadline of its own */
	l->state = LS_SCOPE;
	l->is_unit_ours = true;
	if (oci_unit_start(c->engine, c->cgroup, &o, on_started, l, &l->helper, &err) < 0) {
		l->is_unit_ours = false;
		oci_launch_fail(l, &err);
	}
}

/* ---- update ---- */

struct oci_update {
	struct oci_container *c;
	struct oci_helper *helper;
	oci_done_fn *fn;
	void *arg;
};

void oci_update_abort(struct oci_update *u)
{
	if (!u)
		return;
	oci_helper_abort(u->helper);
	u->c->update = NULL;
	free(u);
}

static void on_updated(void *arg, const struct hk_err *err)
{
	struct oci_update *u = arg;
	oci_done_fn *fn = u->fn;
	void *fn_arg = u->arg;

	u->helper = NULL;
	oci_update_abort(u);
	fn(fn_arg, err);
}

int oci_update(struct oci_container *c, const struct oci_resources *r, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	struct oci_resources settled = *r;
	struct oci_update *u;
	int rc;

	if (!oci_cgroup_is_unit(c->cgroup))
		return oci_cgroup_update(c->cgroup, r, err);
	if (c->update)
		return hk_fail_text(err, HK_BAD_STATE, EALREADY, "the container's resources are being updated already");
	u = calloc(1, sizeof(*u));
	if (!u)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "update");
	*u = (struct oci_update){ .c = c, .fn = fn, .arg = arg };
	c->update = u;
	oci_unit_settle(c->cgroup, &settled);
	rc = oci_cgroup_update(c->cgroup, &settled, err);
	if (rc == 0)
		rc = oci_unit_update(c->engine, c->cgroup, &settled, on_updated, u, &u->helper, err);
	if (rc == 0)
		return 1;
	oci_update_abort(u);
	return rc;
}
