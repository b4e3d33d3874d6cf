/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/options.c — an options Any into struct rt_options. CRI hands the `options` table of a runtime over as TOML
 * text, which containerd itself wrote: one `Key = value` a line at the top level. Keys that runc's table knows are read
 * strictly, all others are left alone.
 */
#include "proto/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/envelope.h"
#include "proto/names.h"
#include "proto/options.pb-c.h"

enum toml_type { TOML_BOOL, TOML_U32, TOML_STRING };
struct toml_key {
	const char *name;
	enum toml_type type;
	size_t offset;
};
/* clang-format off */
#define KEY(n, t, field) { .name = (n), .type = (t), .offset = offsetof(struct rt_options, field) }
/* clang-format on */
static const struct toml_key toml_keys[] = {
	KEY("NoPivotRoot", TOML_BOOL, no_pivot_root),
	KEY("NoNewKeyring", TOML_BOOL, no_new_keyring),
	KEY("SystemdCgroup", TOML_BOOL, systemd_cgroup),
	KEY("ShimCgroup", TOML_STRING, shim_cgroup),
	KEY("IoUid", TOML_U32, io_uid),
	KEY("IoGid", TOML_U32, io_gid),
	KEY("BinaryName", TOML_STRING, binary_name),
	KEY("Root", TOML_STRING, root),
};

