/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/state.c — see state.h. An empty cell is a refusal. */
#include "sandbox/state.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

#include "oci/base/err.h"
#include "oci/base/log.h"

/* next + 1, so that 0 is "refused". */
#define TO(s) ((s) + 1)

static const unsigned char ct_table[CT_N_STATES][CT_N_EVENTS] = {
	[CT_CREATING] = { [CE_CREATED] = TO(CT_CREATED) },
	[CT_CREATED] = {
		[CE_START] = TO(CT_STARTING), [CE_INIT_DEAD] = TO(CT_STOPPING), [CE_EXEC] = TO(CT_CREATED),
		[CE_EXEC_START] = TO(CT_CREATED), [CE_UPDATE] = TO(CT_CREATED),
	},
	[CT_STARTING] = {
		[CE_STARTED] = TO(CT_RUNNING), [CE_START_FAILED] = TO(CT_CREATED), [CE_EXEC] = TO(CT_STARTING),
		[CE_EXEC_START] = TO(CT_STARTING), [CE_UPDATE] = TO(CT_STARTING),
	},
	[CT_RUNNING] = {
		[CE_PAUSE] = TO(CT_PAUSING), [CE_INIT_DEAD] = TO(CT_STOPPING), [CE_EXEC] = TO(CT_RUNNING),
		[CE_EXEC_START] = TO(CT_RUNNING), [CE_UPDATE] = TO(CT_RUNNING), [CE_CHECKPOINT] = TO(CT_RUNNING),
	},
	[CT_PAUSING] = {
		[CE_PAUSED] = TO(CT_PAUSED), [CE_PAUSE_FAILED] = TO(CT_RUNNING), [CE_INIT_DEAD] = TO(CT_STOPPING),
		[CE_UPDATE] = TO(CT_PAUSING),
	},
	[CT_PAUSED] = {
		[CE_RESUME] = TO(CT_RESUMING), [CE_INIT_DEAD] = TO(CT_STOPPING), [CE_UPDATE] = TO(CT_PAUSED),
		[CE_CHECKPOINT] = TO(CT_PAUSED),
	},
	[CT_RESUMING] = {
		[CE_RESUMED] = TO(CT_RUNNING), [CE_RESUME_FAILED] = TO(CT_PAUSED), [CE_INIT_DEAD] = TO(CT_STOPPING),
		[CE_UPDATE] = TO(CT_RESUMING),
	},
	[CT_STOPPING] = { [CE_STOPPED] = TO(CT_STOPPED) },
	[CT_STOPPED] = { [CE_DELETE] = TO(CT_DELETING) },
	[CT_DELETING] = { [CE_DELETE_FAILED] = TO(CT_STOPPED) },
};

static const char *const ct_names[CT_N_STATES] = {
	[CT_CREATING] = "creating", [CT_CREATED] = "created",   [CT_STARTING] = "starting", [CT_RUNNING] = "running",
	[CT_PAUSING] = "pausing",   [CT_PAUSED] = "paused",     [CT_RESUMING] = "paused",   [CT_STOPPING] = "stopped",
	[CT_STOPPED] = "stopped",   [CT_DELETING] = "deleted",
};

/* The words of containerd's own shim, where it has some. */
static const char *const ct_refusals[CT_N_EVENTS] = {
	[CE_CREATED] = "cannot finish the creation of a %s container",
	[CE_START] = "cannot start a %s process",
	[CE_STARTED] = "cannot call a %s process started",
	[CE_START_FAILED] = "cannot fail the start of a %s process",
	[CE_PAUSE] = "cannot pause a %s container",
	[CE_PAUSED] = "cannot call a %s container paused",
	[CE_PAUSE_FAILED] = "cannot fail the pause of a %s container",
	[CE_RESUME] = "cannot resume a %s container",
	[CE_RESUMED] = "cannot call a %s container resumed",
	[CE_RESUME_FAILED] = "cannot fail the resume of a %s container",
	[CE_INIT_DEAD] = "the init of a %s container cannot die",
	[CE_STOPPED] = "cannot call a %s container stopped",
	[CE_DELETE] = "cannot delete a %s process",
	[CE_DELETE_FAILED] = "cannot fail the deletion of a %s process",
	[CE_EXEC] = "cannot exec in a %s state",
	[CE_EXEC_START] = "cannot start an exec in a %s container",
	[CE_UPDATE] = "cannot update a %s container",
	[CE_CHECKPOINT] = "cannot checkpoint a %s container",
};

static const unsigned char proc_table[PROC_N_STATES][PROC_N_EVENTS] = {
	[PROC_NEW] = { [PE_START] = TO(PROC_STARTING), [PE_DELETE] = TO(PROC_DELETING) },
	[PROC_STARTING] = { [PE_RUNS] = TO(PROC_RUNNING), [PE_FAILED] = TO(PROC_NEW) },
	[PROC_RUNNING] = { [PE_DIED] = TO(PROC_DEAD) },
	[PROC_DEAD] = { [PE_TELL] = TO(PROC_TOLD) },
	[PROC_TOLD] = { [PE_DELETE] = TO(PROC_DELETING) },
};

