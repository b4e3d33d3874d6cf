/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Field numbers and types of the messages, against bytes made by hand. Each case holds every field of a message in order, so
 * that packing what was unpacked must give the same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/cgroup1.pb-c.h"
#include "proto/cgroup2.pb-c.h"
#include "proto/envelope.h"
#include "proto/events.pb-c.h"
#include "proto/options.pb-c.h"
#include "proto/sandbox.pb-c.h"
#include "proto/task.pb-c.h"

/* Unpacks `bytes`, checks that they pack to themselves. The caller frees. */
static void *round_trip(const ProtobufCMessageDescriptor *type, const char *bytes, size_t len)
{
	ProtobufCMessage *m = ttrpc_unpack(type, (const uint8_t *)bytes, len);
	uint8_t *again;
	size_t n;

	assert_non_null(m);
	assert_int_equal(ttrpc_pack(m, &again, &n), 0);
	assert_int_equal(n, len);
	assert_memory_equal(again, bytes, len);
	assert_int_equal(m->n_unknown_fields, 0);
	free(again);
	return m;
}
#define GET(var, type, desc, bytes) type *var = round_trip(&husk__##desc##__descriptor, bytes, sizeof(bytes) - 1)
#define PUT(var) protobuf_c_message_free_unpacked(&(var)->base, NULL)

/* Fields 1 and 2 of most requests. A hex escape would take a following letter a-f with it, hence the cut strings. */
#define ID_EXEC "\x0a\x01" "c\x12\x01" "e"

static void test_create(void **state)
{
	GET(m, Husk__Task__CreateTaskRequest, task__create_task_request,
	    "\x0a\x01" "c\x12\x02/b\x1a\x0f\x0a\x01t\x12\x01s\x1a\x01g\x22\x01o\x22\x01p\x1a\x03\x0a\x01u\x20\x01"
	    "\x2a\x01i\x32\x01o\x3a\x01" "e\x42\x01k\x4a\x01l\x52\x06\x0a\x01y\x12\x01z");
	GET(r, Husk__Task__CreateTaskResponse, task__create_task_response, "\x08\x07");

	(void)state;
	assert_string_equal(m->id, "c");
	assert_string_equal(m->bundle, "/b");
	assert_int_equal(m->n_rootfs, 2);
	assert_string_equal(m->rootfs[0]->type, "t");
	assert_string_equal(m->rootfs[0]->source, "s");
	assert_string_equal(m->rootfs[0]->target, "g");
	assert_int_equal(m->rootfs[0]->n_options, 2);
	assert_string_equal(m->rootfs[0]->options[1], "p");
	assert_string_equal(m->rootfs[1]->type, "u");
	assert_string_equal(m->rootfs[1]->source, "");
	assert_true(m->terminal);
	assert_string_equal(m->stdin, "i");
	assert_string_equal(m->stdout, "o");
	assert_string_equal(m->stderr, "e");
	assert_string_equal(m->checkpoint, "k");
	assert_string_equal(m->parent_checkpoint, "l");
	assert_string_equal(m->options->type_url, "y");
	assert_int_equal(m->options->value.data[0], 'z');
	assert_int_equal(r->pid, 7);
	PUT(m);
	PUT(r);
}

static void test_exec(void **state)
{
	GET(m, Husk__Task__ExecProcessRequest, task__exec_process_request,
	    ID_EXEC "\x18\x01\x22\x01i\x2a\x01o\x32\x01r\x3a\x03\x0a\x01y");

	(void)state;
	assert_string_equal(m->id, "c");
	assert_string_equal(m->exec_id, "e");
	assert_true(m->terminal);
	assert_string_equal(m->stdin, "i");
	assert_string_equal(m->stdout, "o");
	assert_string_equal(m->stderr, "r");
	assert_string_equal(m->spec->type_url, "y");
	PUT(m);
}

