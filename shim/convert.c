/* SPDX-License-Identifier: Apache-2.0 */
/* shim/convert.c — Task messages and events from and to sandbox/'s structs; hk_kind to ttrpc status codes. Stats: convert_stats.c. */
#include "shim/convert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "proto/dispatch.h"
#include "proto/events.pb-c.h"
#include "proto/names.h"
#include "proto/options.pb-c.h"
#include "proto/task.pb-c.h"
#include "shim/events.h"

/* Generated structs have char * for what is only read when a message is encoded. */
static char *str(const char *s)
{
	return (char *)(uintptr_t)(s ? s : "");
}

/* ---- requests ---- */

/* By number, since descriptors made for size have no names. */
static const char *string_field(const ProtobufCMessage *m, unsigned int number)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(m->descriptor, number);
	const char *s;

	if (!f || f->type != PROTOBUF_C_TYPE_STRING || f->label == PROTOBUF_C_LABEL_REPEATED)
		return "";
	memcpy(&s, (const char *)m + f->offset, sizeof(s));
	return s ? s : "";
}

static bool has_exec_id(const ProtobufCMessageDescriptor *d)
{
	static const ProtobufCMessageDescriptor *const types[] = {
		&husk__task__start_request__descriptor, &husk__task__state_request__descriptor,
		&husk__task__delete_request__descriptor, &husk__task__exec_process_request__descriptor,
		&husk__task__kill_request__descriptor, &husk__task__wait_request__descriptor,
		&husk__task__close_iorequest__descriptor, &husk__task__resize_pty_request__descriptor,
	};

	for (size_t i = 0; i < HK_ARRAY_SIZE(types); i++)
		if (types[i] == d)
			return true;
	return false;
}

struct convert_ids convert_ids(const ProtobufCMessage *m)
{
	return (struct convert_ids){ .id = string_field(m, 1), .exec_id = has_exec_id(m->descriptor) ? string_field(m, 2) : "" };
}

static int convert_options(const Husk__Types__Any *any, struct rt_options *ret, struct hk_err *err)
{
	struct rt_options_reason reason = { "" };
	int r;

	*ret = (struct rt_options){ 0 };
	if (!any)
		return 0;
	r = rt_options_decode(ret, any->type_url, any->value.data, any->value.len, &reason);
	if (r == -EOPNOTSUPP)
		return hk_fail_text(err, HK_INVALID, EINVAL, "options of unknown type \"%.100s\"", any->type_url);
	if (r == -EBADMSG)
		return hk_fail_text(err, HK_INVALID, EINVAL, "options: %s", reason.text);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "decode options");
	if (ret->config_path && ret->config_path[0])
		log_warn("runtime option ConfigPath has no use here", LOG_STR("path", ret->config_path));
	return 0;
}

static int convert_mounts(const Husk__Task__CreateTaskRequest *m, struct convert_create *c, struct hk_err *err)
{
	size_t n_words = 0;
	const char **word;

	for (size_t i = 0; i < m->n_rootfs; i++)
		n_words += m->rootfs[i]->n_options + 1;
	c->mounts = calloc(m->n_rootfs + 1, sizeof(*c->mounts));
	c->words = calloc(n_words + 1, sizeof(*c->words));
	if (!c->mounts || !c->words)
		return hk_fail(err, HK_EXHAUSTED, ENOMEM, "convert rootfs mounts");
	word = c->words;
	for (size_t i = 0; i < m->n_rootfs; i++) {
		const Husk__Types__Mount *from = m->rootfs[i];

		c->mounts[i] = (struct oci_rootfs_mount){ .type = from->type, .source = from->source, .target = from->target,
			.options = { .v = word, .n = from->n_options } };
		for (size_t k = 0; k < from->n_options; k++)
			*word++ = from->options[k];
		word++;
	}
	return 0;
}

