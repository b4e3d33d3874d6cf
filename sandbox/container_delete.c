/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/container_delete.c — Task.Delete of an init: from created (which kills it first) or stopped. Kernel objects go first, stdio second:
 * a process that still holds a stream delays nothing but its own last bytes.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "oci/base/err.h"
#include "oci/base/log.h"
#include "sandbox/checkpoint.h"
#include "sandbox/stdio.h"
#include "sandbox/store.h"

enum { DRAIN_MS = 1000 };

static void on_drained(void *arg)
{
	struct sbx_container *c = arg;
	struct sbx_reply r = process_reply(&c->init);

	sbx_stdio_free(c->init.io);
	c->init.io = NULL;
	store_remove_container(c->pod->dir, c->id);
	pod_tell(c, SBX_EV_DELETE, &c->init);
	hk_list_remove(&c->node); /* whoever is told below must not find it any more */
	calls_answer(&c->init.deletes, &r, NULL);
	container_free(c);
}

static void on_removed(void *arg, const struct hk_err *remove_err)
{
	struct sbx_container *c = arg;

	if (remove_err) { /* the record stays: Delete can be tried again */
		const struct hk_err copy = *remove_err;

		(void)ct_step(&c->state, CE_DELETE_FAILED, NULL);
		calls_answer(&c->init.deletes, NULL, &copy);
		return;
	}
	sbx_stdio_exited(c->init.io); /* the engine has seen the last of it die */
	sbx_stdio_drain(c->init.io, DRAIN_MS, on_drained, c);
}

void container_delete_next(struct sbx_container *c)
{
	struct hk_err err;

	if (hk_list_is_empty(&c->init.deletes))
		return;
	if (c->state == CT_CREATED && c->restore) { /* as below, but nobody has to die */
		restore_give_up(c, SIGKILL);
		return;
	}
	if (c->state == CT_CREATED) { /* never started: its death comes back here through container_settle */
		(void)hk_child_kill(&c->init.child, SIGKILL);
		return;
	}
	if (c->state != CT_STOPPED || ct_step(&c->state, CE_DELETE, NULL) < 0)
		return;
	hk_timer_cancel(&c->kill_timer); /* the engine kills what is left */
	if (oci_remove(c->oci, on_removed, c, &err) < 0)
		on_removed(c, &err);
}

void container_delete(struct sbx_container *c, struct sbx_done done)
{
	enum ct_state as = c->state;
	struct hk_err err;

	/* Created, or on its way to an end: may wait. Anything else is the table's to judge. */
	if (as != CT_CREATED && as != CT_STOPPING && as != CT_DELETING && ct_step(&as, CE_DELETE, &err) < 0) {
		done_fail(done, &err);
		return;
	}
	if (calls_add(&c->init.deletes, done))
		container_delete_next(c);
}