static void test_state(void **state)
{
	GET(q, Husk__Task__StateRequest, task__state_request, ID_EXEC);
	GET(m, Husk__Task__StateResponse, task__state_response,
	    "\x0a\x01" "c\x12\x02/b\x18\xac\x02\x20\x03\x2a\x01i\x32\x01o\x3a\x01r\x40\x01\x48\x89\x01"
	    "\x52\x04\x08\x05\x10\x06\x5a\x01" "e");

	(void)state;
	assert_string_equal(q->exec_id, "e");
	assert_string_equal(m->id, "c");
	assert_string_equal(m->bundle, "/b");
	assert_int_equal(m->pid, 300);
	assert_int_equal(m->status, HUSK__TASK__STATUS__STOPPED);
	assert_string_equal(m->stdin, "i");
	assert_string_equal(m->stdout, "o");
	assert_string_equal(m->stderr, "r");
	assert_true(m->terminal);
	assert_int_equal(m->exit_status, 137);
	assert_int_equal(m->exited_at->seconds, 5);
	assert_int_equal(m->exited_at->nanos, 6);
	assert_string_equal(m->exec_id, "e");
	assert_int_equal(HUSK__TASK__STATUS__CREATED, 1);
	assert_int_equal(HUSK__TASK__STATUS__RUNNING, 2);
	assert_int_equal(HUSK__TASK__STATUS__PAUSED, 4);
	assert_int_equal(HUSK__TASK__STATUS__PAUSING, 5);
	PUT(q);
	PUT(m);
}

static void test_start_delete_wait(void **state)
{
	GET(s, Husk__Task__StartRequest, task__start_request, ID_EXEC);
	GET(sr, Husk__Task__StartResponse, task__start_response, "\x08\x07");
	GET(d, Husk__Task__DeleteRequest, task__delete_request, ID_EXEC);
	GET(dr, Husk__Task__DeleteResponse, task__delete_response, "\x08\x07\x10\x08\x1a\x02\x08\x09");
	GET(w, Husk__Task__WaitRequest, task__wait_request, ID_EXEC);
	GET(wr, Husk__Task__WaitResponse, task__wait_response, "\x08\x08\x12\x02\x08\x09");

	(void)state;
	assert_string_equal(s->id, "c");
	assert_string_equal(s->exec_id, "e");
	assert_int_equal(sr->pid, 7);
	assert_string_equal(d->id, "c");
	assert_string_equal(d->exec_id, "e");
	assert_int_equal(dr->pid, 7);
	assert_int_equal(dr->exit_status, 8);
	assert_int_equal(dr->exited_at->seconds, 9);
	assert_string_equal(w->id, "c");
	assert_string_equal(w->exec_id, "e");
	assert_int_equal(wr->exit_status, 8);
	assert_int_equal(wr->exited_at->seconds, 9);
	PUT(s);
	PUT(sr);
	PUT(d);
	PUT(dr);
	PUT(w);
	PUT(wr);
}

static void test_kill_closeio_resize(void **state)
{
	GET(k, Husk__Task__KillRequest, task__kill_request, ID_EXEC "\x18\x0f\x20\x01");
	GET(c, Husk__Task__CloseIORequest, task__close_iorequest, ID_EXEC "\x18\x01");
	GET(r, Husk__Task__ResizePtyRequest, task__resize_pty_request, ID_EXEC "\x18\x50\x20\x19");

	(void)state;
	assert_string_equal(k->id, "c");
	assert_string_equal(k->exec_id, "e");
	assert_int_equal(k->signal, 15);
	assert_true(k->all);
	assert_string_equal(c->id, "c");
	assert_string_equal(c->exec_id, "e");
	assert_true(c->stdin);
	assert_string_equal(r->exec_id, "e");
	assert_int_equal(r->width, 80);
	assert_int_equal(r->height, 25);
	PUT(k);
	PUT(c);
	PUT(r);
}

static void test_one_id(void **state)
{
	GET(a, Husk__Task__PidsRequest, task__pids_request, "\x0a\x01" "c");
	GET(b, Husk__Task__StatsRequest, task__stats_request, "\x0a\x01" "c");
	GET(c, Husk__Task__ConnectRequest, task__connect_request, "\x0a\x01" "c");
	GET(d, Husk__Task__PauseRequest, task__pause_request, "\x0a\x01" "c");
	GET(e, Husk__Task__ResumeRequest, task__resume_request, "\x0a\x01" "c");
	GET(f, Husk__Task__ShutdownRequest, task__shutdown_request, "\x0a\x01" "c\x10\x01");

	(void)state;
	assert_string_equal(a->id, "c");
	assert_string_equal(b->id, "c");
	assert_string_equal(c->id, "c");
	assert_string_equal(d->id, "c");
	assert_string_equal(e->id, "c");
	assert_string_equal(f->id, "c");
	assert_true(f->now);
	PUT(a);
	PUT(b);
	PUT(c);
	PUT(d);
	PUT(e);
	PUT(f);
}