int convert_create(const ProtobufCMessage *m, struct convert_create *ret, struct hk_err *err)
{
	const Husk__Task__CreateTaskRequest *t = (const void *)m;
	hk_auto(convert_create_done) struct convert_create c = { 0 };
	int r;

	r = convert_options(t->options, &c.options, err);
	if (r == 0)
		r = convert_mounts(t, &c, err);
	if (r < 0)
		return r;
	c.request = (struct sbx_create){
		.id = t->id,
		.bundle = t->bundle,
		.rootfs = c.mounts,
		.n_rootfs = t->n_rootfs,
		.terminal = t->terminal,
		.stdin_path = t->stdin,
		.stdout_path = t->stdout,
		.stderr_path = t->stderr,
		.checkpoint = t->checkpoint,
		.criu_work_path = c.options.criu_work_path,
		.no_pivot = c.options.no_pivot_root,
		.no_new_keyring = c.options.no_new_keyring,
		/* runc's message cannot say "not given"; root is who owns the pipes anyway. */
		.has_io_owner = c.options.io_uid != 0 || c.options.io_gid != 0,
		.io_uid = c.options.io_uid,
		.io_gid = c.options.io_gid,
		.traceparent = "",
	};
	*ret = c;
	c = (struct convert_create){ 0 };
	return 0;
}

void convert_create_done(struct convert_create *c)
{
	free(c->mounts);
	free(c->words);
	rt_options_done(&c->options);
	*c = (struct convert_create){ 0 };
}

int convert_checkpoint(const ProtobufCMessage *m, struct convert_checkpoint *ret, struct hk_err *err)
{
	const Husk__Task__CheckpointTaskRequest *t = (const void *)m;
	const Husk__Types__Any *any = t->options;
	Husk__Options__CheckpointOptions *o = NULL;

	if (any && any->type_url[0]) {
		if (!hk_streq(rt_type_name(any->type_url), TYPE_RUNC_CHECKPOINT))
			return hk_fail_text(err, HK_INVALID, EINVAL, "checkpoint options of unknown type \"%.100s\"", any->type_url);
		o = husk__options__checkpoint_options__unpack(NULL, any->value.len, any->value.data);
		if (!o)
			return hk_fail_text(err, HK_INVALID, EINVAL, "checkpoint options: malformed");
	}
	*ret = (struct convert_checkpoint){ .request = { .path = t->path }, .options = o ? &o->base : NULL };
	if (!o)
		return 0;
	if (!t->path[0])
		ret->request.path = o->image_path;
	ret->request.exit = o->exit;
	ret->request.open_tcp = o->open_tcp;
	ret->request.external_unix_sockets = o->external_unix_sockets;
	ret->request.file_locks = o->file_locks;
	ret->request.empty_namespaces = (struct oci_strv){ .v = (const char **)(uintptr_t)o->empty_namespaces, .n = o->n_empty_namespaces };
	ret->request.cgroups_mode = o->cgroups_mode;
	ret->request.work_path = o->work_path;
	return 0;
}

void convert_checkpoint_done(struct convert_checkpoint *c)
{
	if (c->options)
		protobuf_c_message_free_unpacked(c->options, NULL);
	c->options = NULL;
}

struct sbx_exec convert_exec(const ProtobufCMessage *m)
{
	const Husk__Task__ExecProcessRequest *t = (const void *)m;
	struct sbx_exec e = {
		.id = t->id,
		.exec_id = t->exec_id,
		.terminal = t->terminal,
		.stdin_path = t->stdin,
		.stdout_path = t->stdout,
		.stderr_path = t->stderr,
		.spec_json = "",
	};

	if (t->spec && t->spec->value.len > 0) {
		e.spec_json = (const char *)t->spec->value.data;
		e.spec_json_len = t->spec->value.len;
	}
	return e;
}

struct convert_kill convert_kill(const ProtobufCMessage *m)
{
	const Husk__Task__KillRequest *t = (const void *)m;

	return (struct convert_kill){ .signal = t->signal, .all = t->all };
}

struct convert_size convert_resize(const ProtobufCMessage *m)
{
	const Husk__Task__ResizePtyRequest *t = (const void *)m;

	return (struct convert_size){ .width = t->width, .height = t->height };
}

bool convert_close_stdin(const ProtobufCMessage *m)
{
	const Husk__Task__CloseIORequest *t = (const void *)m;

	return t->stdin;
}