struct slice {
	const char *p;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
	while (s.len > 0 && is_blank(s.p[0])) {
		s.p++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

static bool slice_is(struct slice s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* What may follow a value on its line. */
static bool is_rest(struct slice s)
{
	s = trim(s);
	return s.len == 0 || s.p[0] == '#';
}

static const char *parse_bool(struct slice v, bool *ret)
{
	for (int b = 0; b < 2; b++) {
		const char *word = b ? "true" : "false";
		size_t n = strlen(word);

		if (v.len >= n && memcmp(v.p, word, n) == 0 && is_rest((struct slice){ v.p + n, v.len - n })) {
			*ret = b;
			return NULL;
		}
	}
	return "not a boolean";
}

static const char *parse_u32(struct slice v, uint32_t *ret)
{
	uint64_t n = 0;
	size_t i = 0;

	while (i < v.len && v.p[i] >= '0' && v.p[i] <= '9') {
		n = n * 10 + (uint64_t)(v.p[i++] - '0');
		if (n > UINT32_MAX)
			return "out of range";
	}
	if (i == 0 || !is_rest((struct slice){ v.p + i, v.len - i }))
		return "not a number";
	*ret = (uint32_t)n;
	return NULL;
}

static char unescape(char c)
{
	static const char from[] = "\"\\bfnrt", to[] = "\"\\\b\f\n\r\t";
	const char *at = c ? strchr(from, c) : NULL;

	return at ? to[at - from] : '\0';
}

/* A basic string "..." with the one-letter escapes, or a literal one '...'. */
static const char *parse_string(struct slice v, char **ret)
{
	bool is_literal = v.len > 0 && v.p[0] == '\'';
	size_t i = 1, n = 0;
	char *s;

	if (v.len < 2 || (v.p[0] != '"' && !is_literal))
		return "not a string";
	s = malloc(v.len);
	if (!s)
		return "no memory";
	for (; i < v.len && v.p[i] != v.p[0]; i++) {
		char c = v.p[i];

		if (c == '\\' && !is_literal)
			c = i + 1 < v.len ? unescape(v.p[++i]) : '\0';
		if (c == '\0') {
			free(s);
			return "a string with an escape that is not supported";
		}
		s[n++] = c;
	}
	if (i >= v.len || !is_rest((struct slice){ v.p + i + 1, v.len - i - 1 })) {
		free(s);
		return "a string without an end";
	}
	s[n] = '\0';
	free(*ret);
	*ret = s;
	if (n == 0) {
		/* As in a message, empty is "not given": containerd writes out every key of the table. */
		free(s);
		*ret = NULL;
	}
	return NULL;
}

static const char *set_key(struct rt_options *o, const struct toml_key *k, struct slice value)
{
	void *field = (char *)o + k->offset;

	switch (k->type) {
	case TOML_BOOL:
		return parse_bool(value, field);
	case TOML_U32:
		return parse_u32(value, field);
	case TOML_STRING:
		return parse_string(value, field);
	}
	return "not known";
}

/* NULL, or what is wrong with the line, whose key is then *ret_key. */
static const char *parse_line(struct rt_options *o, struct slice line, const char **ret_key)
{
	const char *eq = memchr(line.p, '=', line.len);
	struct slice name, value;

	if (!eq)
		return NULL;
	name = trim((struct slice){ line.p, (size_t)(eq - line.p) });
	value = trim((struct slice){ eq + 1, line.len - (size_t)(eq + 1 - line.p) });
	if (name.len >= 2 && (name.p[0] == '"' || name.p[0] == '\'') && name.p[name.len - 1] == name.p[0]) {
		name.p++;
		name.len -= 2;
	}
	for (size_t i = 0; i < sizeof(toml_keys) / sizeof(toml_keys[0]); i++)
		if (slice_is(name, toml_keys[i].name)) {
			*ret_key = toml_keys[i].name;
			return set_key(o, &toml_keys[i], value);
		}
	return NULL;
}

static int parse_toml(struct rt_options *o, struct slice text, struct rt_options_reason *ret_reason)
{
	while (text.len > 0) {
		const char *nl = memchr(text.p, '\n', text.len);
		size_t n = nl ? (size_t)(nl - text.p) : text.len;
		struct slice line = trim((struct slice){ text.p, n });
		const char *key = "", *wrong;

		/* A table header: what follows belongs to somebody else. */
		if (line.len > 0 && line.p[0] == '[')
			return 0;
		wrong = line.len > 0 && line.p[0] != '#' ? parse_line(o, line, &key) : NULL;
		if (wrong) {
			(void)snprintf(ret_reason->text, sizeof(ret_reason->text), "%s: %s", key, wrong);
			return -EBADMSG;
		}
		text.p += nl ? n + 1 : n;
		text.len -= nl ? n + 1 : n;
	}
	return 0;
}

/* An empty string in a message means "not given". */
static int dup_string(char **ret, const char *s)
{
	if (s[0] == '\0')
		return 0;
	*ret = strdup(s);
	return *ret ? 0 : -ENOMEM;
}

static int from_runc(struct rt_options *o, const Husk__Options__RuncOptions *m)
{
	o->no_pivot_root = m->no_pivot_root;
	o->no_new_keyring = m->no_new_keyring;
	o->systemd_cgroup = m->systemd_cgroup;
	o->io_uid = m->io_uid;
	o->io_gid = m->io_gid;
	o->task_api_version = m->task_api_version;
	if (dup_string(&o->shim_cgroup, m->shim_cgroup) < 0 || dup_string(&o->binary_name, m->binary_name) < 0 ||
	    dup_string(&o->root, m->root) < 0 || dup_string(&o->criu_image_path, m->criu_image_path) < 0 ||
	    dup_string(&o->criu_work_path, m->criu_work_path) < 0 ||
	    dup_string(&o->task_api_address, m->task_api_address) < 0)
		return -ENOMEM;
	return 0;
}

static int decode_runc(struct rt_options *o, const uint8_t *value, size_t len, struct rt_options_reason *ret_reason)
{
	Husk__Options__RuncOptions *m = (void *)ttrpc_unpack(&husk__options__runc_options__descriptor, value, len);
	int r;

	if (!m) {
		(void)snprintf(ret_reason->text, sizeof(ret_reason->text), "not a %s message", TYPE_RUNC_OPTIONS);
		return -EBADMSG;
	}
	r = from_runc(o, m);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return r;
}

static int from_linux_create(struct rt_options *o, const Husk__Options__LinuxCreateOptions *m)
{
	o->no_pivot_root = m->no_pivot_root;
	o->no_new_keyring = m->no_new_keyring;
	o->io_uid = m->io_uid;
	o->io_gid = m->io_gid;
	if (dup_string(&o->shim_cgroup, m->shim_cgroup) < 0 || dup_string(&o->criu_image_path, m->criu_image_path) < 0 ||
	    dup_string(&o->criu_work_path, m->criu_work_path) < 0)
		return -ENOMEM;
	return 0;
}

static int decode_linux_create(struct rt_options *o, const uint8_t *value, size_t len, struct rt_options_reason *ret_reason)
{
	Husk__Options__LinuxCreateOptions *m =
	    (void *)ttrpc_unpack(&husk__options__linux_create_options__descriptor, value, len);
	int r;

	if (!m) {
		(void)snprintf(ret_reason->text, sizeof(ret_reason->text), "not a %s message", TYPE_LINUX_CREATE_OPTIONS);
		return -EBADMSG;
	}
	r = from_linux_create(o, m);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return r;
}

static int decode_runtime(struct rt_options *o, const uint8_t *value, size_t len, struct rt_options_reason *ret_reason)
{
	Husk__Options__RuntimeOptions *m =
	    (void *)ttrpc_unpack(&husk__options__runtime_options__descriptor, value, len);
	int r;

	if (!m) {
		(void)snprintf(ret_reason->text, sizeof(ret_reason->text), "not a %s message", TYPE_RUNTIME_OPTIONS);
		return -EBADMSG;
	}
	r = dup_string(&o->config_path, m->config_path);
	if (r == 0)
		r = parse_toml(o, (struct slice){ (const char *)m->config_body.data, m->config_body.len }, ret_reason);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return r;
}

const char *rt_type_name(const char *type_url)
{
	static const char host[] = "type.googleapis.com/";

	return strncmp(type_url, host, sizeof(host) - 1) == 0 ? type_url + sizeof(host) - 1 : type_url;
}

int rt_options_decode(struct rt_options *ret, const char *type_url, const uint8_t *value, size_t len,
    struct rt_options_reason *ret_reason)
{
	const char *name = rt_type_name(type_url);
	struct rt_options o = { 0 };
	int r;

	if (name[0] == '\0' && len == 0) {
		r = 0;
	} else if (strcmp(name, TYPE_RUNC_OPTIONS) == 0) {
		r = decode_runc(&o, value, len, ret_reason);
	} else if (strcmp(name, TYPE_LINUX_CREATE_OPTIONS) == 0) {
		r = decode_linux_create(&o, value, len, ret_reason);
	} else if (strcmp(name, TYPE_RUNTIME_OPTIONS) == 0 || strcmp(name, TYPE_CRI_RUNTIME_OPTIONS) == 0) {
		r = decode_runtime(&o, value, len, ret_reason);
	} else {
		(void)snprintf(ret_reason->text, sizeof(ret_reason->text), "unknown options type %s", name);
		r = -EOPNOTSUPP;
	}
	if (r < 0) {
		rt_options_done(&o);
		return r;
	}
	*ret = o;
	return 0;
}

void rt_options_done(struct rt_options *o)
{
	free(o->shim_cgroup);
	free(o->binary_name);
	free(o->root);
	free(o->criu_image_path);
	free(o->criu_work_path);
	free(o->task_api_address);
	free(o->config_path);
	*o = (struct rt_options){ 0 };
}