static void test_pids_stats_connect(void **state)
{
	GET(p, Husk__Task__PidsResponse, task__pids_response, "\x0a\x02\x08\x07\x0a\x07\x08\x08\x12\x03\x0a\x01t");
	GET(s, Husk__Task__StatsResponse, task__stats_response, "\x0a\x03\x0a\x01t");
	GET(c, Husk__Task__ConnectResponse, task__connect_response, "\x08\x07\x10\x08\x1a\x01v");

	(void)state;
	assert_int_equal(p->n_processes, 2);
	assert_int_equal(p->processes[0]->pid, 7);
	assert_null(p->processes[0]->info);
	assert_string_equal(p->processes[1]->info->type_url, "t");
	assert_string_equal(s->stats->type_url, "t");
	assert_int_equal(c->shim_pid, 7);
	assert_int_equal(c->task_pid, 8);
	assert_string_equal(c->version, "v");
	PUT(p);
	PUT(s);
	PUT(c);
}

static void test_checkpoint_update(void **state)
{
	GET(c, Husk__Task__CheckpointTaskRequest, task__checkpoint_task_request, "\x0a\x01" "c\x12\x01p\x1a\x03\x0a\x01t");
	GET(u, Husk__Task__UpdateTaskRequest, task__update_task_request,
	    "\x0a\x01" "c\x12\x03\x0a\x01t\x1a\x06\x0a\x01k\x12\x01v");
	GET(o, Husk__Options__CheckpointOptions, options__checkpoint_options,
	    "\x08\x01\x10\x01\x18\x01\x20\x01\x28\x01\x32\x01n\x3a\x01m\x42\x01i\x4a\x01w\x52\x01p");
	GET(d, Husk__Options__ProcessDetails, options__process_details, "\x0a\x01" "e");

	(void)state;
	assert_string_equal(c->path, "p");
	assert_string_equal(c->options->type_url, "t");
	assert_string_equal(u->resources->type_url, "t");
	assert_string_equal(u->annotations[0]->key, "k");
	assert_string_equal(u->annotations[0]->value, "v");
	assert_true(o->exit && o->open_tcp && o->external_unix_sockets && o->terminal && o->file_locks);
	assert_string_equal(o->empty_namespaces[0], "n");
	assert_string_equal(o->cgroups_mode, "m");
	assert_string_equal(o->image_path, "i");
	assert_string_equal(o->work_path, "w");
	assert_string_equal(o->parent_path, "p");
	assert_string_equal(d->exec_id, "e");
	PUT(c);
	PUT(u);
	PUT(o);
	PUT(d);
}

static void test_events_of_a_life(void **state)
{
	GET(c, Husk__Events__TaskCreate, events__task_create,
	    "\x0a\x01" "c\x12\x02/b\x1a\x03\x0a\x01t\x22\x0b\x0a\x01i\x12\x01o\x1a\x01r\x20\x01\x2a\x01k\x30\x07");
	GET(s, Husk__Events__TaskStart, events__task_start, "\x0a\x01" "c\x10\x07");
	GET(x, Husk__Events__TaskExit, events__task_exit, ID_EXEC "\x18\x07\x20\x08\x2a\x02\x08\x09");
	GET(d, Husk__Events__TaskDelete, events__task_delete, "\x0a\x01" "c\x10\x07\x18\x08\x22\x02\x08\x09\x2a\x01" "e");

	(void)state;
	assert_string_equal(c->container_id, "c");
	assert_string_equal(c->bundle, "/b");
	assert_string_equal(c->rootfs[0]->type, "t");
	assert_string_equal(c->io->stdin, "i");
	assert_string_equal(c->io->stdout, "o");
	assert_string_equal(c->io->stderr, "r");
	assert_true(c->io->terminal);
	assert_string_equal(c->checkpoint, "k");
	assert_int_equal(c->pid, 7);
	assert_string_equal(s->container_id, "c");
	assert_int_equal(s->pid, 7);
	assert_string_equal(x->container_id, "c");
	assert_string_equal(x->id, "e");
	assert_int_equal(x->pid, 7);
	assert_int_equal(x->exit_status, 8);
	assert_int_equal(x->exited_at->seconds, 9);
	assert_string_equal(d->container_id, "c");
	assert_int_equal(d->pid, 7);
	assert_int_equal(d->exit_status, 8);
	assert_int_equal(d->exited_at->seconds, 9);
	assert_string_equal(d->id, "e");
	PUT(c);
	PUT(s);
	PUT(x);
	PUT(d);
}