const char *convert_resources(const ProtobufCMessage *m, size_t *ret_len)
{
	const Husk__Task__UpdateTaskRequest *t = (const void *)m;

	*ret_len = t->resources ? t->resources->value.len : 0;
	return t->resources ? (const char *)t->resources->value.data : NULL;
}

/* ---- replies ---- */

void *convert_timestamp(const struct timespec *at, void *buf)
{
	Husk__Types__Timestamp *m = buf;

	husk__types__timestamp__init(m);
	m->seconds = at->tv_sec;
	m->nanos = (int32_t)at->tv_nsec;
	return at->tv_sec || at->tv_nsec ? m : NULL;
}

void convert_reply_created(struct ttrpc_call *call, const struct sbx_reply *r)
{
	Husk__Task__CreateTaskResponse m;

	husk__task__create_task_response__init(&m);
	m.pid = r->pid;
	ttrpc_call_reply(call, &m.base);
}

void convert_reply_started(struct ttrpc_call *call, const struct sbx_reply *r)
{
	Husk__Task__StartResponse m;

	husk__task__start_response__init(&m);
	m.pid = r->pid;
	ttrpc_call_reply(call, &m.base);
}

void convert_reply_waited(struct ttrpc_call *call, const struct sbx_reply *r)
{
	Husk__Task__WaitResponse m;
	Husk__Types__Timestamp at;

	husk__task__wait_response__init(&m);
	m.exit_status = r->exit_status;
	m.exited_at = convert_timestamp(&r->exited_at, &at);
	ttrpc_call_reply(call, &m.base);
}

void convert_reply_deleted(struct ttrpc_call *call, const struct sbx_reply *r)
{
	Husk__Task__DeleteResponse m;
	Husk__Types__Timestamp at;

	husk__task__delete_response__init(&m);
	m.pid = r->pid;
	m.exit_status = r->exit_status;
	m.exited_at = convert_timestamp(&r->exited_at, &at);
	ttrpc_call_reply(call, &m.base);
}

void convert_reply_empty(struct ttrpc_call *call, const struct sbx_reply *r)
{
	(void)r;
	ttrpc_call_reply(call, NULL);
}

void convert_reply_state(struct ttrpc_call *call, const struct sbx_state *s)
{
	Husk__Task__StateResponse m;
	Husk__Types__Timestamp at;

	husk__task__state_response__init(&m);
	m.id = str(s->id);
	m.bundle = str(s->bundle);
	m.pid = s->pid;
	m.status = (Husk__Task__Status)s->status;
	m.stdin = str(s->stdin_path);
	m.stdout = str(s->stdout_path);
	m.stderr = str(s->stderr_path);
	m.terminal = s->terminal;
	m.exit_status = s->exit_status;
	m.exited_at = convert_timestamp(&s->exited_at, &at);
	ttrpc_call_reply(call, &m.base);
}

/* One process and what hangs below it, so that a list of them is one allocation. */
struct process {
	Husk__Task__ProcessInfo info;
	Husk__Types__Any any;
	uint8_t details[2 + 128]; /* ProcessDetails: tag, length, an id of at most 76 bytes */
};

static void fill_process(const struct sbx_pid *from, struct process *p)
{
	Husk__Options__ProcessDetails d;

	husk__options__process_details__init(&d);
	husk__task__process_info__init(&p->info);
	p->info.pid = (uint32_t)from->pid;
	if (!from->exec_id)
		return;
	d.exec_id = str(from->exec_id);
	if (protobuf_c_message_get_packed_size(&d.base) > sizeof(p->details))
		return;
	husk__types__any__init(&p->any);
	p->any.type_url = str(TYPE_RUNC_PROCESS_DETAILS);
	p->any.value.len = protobuf_c_message_pack(&d.base, p->details);
	p->any.value.data = p->details;
	p->info.info = &p->any;
}

void convert_reply_pids(struct ttrpc_call *call, const struct sbx_pid *pids, size_t n)
{
	Husk__Task__PidsResponse m;
	hk_autofree struct process *list = calloc(n + 1, sizeof(*list));
	hk_autofree Husk__Task__ProcessInfo **infos = calloc(n + 1, sizeof(Husk__Task__ProcessInfo *));

	husk__task__pids_response__init(&m);
	if (!list || !infos) {
		ttrpc_call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		fill_process(&pids[i], &list[i]);
		infos[i] = &list[i].info;
	}
	m.n_processes = n;
	m.processes = infos;
	ttrpc_call_reply(call, &m.base);
}

