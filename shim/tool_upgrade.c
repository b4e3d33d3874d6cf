/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_upgrade.c — `husk upgrade`: every shim asked for is replaced by another program, one after the other. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/oci.h"
#include "proto/envelope.h"
#include "proto/names.h"
#include "shim/cmd.h"
#include "shim/tool.h"

enum { ANSWER_MS = 40000, COLUMNS = 6 }; /* more than a shim takes to refuse */

struct result {
	Husk__Node__UpgradeResponse *done; /* owned; NULL: refused */
	char text[1024];
	bool is_skipped; /* dead already */
};

static void result_done(struct result *r)
{
	if (r->done)
		protobuf_c_message_free_unpacked(&r->done->base, NULL);
}

/* As the shim will open it. The default is what `husk` itself was installed with. */
static int find_program(const struct tool_options *o, char ret[PATH_MAX], struct hk_err *err)
{
	char found[PATH_MAX];
	int r = 0;

	if (!o->binary)
		r = oci_program_find(SHIM_PROGRAM, found, sizeof(found), err);
	else if (hk_fmt(found, sizeof(found), "%s", o->binary) < 0)
		r = hk_fail_text(err, HK_INVALID, ENAMETOOLONG, "--binary: the path is too long");
	if (r < 0)
		return r;
	return realpath(found, ret) ? 0 : hk_fail(err, HK_INVALID, errno, "find %s", found);
}

static struct result upgrade(const struct tool_shim *s, const char *program)
{
	Husk__Node__UpgradeRequest request;
	struct tool_call call = { .socket = s->socket, .service = TTRPC_SERVICE_NODE, .method = "Upgrade", .request = &request.base,
		.answer = &husk__node__upgrade_response__descriptor, .timeout_ms = ANSWER_MS };
	struct result ret = { .is_skipped = s->is_dead };
	ProtobufCMessage *answer = NULL;
	int r;

	if (s->is_dead) {
		(void)hk_fmt(ret.text, sizeof(ret.text), "%s", s->reason);
		return ret;
	}
	husk__node__upgrade_request__init(&request);
	request.path = ttrpc_str(program);
	r = tool_call(&call, &answer, ret.text, sizeof(ret.text));
	if (r == 0)
		ret.done = (Husk__Node__UpgradeResponse *)answer;
	if (r == -ENOSYS)
		(void)hk_fmt(ret.text, sizeof(ret.text), "too old to be upgraded in place: it stays as it is until its pod ends");
	return ret;
}

static void version_text(const char *version, const char *revision, char buf[100])
{
	(void)hk_fmt(buf, 100, version[0] ? "%.40s (%.40s)" : "-", version, revision);
}

static void add_row(struct table *t, const struct tool_shim *s, const struct result *r)
{
	char name[300], pid[16], from[100] = "-", to[100] = "-", held[24] = "-";

	(void)hk_fmt(pid, sizeof(pid), "%u", s->pid);
	if (r->done) {
		version_text(r->done->old_version, r->done->old_revision, from);
		version_text(r->done->version, r->done->revision, to);
		(void)hk_fmt(held, sizeof(held), "%" PRIu64 " ms", r->done->held_ms);
	} else if (s->state) {
		version_text(s->state->version, s->state->revision, from);
	}
	table_add(t, (const char *const[]){ tool_shim_name(s, name, sizeof(name)), pid, from, to, held,
	    r->done ? "upgraded" : r->text }, COLUMNS);
}

static void add_json(struct json *j, const struct tool_shim *s, const struct result *r)
{
	json_begin(j, NULL, '{');
	json_str(j, "group", s->group);
	json_str(j, "namespace", s->ns);
	json_str(j, "pod", s->state ? s->state->pod : "");
	json_str(j, "podNamespace", s->state ? s->state->pod_namespace : "");
	json_u64(j, "pid", s->pid);
	json_bool(j, "upgraded", r->done != NULL);
	json_str(j, "reason", r->done ? "" : r->text);
	json_str(j, "from", r->done ? r->done->old_version : s->state ? s->state->version : "");
	json_str(j, "fromRevision", r->done ? r->done->old_revision : s->state ? s->state->revision : "");
	json_str(j, "to", r->done ? r->done->version : "");
	json_str(j, "toRevision", r->done ? r->done->revision : "");
	json_u64(j, "heldMilliseconds", r->done ? r->done->held_ms : 0);
	json_end(j, '}');
}

/* How many were not upgraded. */
static size_t upgrade_all(const struct tool_options *o, const struct tool_shims *l, const char *program, size_t *ret_n)
{
	hk_auto(table_done) struct table t = { 0 };
	struct json j = { .f = stdout };
	size_t n_refused = 0;

	table_add(&t, (const char *const[]){ "POD", "SHIM", "FROM", "TO", "HELD", "RESULT" }, COLUMNS);
	if (o->json)
		json_begin(&j, NULL, '[');
	for (size_t i = 0; i < l->n; i++) {
		const struct tool_shim *s = &l->v[i];
		hk_auto(result_done) struct result r = { 0 };

		if (!o->all && !tool_shim_matches(s, o->what))
			continue;
		r = upgrade(s, program);
		++*ret_n;
		n_refused += !r.done && !(r.is_skipped && o->all); /* what is dead has nothing old about it */
		if (o->json)
			add_json(&j, s, &r);
		else
			add_row(&t, s, &r);
	}
	if (o->json) {
		json_end(&j, ']');
		(void)fputc('\n', stdout);
	} else if (*ret_n) {
		table_print(&t, stdout);
	}
	return n_refused;
}

static int begin(const struct tool_options *o, char program[PATH_MAX], struct tool_shims *ret, struct hk_err *err)
{
	int r;

	if (o->all == (o->what[0] != '\0'))
		return hk_fail_text(err, HK_INVALID, EINVAL, "upgrade: name a pod, or give --all");
	if (geteuid() != 0)
		return hk_fail_text(err, HK_INVALID, EPERM, "upgrade: only root may replace a shim: run this as root");
	r = find_program(o, program, err);
	return r < 0 ? r : tool_shims_get(o, ret, err);
}

int tool_upgrade(const struct tool_options *o)
{
	hk_auto(tool_shims_done) struct tool_shims l = { 0 };
	char program[PATH_MAX];
	struct hk_err err;
	size_t n = 0, n_refused;

	if (begin(o, program, &l, &err) < 0)
		return tool_fail(&err);
	n_refused = upgrade_all(o, &l, program, &n);
	if (n == 0 && !o->all) {
		(void)hk_fail_text(&err, HK_NOT_FOUND, ENOENT, "upgrade: no pod or container \"%.100s\" of husk's on this node (`husk ps` lists them)", o->what);
		return tool_fail(&err);
	}
	if (n == 0 && !o->json)
		(void)fprintf(stderr, "husk: no pod of husk's runs on this node\n");
	return n_refused ? 1 : 0;
}