static void test_other_events(void **state)
{
	GET(o, Husk__Events__TaskOOM, events__task_oom, "\x0a\x01" "c");
	GET(a, Husk__Events__TaskExecAdded, events__task_exec_added, ID_EXEC);
	GET(s, Husk__Events__TaskExecStarted, events__task_exec_started, ID_EXEC "\x18\x07");
	GET(p, Husk__Events__TaskPaused, events__task_paused, "\x0a\x01" "c");
	GET(r, Husk__Events__TaskResumed, events__task_resumed, "\x0a\x01" "c");
	GET(k, Husk__Events__TaskCheckpointed, events__task_checkpointed, "\x0a\x01" "c\x12\x01k");
	GET(f, Husk__Events__ForwardRequest, events__forward_request,
	    "\x0a\x0f\x0a\x02\x08\x09\x12\x01n\x1a\x01t\x22\x03\x0a\x01y");

	(void)state;
	assert_string_equal(o->container_id, "c");
	assert_string_equal(a->container_id, "c");
	assert_string_equal(a->exec_id, "e");
	assert_string_equal(s->container_id, "c");
	assert_string_equal(s->exec_id, "e");
	assert_int_equal(s->pid, 7);
	assert_string_equal(p->container_id, "c");
	assert_string_equal(r->container_id, "c");
	assert_string_equal(k->container_id, "c");
	assert_string_equal(k->checkpoint, "k");
	assert_int_equal(f->envelope->timestamp->seconds, 9);
	assert_string_equal(f->envelope->namespace_, "n");
	assert_string_equal(f->envelope->topic, "t");
	assert_string_equal(f->envelope->event->type_url, "y");
	PUT(o);
	PUT(a);
	PUT(s);
	PUT(p);
	PUT(r);
	PUT(k);
	PUT(f);
}

static void test_sandbox(void **state)
{
	GET(c, Husk__Sandbox__CreateSandboxRequest, sandbox__create_sandbox_request,
	    "\x0a\x01s\x12\x02/b\x1a\x03\x0a\x01t\x22\x03\x0a\x01y\x2a\x01n\x32\x06\x0a\x01k\x12\x01v");
	GET(s, Husk__Sandbox__StartSandboxResponse, sandbox__start_sandbox_response,
	    "\x08\x07\x12\x02\x08\x09\x1a\x03\x0a\x01y");
	GET(p, Husk__Sandbox__PlatformResponse, sandbox__platform_response,
	    "\x0a\x0f\x0a\x01o\x12\x01" "a\x1a\x01v\x22\x01w\x2a\x01" "f");
	GET(q, Husk__Sandbox__StopSandboxRequest, sandbox__stop_sandbox_request, "\x0a\x01s\x10\x05");
	GET(w, Husk__Sandbox__WaitSandboxResponse, sandbox__wait_sandbox_response, "\x08\x08\x12\x02\x08\x09");
	GET(t, Husk__Sandbox__SandboxStatusResponse, sandbox__sandbox_status_response,
	    "\x0a\x01s\x10\x07\x1a\x01S\x22\x06\x0a\x01k\x12\x01v\x2a\x02\x08\x01\x32\x02\x08\x02\x3a\x03\x0a\x01y");
	GET(m, Husk__Sandbox__SandboxMetricsResponse, sandbox__sandbox_metrics_response,
	    "\x0a\x0c\x0a\x02\x08\x01\x12\x01i\x1a\x03\x0a\x01y");

	(void)state;
	assert_string_equal(c->sandbox_id, "s");
	assert_string_equal(c->bundle_path, "/b");
	assert_string_equal(c->rootfs[0]->type, "t");
	assert_string_equal(c->options->type_url, "y");
	assert_string_equal(c->netns_path, "n");
	assert_string_equal(c->annotations[0]->key, "k");
	assert_int_equal(s->pid, 7);
	assert_int_equal(s->created_at->seconds, 9);
	assert_string_equal(s->spec->type_url, "y");
	assert_string_equal(p->platform->os, "o");
	assert_string_equal(p->platform->architecture, "a");
	assert_string_equal(p->platform->variant, "v");
	assert_string_equal(p->platform->os_version, "w");
	assert_string_equal(p->platform->os_features[0], "f");
	assert_int_equal(q->timeout_secs, 5);
	assert_int_equal(w->exit_status, 8);
	assert_int_equal(w->exited_at->seconds, 9);
	assert_int_equal(t->pid, 7);
	assert_string_equal(t->state, "S");
	assert_string_equal(t->info[0]->value, "v");
	assert_int_equal(t->created_at->seconds, 1);
	assert_int_equal(t->exited_at->seconds, 2);
	assert_string_equal(t->extra->type_url, "y");
	assert_string_equal(m->metrics->id, "i");
	assert_int_equal(m->metrics->timestamp->seconds, 1);
	assert_string_equal(m->metrics->data->type_url, "y");
	PUT(c);
	PUT(s);
	PUT(p);
	PUT(q);
	PUT(w);
	PUT(t);
	PUT(m);
}

