/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/hook_state.c — the state document of runtime-spec "State", as JSON text: for a hook's stdin, and inside of the
 * process state that a seccomp agent gets.
 */
#include <sys/types.h>

#include "oci/base/text.h"
#include "oci/hooks.h"

static void put_pid(struct hk_text *t, pid_t pid)
{
	hk_text_fmt(t, ",\"pid\":%d", pid);
}

static void put_state(struct hk_text *t, const struct oci_hook_state *s)
{
	hk_text_put(t, "{\"ociVersion\":");
	hk_text_json(t, s->version);
	hk_text_json_field(t, "id", s->id);
	hk_text_json_field(t, "status", s->status);
	if (s->pid > 0)
		put_pid(t, s->pid);
	hk_text_json_field(t, "bundle", s->bundle);
	if (s->annotations && s->annotations->n > 0) {
		hk_text_put(t, ",\"annotations\":{");
		for (size_t i = 0; i < s->annotations->n; i++) {
			hk_text_put(t, i ? "," : "");
			hk_text_json(t, s->annotations->v[i].key);
			hk_text_put(t, ":");
			hk_text_json(t, s->annotations->v[i].value);
		}
		hk_text_put(t, "}");
	}
	hk_text_put(t, "}");
}

int oci_hook_state_json(const struct oci_hook_state *s, char **ret, size_t *ret_len)
{
	struct hk_text t = { 0 };

	put_state(&t, s);
	return hk_text_take(&t, ret, ret_len);
}

int oci_process_state_json(const struct oci_process_state *p, char **ret, size_t *ret_len)
{
	struct hk_text t = { 0 };

	hk_text_put(&t, "{\"ociVersion\":");
	hk_text_json(&t, p->state->version);
	hk_text_put(&t, ",\"fds\":[\"seccompFd\"]");
	put_pid(&t, p->pid);
	if (p->metadata)
		hk_text_json_field(&t, "metadata", p->metadata);
	hk_text_put(&t, ",\"state\":");
	put_state(&t, p->state);
	hk_text_put(&t, "}");
	return hk_text_take(&t, ret, ret_len);
}