static const char *const proc_names[PROC_N_STATES] = {
	[PROC_NEW] = "created", [PROC_STARTING] = "running", [PROC_RUNNING] = "running",
	[PROC_DEAD] = "stopped", [PROC_TOLD] = "stopped", [PROC_DELETING] = "deleted",
};

static const char *const proc_refusals[PROC_N_EVENTS] = {
	[PE_START] = "cannot start a %s process",   [PE_RUNS] = "cannot call a %s process running",
	[PE_FAILED] = "cannot fail a %s process",   [PE_DIED] = "a %s process cannot die",
	[PE_TELL] = "cannot tell the exit of a %s process", [PE_DELETE] = "cannot delete a %s process",
};

static const unsigned char sb_table[SB_N_STATES][SB_N_EVENTS] = {
	[SB_CREATED] = { [SE_START] = TO(SB_STARTING), [SE_STOP] = TO(SB_STOPPING) },
	[SB_STARTING] = { [SE_STARTED] = TO(SB_READY), [SE_START_FAILED] = TO(SB_CREATED) },
	[SB_READY] = { [SE_STOP] = TO(SB_STOPPING), [SE_DEAD] = TO(SB_STOPPING) },
	[SB_STOPPING] = { [SE_DEAD] = TO(SB_STOPPING), [SE_GONE] = TO(SB_STOPPED) },
	[SB_STOPPED] = { [SE_REMOVE] = TO(SB_REMOVING) },
};

static const char *const sb_names[SB_N_STATES] = {
	[SB_CREATED] = "created", [SB_STARTING] = "starting", [SB_READY] = "ready",
	[SB_STOPPING] = "stopping", [SB_STOPPED] = "stopped", [SB_REMOVING] = "removed",
};

static const char *const sb_refusals[SB_N_EVENTS] = {
	[SE_START] = "cannot start a %s sandbox",     [SE_STARTED] = "cannot call a %s sandbox started",
	[SE_START_FAILED] = "cannot fail the start of a %s sandbox", [SE_STOP] = "cannot stop a %s sandbox",
	[SE_DEAD] = "the process of a %s sandbox cannot die", [SE_GONE] = "cannot call a %s sandbox stopped",
	[SE_REMOVE] = "cannot remove a %s sandbox",
};

const char *sb_state_name(enum sb_state s)
{
	return sb_names[s];
}

const char *ct_state_name(enum ct_state s)
{
	return ct_names[s];
}

const char *proc_state_name(enum proc_state s)
{
	return proc_names[s];
}

/* What a client must not do twice or too early is told of a running process, whatever else is going on with it. */
static const char *ct_word(enum ct_state s, enum ct_event e)
{
	const bool is_up = s >= CT_STARTING && s <= CT_RESUMING;

	return is_up && (e == CE_START || e == CE_DELETE) ? "running" : ct_names[s];
}

int ct_step(enum ct_state *state, enum ct_event event, struct hk_err *err)
{
	const unsigned char to = ct_table[*state][event];

	if (!to && (event == CE_PAUSE || event == CE_RESUME) && (*state == CT_CREATED || *state == CT_STARTING))
		return hk_fail_text(err, HK_BAD_STATE, EINVAL, "cannot %s task in created state", event == CE_PAUSE ? "pause" : "resume");
	if (!to && event == CE_RESUME && *state == CT_RUNNING)
		return hk_fail_text(err, HK_BAD_STATE, EINVAL, "cannot resume a running process");
	if (!to) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		return hk_fail_text(err, HK_BAD_STATE, EINVAL, ct_refusals[event], ct_word(*state, event));
#pragma GCC diagnostic pop
	}
	*state = to - 1;
	return 0;
}

int proc_step(enum proc_state *state, enum proc_event event, struct hk_err *err)
{
	const unsigned char to = proc_table[*state][event];

	if (!to) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		return hk_fail_text(err, HK_BAD_STATE, EINVAL, proc_refusals[event], proc_names[*state]);
#pragma GCC diagnostic pop
	}
	*state = to - 1;
	return 0;
}

int sb_step(enum sb_state *state, enum sb_event event, struct hk_err *err)
{
	const unsigned char to = sb_table[*state][event];

	if (!to) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		return hk_fail_text(err, HK_BAD_STATE, EINVAL, sb_refusals[event], sb_names[*state]);
#pragma GCC diagnostic pop
	}
	*state = to - 1;
	return 0;
}

enum sbx_status ct_status(enum ct_state s)
{
	assert(s < CT_N_STATES);
	switch (s) {
	case CT_CREATING:
		return SBX_UNKNOWN;
	case CT_CREATED:
	case CT_STARTING:
		return SBX_CREATED;
	case CT_RUNNING:
	case CT_STOPPING: /* told as stopped once its exit is */
		return SBX_RUNNING;
	case CT_PAUSING:
		return SBX_PAUSING;
	case CT_PAUSED:
	case CT_RESUMING:
		return SBX_PAUSED;
	case CT_STOPPED:
	case CT_DELETING:
		return SBX_STOPPED;
	case CT_N_STATES:
		break;
	}
	return SBX_UNKNOWN;
}
