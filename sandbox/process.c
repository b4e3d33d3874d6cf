/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/process.c — what an init and an exec have in common: stdio strings, the exit and those who wait for it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/err.h"
#include "sandbox/pod.h"
#include "sandbox/stdio.h"

void process_init(struct sbx_process *proc, struct sbx_container *c)
{
	proc->c = c;
	proc->state = PROC_NEW;
	hk_list_init(&proc->node);
	hk_list_init(&proc->waiters);
	hk_list_init(&proc->deletes);
	hk_child_init(&proc->child);
	hk_timer_init(&proc->linger, NULL, proc);
	hk_timer_init(&proc->tree_timer, NULL, proc);
	hk_timer_init(&proc->stuck, NULL, proc);
}

int process_set_paths(struct sbx_process *proc, const char *const paths[3], bool terminal)
{
	proc->terminal = terminal;
	for (int i = 0; i < 3; i++) {
		proc->paths[i] = strdup(paths[i] ? paths[i] : "");
		if (!proc->paths[i])
			return -ENOMEM;
	}
	return 0;
}

void process_done(struct sbx_process *proc)
{
	struct hk_err gone;

	(void)hk_fail_text(&gone, HK_NOT_FOUND, ENOENT, "process is deleted");
	calls_answer(&proc->waiters, NULL, &gone);
	calls_answer(&proc->deletes, NULL, &gone);
	hk_child_done(&proc->child);
	hk_timer_cancel(&proc->linger);
	hk_timer_cancel(&proc->tree_timer);
	hk_timer_cancel(&proc->stuck);
	sbx_stdio_free(proc->io);
	proc->io = NULL;
	for (int i = 0; i < 3; i++)
		free(proc->paths[i]);
	free(proc->exec_id);
	free(proc->spec_json);
}

struct sbx_reply process_reply(const struct sbx_process *proc)
{
	struct sbx_reply r = { .pid = proc->pid };

	if (proc->state >= PROC_DEAD) {
		r.exit_status = (uint32_t)proc->x.status;
		r.exited_at = proc->x.at;
	}
	return r;
}

void process_tell_exit(struct sbx_process *proc)
{
	struct sbx_reply r;

	(void)proc_step(&proc->state, PE_TELL, NULL);
	hk_timer_cancel(&proc->stuck);
	r = process_reply(proc);
	calls_answer(&proc->waiters, &r, NULL);
	pod_tell(proc->c, SBX_EV_EXIT, proc);
}
