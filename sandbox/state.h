/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/state.h — the lives of a container, a process and a sandbox as tables: state x event -> next state, or a refusal in words.
 * Private to sandbox/. Only ct_step, proc_step and sb_step change a state.
 */
#pragma once
#include "sandbox/sandbox.h"

enum ct_state {
	CT_CREATING,
	CT_CREATED,
	CT_STARTING,
	CT_RUNNING,
	CT_PAUSING,
	CT_PAUSED,
	CT_RESUMING,
	CT_STOPPING, /* the init is dead, execs or the rest of the cgroup are not yet */
	CT_STOPPED,  /* the exit is told */
	CT_DELETING,
	CT_N_STATES
};
enum ct_event {
	CE_CREATED,
	CE_START,
	CE_STARTED,
	CE_START_FAILED,
	CE_PAUSE,
	CE_PAUSED,
	CE_PAUSE_FAILED,
	CE_RESUME,
	CE_RESUMED,
	CE_RESUME_FAILED,
	CE_INIT_DEAD,
	CE_STOPPED,
	CE_DELETE,
	CE_DELETE_FAILED,
	CE_EXEC,       /* Task.Exec */
	CE_EXEC_START, /* Task.Start of an exec */
	CE_UPDATE,
	CE_CHECKPOINT,
	CT_N_EVENTS
};

enum proc_state { PROC_NEW, PROC_STARTING, PROC_RUNNING, PROC_DEAD, PROC_TOLD, PROC_DELETING, PROC_N_STATES };
enum proc_event { PE_START, PE_RUNS, PE_FAILED, PE_DIED, PE_TELL, PE_DELETE, PROC_N_EVENTS };

/* A sandbox without a pause image. */
enum sb_state {
	SB_CREATED,
	SB_STARTING,
	SB_READY,
	SB_STOPPING, /* its process is dying or dead, what it leaves is not gone yet */
	SB_STOPPED,
	SB_REMOVING, /* waits for the last container */
	SB_N_STATES
};
enum sb_event { SE_START, SE_STARTED, SE_START_FAILED, SE_STOP, SE_DEAD, SE_GONE, SE_REMOVE, SB_N_EVENTS };

/* Changes *state or refuses: HK_BAD_STATE with words that clients know ("cannot start a running process"). */
int ct_step(enum ct_state *state, enum ct_event event, struct hk_err *err);
int proc_step(enum proc_state *state, enum proc_event event, struct hk_err *err);
int sb_step(enum sb_state *state, enum sb_event event, struct hk_err *err);
/* As Task.State tells it. */
enum sbx_status ct_status(enum ct_state s);
const char *ct_state_name(enum ct_state s);
const char *proc_state_name(enum proc_state s);
const char *sb_state_name(enum sb_state s);