void convert_reply_connected(struct ttrpc_call *call, uint32_t shim_pid, uint32_t task_pid)
{
	Husk__Task__ConnectResponse m;

	husk__task__connect_response__init(&m);
	m.shim_pid = shim_pid;
	m.task_pid = task_pid;
	ttrpc_call_reply(call, &m.base);
}

/* ---- errors ---- */

static enum hk_kind kind_for(enum hk_kind kind, const char *method)
{
	if (strcmp(method, "Create") == 0 && (kind == HK_UNSUPPORTED || kind == HK_NOT_FOUND))
		return HK_INTERNAL;
	if (strcmp(method, "Connect") == 0 && kind == HK_UNSUPPORTED)
		return HK_INTERNAL;
	return kind;
}

enum ttrpc_code convert_code(enum hk_kind kind, const char *method)
{
	switch (kind_for(kind, method)) {
	case HK_INTERNAL:
		break;
	case HK_INVALID:
		return TTRPC_INVALID_ARGUMENT;
	case HK_NOT_FOUND:
		return TTRPC_NOT_FOUND;
	case HK_EXISTS:
		return TTRPC_ALREADY_EXISTS;
	case HK_BAD_STATE:
		return TTRPC_FAILED_PRECONDITION;
	case HK_UNSUPPORTED:
		return TTRPC_UNIMPLEMENTED;
	case HK_EXHAUSTED:
		return TTRPC_RESOURCE_EXHAUSTED;
	case HK_DEADLINE:
		return TTRPC_DEADLINE_EXCEEDED;
	case HK_UNAVAILABLE:
		return TTRPC_UNAVAILABLE;
	}
	return TTRPC_UNKNOWN;
}

static const char *class_suffix(enum hk_kind kind)
{
	return kind == HK_NOT_FOUND ? ": not found" : kind == HK_EXISTS ? ": already exists" : "";
}

/* True where the runtime itself tried and failed. */
static bool is_runtime_failure(enum hk_kind kind)
{
	return kind == HK_INTERNAL || kind == HK_INVALID || kind == HK_UNSUPPORTED || kind == HK_EXHAUSTED || kind == HK_DEADLINE;
}

void convert_text(const struct hk_err *err, const char *method, const char *prefix, char *ret, size_t size)
{
	enum hk_kind kind = kind_for(err->kind, method);
	const char *suffix = class_suffix(kind);

	if (!is_runtime_failure(kind))
		prefix = NULL;
	if (hk_has_suffix(err->text, suffix))
		suffix = "";
	(void)snprintf(ret, size, "%s%s%s%s", prefix ? prefix : "", prefix ? ": " : "", err->text, suffix);
}

void convert_fail(struct ttrpc_call *call, const struct hk_err *err, const char *prefix, const char *detail)
{
	const enum ttrpc_code code = convert_code(err->kind, call->method);
	char text[sizeof(err->text) + 80];
	hk_autofree char *both = NULL;

	convert_text(err, call->method, prefix, text, sizeof(text));
	if (detail && *detail && asprintf(&both, "%s\n%s", text, detail) < 0)
		both = NULL;
	ttrpc_call_fail(call, code, both ? both : text);
}

/* ---- events ---- */