/* Varint fields 1 to n, each with its own number as the value. */
static size_t numbered(char *out, unsigned int n)
{
	size_t len = 0;

	for (unsigned int i = 1; i <= n; i++) {
		unsigned int tag = i << 3;

		if (tag >= 0x80)
			out[len++] = (char)((tag & 0x7f) | 0x80);
		out[len++] = (char)(tag >= 0x80 ? tag >> 7 : tag);
		out[len++] = (char)i;
	}
	return len;
}

static void test_cgroup2(void **state)
{
	char bytes[128];
	Husk__Cgroup2__MemoryStat *mem = round_trip(&husk__cgroup2__memory_stat__descriptor, bytes, numbered(bytes, 37));
	GET(m, Husk__Cgroup2__Metrics, cgroup2__metrics,
	    "\x0a\x04\x08\x01\x10\x02\x12\x14\x08\x01\x10\x02\x18\x03\x20\x04\x28\x05\x30\x06\x3a\x04\x0a\x02\x20\x07\x40\x08"
	    "\x22\x03\x80\x02\x09\x2a\x09\x0a\x07\x0a\x01" "d\x10\x01\x18\x02\x32\x0e\x0a\x0c\x08\x08\x10\x01\x18\x02\x20\x03"
	    "\x28\x04\x30\x05\x3a\x09\x08\x01\x10\x02\x1a\x01p\x20\x03\x42\x0c\x08\x01\x10\x02\x18\x03\x20\x04\x28\x05\x30\x06"
	    "\x4a\x13\x0a\x01n\x10\x01\x18\x02\x20\x03\x28\x04\x30\x05\x38\x06\x40\x07\x48\x08");

	(void)state;
	assert_int_equal(mem->anon, 1);
	assert_int_equal(mem->file_writeback, 9);
	assert_int_equal(mem->inactive_file, 13);
	assert_int_equal(mem->slab_unreclaimable, 17);
	assert_int_equal(mem->pgmajfault, 19);
	assert_int_equal(mem->pgrefill, 23);
	assert_int_equal(mem->pglazyfreed, 29);
	assert_int_equal(mem->usage, 32);
	assert_int_equal(mem->usage_limit, 33);
	assert_int_equal(mem->swap_limit, 35);
	assert_int_equal(mem->swap_max_usage, 37);
	assert_int_equal(m->pids->limit, 2);
	assert_int_equal(m->cpu->usage_usec, 1);
	assert_int_equal(m->cpu->throttled_usec, 6);
	assert_int_equal(m->cpu->psi->some->total, 7);
	assert_int_equal(m->cpu->nr_bursts, 8);
	assert_int_equal(m->memory->usage, 9);
	assert_int_equal(m->rdma->current[0]->hca_objects, 2);
	assert_int_equal(m->io->usage[0]->major, 8);
	assert_int_equal(m->io->usage[0]->wios, 5);
	assert_string_equal(m->hugetlb[0]->pagesize, "p");
	assert_int_equal(m->hugetlb[0]->failcnt, 3);
	assert_int_equal(m->memory_events->oom_kill, 5);
	assert_int_equal(m->network[0]->rx_dropped, 4);
	assert_int_equal(m->network[0]->tx_bytes, 5);
	PUT(mem);
	PUT(m);
}

