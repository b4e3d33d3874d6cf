/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/hook_state.c — the state document of runtime-spec "State", as JSON text: for a hook's stdin, and inside of the
 * process state that a seccomp agent gets.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/str.h"
#include "oci/hooks.h"

struct text {
	char *v;
	size_t n, room;
	bool failed;
};

static void put(struct text *t, const char *s, size_t len)
{
	if (t->n + len + 1 > t->room) {
		size_t room = (t->n + len + 1) * 2;
		char *v = realloc(t->v, room);

		if (!v) {
			t->failed = true;
			return;
		}
		t->v = v;
		t->room = room;
	}
	memcpy(t->v + t->n, s, len);
	t->n += len;
	t->v[t->n] = 0;
}

static void put_raw(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

static void put_string(struct text *t, const char *s)
{
	char esc[8];

	put_raw(t, "\"");
	for (; s && *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\') {
			put_raw(t, "\\");
			put(t, s, 1);
		} else if (c < 0x20) {
			(void)hk_fmt(esc, sizeof(esc), "\\u%04x", c);
			put_raw(t, esc);
		} else {
			put(t, s, 1);
		}
	}
	put_raw(t, "\"");
}

static void put_field(struct text *t, const char *name, const char *value)
{
	put_raw(t, ",");
	put_string(t, name);
	put_raw(t, ":");
	put_string(t, value);
}

static void put_pid(struct text *t, pid_t pid)
{
	char text[32];

	(void)hk_fmt(text, sizeof(text), ",\"pid\":%d", pid);
	put_raw(t, text);
}

static void put_state(struct text *t, const struct oci_hook_state *s)
{
	put_raw(t, "{\"ociVersion\":");
	put_string(t, s->version);
	put_field(t, "id", s->id);
	put_field(t, "status", s->status);
	if (s->pid > 0)
		put_pid(t, s->pid);
	put_field(t, "bundle", s->bundle);
	if (s->annotations && s->annotations->n > 0) {
		put_raw(t, ",\"annotations\":{");
		for (size_t i = 0; i < s->annotations->n; i++) {
			put_raw(t, i ? "," : "");
			put_string(t, s->annotations->v[i].key);
			put_raw(t, ":");
			put_string(t, s->annotations->v[i].value);
		}
		put_raw(t, "}");
	}
	put_raw(t, "}");
}

static int finish(struct text *t, char **ret, size_t *ret_len)
{
	if (t->failed) {
		free(t->v);
		return -ENOMEM;
	}
	*ret = t->v;
	*ret_len = t->n;
	return 0;
}

int oci_hook_state_json(const struct oci_hook_state *s, char **ret, size_t *ret_len)
{
	struct text t = { 0 };

	put_state(&t, s);
	return finish(&t, ret, ret_len);
}

int oci_process_state_json(const struct oci_process_state *p, char **ret, size_t *ret_len)
{
	struct text t = { 0 };

	put_raw(&t, "{\"ociVersion\":");
	put_string(&t, p->state->version);
	put_raw(&t, ",\"fds\":[\"seccompFd\"]");
	put_pid(&t, p->pid);
	if (p->metadata)
		put_field(&t, "metadata", p->metadata);
	put_raw(&t, ",\"state\":");
	put_state(&t, p->state);
	put_raw(&t, "}");
	return finish(&t, ret, ret_len);
}