static void publish_create(struct shim_events *events, const struct sbx_event *ev)
{
	Husk__Events__TaskCreate m;
	Husk__Events__TaskIO io;
	hk_autofree Husk__Types__Mount *mounts = calloc(ev->n_rootfs + 1, sizeof(*mounts));
	hk_autofree Husk__Types__Mount **list = calloc(ev->n_rootfs + 1, sizeof(Husk__Types__Mount *));

	husk__events__task_create__init(&m);
	husk__events__task_io__init(&io);
	for (size_t i = 0; mounts && list && i < ev->n_rootfs; i++) {
		const struct oci_rootfs_mount *from = &ev->rootfs[i];

		husk__types__mount__init(&mounts[i]);
		mounts[i].type = str(from->type);
		mounts[i].source = str(from->source);
		mounts[i].target = str(from->target);
		mounts[i].n_options = from->options.n;
		mounts[i].options = (char **)(uintptr_t)from->options.v;
		list[i] = &mounts[i];
		m.n_rootfs++;
	}
	m.rootfs = list;
	m.checkpoint = str(ev->checkpoint);
	m.container_id = str(ev->id);
	m.bundle = str(ev->bundle);
	io.stdin = str(ev->stdin_path);
	io.stdout = str(ev->stdout_path);
	io.stderr = str(ev->stderr_path);
	io.terminal = ev->terminal;
	m.io = &io;
	m.pid = ev->pid;
	shim_events_publish(events, SHIM_TASK_CREATE, &m.base);
}

static void publish_exit(struct shim_events *events, const struct sbx_event *ev)
{
	Husk__Events__TaskExit m;
	Husk__Types__Timestamp at;

	husk__events__task_exit__init(&m);
	m.container_id = str(ev->id);
	m.id = ev->exec_id && ev->exec_id[0] ? str(ev->exec_id) : str(ev->id);
	m.pid = ev->pid;
	m.exit_status = ev->exit_status;
	m.exited_at = convert_timestamp(&ev->exited_at, &at);
	shim_events_publish(events, SHIM_TASK_EXIT, &m.base);
}

static void publish_delete(struct shim_events *events, const struct sbx_event *ev)
{
	Husk__Events__TaskDelete m;
	Husk__Types__Timestamp at;

	husk__events__task_delete__init(&m);
	m.container_id = str(ev->id);
	m.id = str(ev->exec_id);
	m.pid = ev->pid;
	m.exit_status = ev->exit_status;
	m.exited_at = convert_timestamp(&ev->exited_at, &at);
	shim_events_publish(events, SHIM_TASK_DELETE, &m.base);
}

static void publish_exec(struct shim_events *events, const struct sbx_event *ev)
{
	Husk__Events__TaskExecAdded added;
	Husk__Events__TaskExecStarted started;

	husk__events__task_exec_added__init(&added);
	husk__events__task_exec_started__init(&started);
	if (ev->type == SBX_EV_EXEC_ADDED) {
		added.container_id = str(ev->id);
		added.exec_id = str(ev->exec_id);
		shim_events_publish(events, SHIM_TASK_EXEC_ADDED, &added.base);
		return;
	}
	started.container_id = str(ev->id);
	started.exec_id = str(ev->exec_id);
	started.pid = ev->pid;
	shim_events_publish(events, SHIM_TASK_EXEC_STARTED, &started.base);
}

void convert_event(struct shim_events *events, const struct sbx_event *ev)
{
	Husk__Events__TaskStart start;
	Husk__Events__TaskOOM oom;
	Husk__Events__TaskPaused paused;
	Husk__Events__TaskResumed resumed;

	husk__events__task_start__init(&start);
	husk__events__task_oom__init(&oom);
	husk__events__task_paused__init(&paused);
	husk__events__task_resumed__init(&resumed);
	start.container_id = oom.container_id = paused.container_id = resumed.container_id = str(ev->id);
	start.pid = ev->pid;
	switch (ev->type) {
	case SBX_EV_CREATE:
		publish_create(events, ev);
		return;
	case SBX_EV_START:
		shim_events_publish(events, SHIM_TASK_START, &start.base);
		return;
	case SBX_EV_EXIT:
		publish_exit(events, ev);
		return;
	case SBX_EV_DELETE:
		publish_delete(events, ev);
		return;
	case SBX_EV_OOM:
		shim_events_publish(events, SHIM_TASK_OOM, &oom.base);
		return;
	case SBX_EV_EXEC_ADDED:
	case SBX_EV_EXEC_STARTED:
		publish_exec(events, ev);
		return;
	case SBX_EV_PAUSED:
		shim_events_publish(events, SHIM_TASK_PAUSED, &paused.base);
		return;
	case SBX_EV_RESUMED:
		shim_events_publish(events, SHIM_TASK_RESUMED, &resumed.base);
		return;
	}
}
