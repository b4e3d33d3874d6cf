/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/view.c — the pod as people see it: what each container and process is and what it waits for, in words. Reads only. */
#include "sandbox/view.h"

#include "oci/base/list.h"
#include "sandbox/pod.h"
#include "sandbox/podsandbox_priv.h"
#include "sandbox/stdio.h"

static uint32_t count(const struct hk_list *l)
{
	uint32_t n = 0;

	hk_list_for(pos, l)
		n++;
	return n;
}

static const char *reason_of(const struct sbx_container *c)
{
	switch (c->state) {
	case CT_CREATING:
		return "its set-up (mounts, cgroup, hooks) or the readers of its stdio";
	case CT_STARTING:
		return "hooks of the start, or execve";
	case CT_PAUSING:
		return "the cgroup's freezer";
	case CT_RESUMING:
		return "the cgroup's thaw";
	case CT_STOPPING:
		return execs_are_alive(c) ? "execs that are still alive after the init's death" : "the rest of its cgroup to die";
	case CT_DELETING:
		return "its cgroup to go, poststop hooks, or the last bytes of its stdio";
	case CT_CREATED:
	case CT_RUNNING:
	case CT_PAUSED:
	case CT_STOPPED:
	case CT_N_STATES:
		break;
	}
	return "";
}

static struct sbx_view view_of(const struct sbx_process *proc)
{
	const struct sbx_reply r = process_reply(proc);
	const struct sbx_container *c = proc->c;
	struct sbx_view v = {
		.id = c->id,
		.exec_id = proc->exec_id,
		.bundle = c->bundle,
		.state = proc->exec_id ? proc_state_name(proc->state) : ct_state_name(c->state),
		.waits_for = proc->exec_id ? "" : reason_of(c),
		.pid = proc->pid,
		.exit_status = r.exit_status,
		.n_waiters = count(&proc->waiters) + count(&proc->deletes),
		.dropped_bytes = sbx_stdio_dropped(proc->io),
		.oom_kills = c->oom.kills,
		.oom_limit = c->oom_limit,
		.oom_limit_cgroup_len = c->oom_limit_len,
		.oci = c->oci,
	};

	if (proc->is_opening)
		v.waits_for = "readers of its stdio";
	return v;
}

static struct sbx_view view_of_sandbox(const struct sbx_podsandbox *b)
{
	static const char *const reasons[SB_N_STATES] = {
		[SB_STARTING] = "its process to start",
		[SB_STOPPING] = "its process to die, or its cgroup to go",
		[SB_REMOVING] = "the last container to go",
	};

	return (struct sbx_view){
		.id = b->id,
		.bundle = b->bundle,
		.state = sb_state_name(b->state),
		.waits_for = reasons[b->state] ? reasons[b->state] : "",
		.pid = b->pid,
		.exit_status = b->is_told ? (uint32_t)b->x.status : 0,
		.n_waiters = count(&b->waiters) + count(&b->stops) + count(&b->shutdowns),
		.oci = b->oci,
	};
}

void sbx_each(const struct sbx_pod *p, sbx_view_fn *fn, void *arg)
{
	if (p->sandbox) {
		const struct sbx_view v = view_of_sandbox(p->sandbox);

		fn(arg, &v);
	}
	hk_list_for(n, &p->containers) {
		const struct sbx_container *c = hk_container_of(n, struct sbx_container, node);
		struct sbx_view v = view_of(&c->init);

		fn(arg, &v);
		hk_list_for(e, &c->execs) {
			v = view_of(hk_container_of(e, struct sbx_process, node));
			fn(arg, &v);
		}
	}
}