static void test_cgroup1(void **state)
{
	char bytes[128];
	Husk__Cgroup1__MemoryStat *mem = round_trip(&husk__cgroup1__memory_stat__descriptor, bytes, numbered(bytes, 32));
	GET(m, Husk__Cgroup1__Metrics, cgroup1__metrics,
	    "\x0a\x09\x08\x01\x10\x02\x18\x03\x22\x01p\x12\x04\x08\x01\x10\x02\x1a\x14\x0a\x0a\x08\x01\x10\x02\x18\x03\x22\x02\x04\x05"
	    "\x12\x06\x08\x01\x10\x02\x18\x03\x22\x0b\x8a\x02\x08\x08\x01\x10\x02\x18\x03\x20\x04\x2a\x0e\x0a\x0c\x0a\x01R\x12\x01" "d"
	    "\x18\x08\x20\x01\x28\x02\x42\x0a\x08\x01\x10\x02\x18\x03\x20\x04\x28\x05\x4a\x06\x08\x01\x10\x02\x18\x03");

	(void)state;
	assert_int_equal(mem->cache, 1);
	assert_int_equal(mem->pg_maj_fault, 10);
	assert_int_equal(mem->inactive_file, 13);
	assert_int_equal(mem->hierarchical_memory_limit, 16);
	assert_int_equal(mem->total_cache, 18);
	assert_int_equal(mem->total_inactive_file, 30);
	assert_int_equal(mem->total_unevictable, 32);
	assert_int_equal(m->hugetlb[0]->failcnt, 3);
	assert_string_equal(m->hugetlb[0]->pagesize, "p");
	assert_int_equal(m->pids->current, 1);
	assert_int_equal(m->cpu->usage->kernel, 2);
	assert_int_equal(m->cpu->usage->n_per_cpu, 2);
	assert_int_equal(m->cpu->usage->per_cpu[1], 5);
	assert_int_equal(m->cpu->throttling->throttled_time, 3);
	assert_int_equal(m->memory->usage->limit, 1);
	assert_int_equal(m->memory->usage->usage, 2);
	assert_int_equal(m->memory->usage->max, 3);
	assert_string_equal(m->blkio->io_service_bytes_recursive[0]->op, "R");
	assert_int_equal(m->blkio->io_service_bytes_recursive[0]->value, 2);
	assert_int_equal(m->cgroup_stats->nr_io_wait, 5);
	assert_int_equal(m->memory_oom_control->oom_kill, 3);
	PUT(mem);
	PUT(m);
}

static void test_unknown_fields_are_kept_apart(void **state)
{
	/* KillRequest with fields 100 (bytes that are no UTF-8), 101 (varint) and 102 (64 bit) of some later version */
	static const char bytes[] = "\x0a\x01" "c\xa2\x06\x02\xff\xfe\xa8\x06\x01\xb1\x06" "12345678\x18\x09";
	Husk__Task__KillRequest *m = (void *)ttrpc_unpack(&husk__task__kill_request__descriptor, (const uint8_t *)bytes,
	    sizeof(bytes) - 1);

	(void)state;
	assert_non_null(m);
	assert_string_equal(m->id, "c");
	assert_int_equal(m->signal, 9);
	assert_int_equal(m->base.n_unknown_fields, 3);
	PUT(m);
}

static void test_absent_fields(void **state)
{
	Husk__Task__CreateTaskRequest *m = (void *)ttrpc_unpack(&husk__task__create_task_request__descriptor, NULL, 0);

	(void)state;
	assert_non_null(m);
	assert_string_equal(m->id, "");
	assert_string_equal(m->stdin, "");
	assert_null(m->options);
	assert_int_equal(m->n_rootfs, 0);
	PUT(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_start_delete_wait),
		cmocka_unit_test(test_kill_closeio_resize),
		cmocka_unit_test(test_one_id),
		cmocka_unit_test(test_pids_stats_connect),
		cmocka_unit_test(test_checkpoint_update),
		cmocka_unit_test(test_events_of_a_life),
		cmocka_unit_test(test_other_events),
		cmocka_unit_test(test_sandbox),
		cmocka_unit_test(test_cgroup2),
		cmocka_unit_test(test_cgroup1),
		cmocka_unit_test(test_unknown_fields_are_kept_apart),
		cmocka_unit_test(test_absent_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
