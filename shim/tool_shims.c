/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_shims.c — all pods of the node: state files, then a question to each shim. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/err.h"
#include "oci/base/str.h"
#include "proto/names.h"
#include "sandbox/view.h"
#include "shim/tool.h"

enum { ANSWER_MS = 3000, ID_MIN = 4 };

static void ask(struct tool_shim *s)
{
	const struct tool_call call = { .socket = s->socket, .service = TTRPC_SERVICE_NODE, .method = "State",
		.answer = &husk__node__state_response__descriptor, .timeout_ms = ANSWER_MS };
	ProtobufCMessage *answer = NULL;
	const int r = tool_call(&call, &answer, s->reason, sizeof(s->reason));

	if (r == 0)
		s->state = (Husk__Node__StateResponse *)answer;
	s->is_dead = r == -ECONNREFUSED;
	if (r == -ENOSYS)
		(void)hk_fmt(s->reason, sizeof(s->reason), "its shim is of a version that tells nothing");
}

static void on_group(void *arg, const struct sbx_group *g)
{
	struct tool_shims *l = arg;
	struct tool_shim *v = realloc(l->v, (l->n + 1) * sizeof(*v));
	struct tool_shim *s;

	if (!v)
		return;
	l->v = v;
	s = &v[l->n];
	*s = (struct tool_shim){ .ns = strdup(g->ns), .group = strdup(g->group), .socket = strdup(g->socket), .pid = g->pid };
	s->orphans = calloc(g->n_containers + 1, sizeof(*s->orphans));
	l->n++;
	if (!s->ns || !s->group || !s->socket || !s->orphans)
		return;
	ask(s);
	for (size_t i = 0; !s->state && i < g->n_containers; i++) {
		struct tool_orphan *o = &s->orphans[s->n_orphans++];

		(void)hk_fmt(o->id, sizeof(o->id), "%s", sbx_group_container(g, i, &o->pid));
	}
}

static int by_name(const void *a, const void *b)
{
	char x[300], y[300];
	const int r = strcmp(tool_shim_name(a, x, sizeof(x)), tool_shim_name(b, y, sizeof(y)));

	return r ? r : strcmp(((const struct tool_shim *)a)->group, ((const struct tool_shim *)b)->group);
}

int tool_shims_get(const struct tool_options *o, struct tool_shims *ret, struct hk_err *err)
{
	int r;

	*ret = (struct tool_shims){ 0 };
	if (access(o->run_dir, F_OK) == 0 && access(o->run_dir, R_OK | X_OK) < 0)
		return hk_fail_text(err, HK_INVALID, EACCES, "%s is readable by root only: run this as root", o->run_dir);
	r = sbx_groups_each(o->run_dir, on_group, ret);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "read %s", o->run_dir);
	if (ret->n > 1)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return 0;
}

void tool_shims_done(struct tool_shims *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct tool_shim *s = &l->v[i];

		free(s->ns);
		free(s->group);
		free(s->socket);
		free(s->orphans);
		if (s->state)
			protobuf_c_message_free_unpacked(&s->state->base, NULL);
	}
	free(l->v);
	*l = (struct tool_shims){ 0 };
}

const char *tool_shim_name(const struct tool_shim *s, char *buf, size_t size)
{
	if (s->state && s->state->pod[0])
		(void)hk_fmt(buf, size, "%s/%s", s->state->pod_namespace, s->state->pod);
	else
		(void)hk_fmt(buf, size, "%s", s->group);
	return buf;
}

bool tool_container_matches(const Husk__Node__Container *c, const char *text)
{
	return hk_has_prefix(c->id, text) || hk_streq(c->name, text);
}

/* Kubernetes has a container deleted as soon as it ended: what happened to it is what the history has (of ids, the first bytes). */
static bool history_matches(const struct tool_shim *s, const char *text)
{
	for (size_t i = 0; s->state && strlen(text) >= ID_MIN && i < s->state->n_events; i++) {
		const char *id = s->state->events[i]->id;

		if (id[0] && (hk_has_prefix(id, text) || hk_has_prefix(text, id)))
			return true;
	}
	return false;
}

bool tool_shim_matches(const struct tool_shim *s, const char *text)
{
	char name[300];

	if (hk_has_prefix(s->group, text) || hk_streq(tool_shim_name(s, name, sizeof(name)), text))
		return true;
	if (s->state && s->state->pod[0] && hk_streq(s->state->pod, text))
		return true;
	for (size_t i = 0; s->state && i < s->state->n_containers; i++)
		if (tool_container_matches(s->state->containers[i], text))
			return true;
	for (size_t i = 0; i < s->n_orphans; i++)
		if (hk_has_prefix(s->orphans[i].id, text))
			return true;
	return history_matches(s, text);
}

int tool_nobody(const char *command, const char *what, const struct tool_shims *l)
{
	struct hk_err err;
	size_t n_mute = 0;

	for (size_t i = 0; i < l->n; i++)
		n_mute += !l->v[i].state;
	if (n_mute == 0)
		(void)hk_fail_text(&err, HK_NOT_FOUND, ENOENT, "%s: no pod or container \"%.100s\" of husk's on this node (`husk ps` lists them)", command, what);
	else
		(void)hk_fail_text(&err, HK_NOT_FOUND, ENOENT, "%s: nobody says \"%.100s\" is theirs, but %zu shim%s no answer (`husk ps` has their ids)", command,
		    what, n_mute, n_mute == 1 ? " gives" : "s give");
	return tool_fail(&err);
}

void tool_no_pod(void)
{
	(void)fprintf(stderr, "husk: no pod of husk's runs on this node\n");
}
