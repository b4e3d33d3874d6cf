/* SPDX-License-Identifier: Apache-2.0 */
/* shim/convert_sandbox.c — see convert_sandbox.h. Shim-protocol section 5. */
#include "shim/convert_sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"
#include "oci/base/text.h"
#include "proto/cri.pb-c.h"
#include "proto/dispatch.h"
#include "proto/names.h"
#include "proto/sandbox.pb-c.h"

#define SELINUXFS_MAGIC 0xf97cff8cUL

static char *str(const char *s)
{
	return (char *)(uintptr_t)(s ? s : "");
}

/* ---- CreateSandbox ---- */

static struct oci_strv strv(char **v, size_t n)
{
	return (struct oci_strv){ .v = (const char **)(uintptr_t)v, .n = n };
}

static int convert_maps(struct hk_arena *a, Husk__Cri__IDMapping **from, size_t n, struct oci_idmaps *ret)
{
	ret->v = hk_arena_array(a, n + 1, sizeof(*ret->v));
	if (!ret->v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		ret->v[i] = (struct oci_idmap){ .container_id = from[i]->container_id, .host_id = from[i]->host_id,
			.size = from[i]->length };
	ret->n = n;
	return 0;
}

static int convert_namespaces(struct hk_arena *a, const Husk__Cri__NamespaceOption *from, struct sbx_sandbox_config *c)
{
	int r;

	if (!from)
		return 0;
	c->net = (enum sbx_ns_mode)from->network;
	c->pid = (enum sbx_ns_mode)from->pid;
	c->ipc = (enum sbx_ns_mode)from->ipc;
	if (!from->userns_options || from->userns_options->mode == HUSK__CRI__NAMESPACE_MODE__NODE)
		return 0;
	if (from->userns_options->mode != HUSK__CRI__NAMESPACE_MODE__POD)
		return -EINVAL;
	c->has_userns = true;
	r = convert_maps(a, from->userns_options->uids, from->userns_options->n_uids, &c->uids);
	return r < 0 ? r : convert_maps(a, from->userns_options->gids, from->userns_options->n_gids, &c->gids);
}

static int convert_sysctls(struct hk_arena *a, const Husk__Cri__LinuxPodSandboxConfig *from, struct sbx_sandbox_config *c)
{
	c->sysctls.v = hk_arena_array(a, from->n_sysctls + 1, sizeof(*c->sysctls.v));
	if (!c->sysctls.v)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_sysctls; i++)
		c->sysctls.v[i] = (struct oci_kv){ .key = from->sysctls[i]->key, .value = from->sysctls[i]->value };
	c->sysctls.n = from->n_sysctls;
	return 0;
}

/* A label is set as a whole or not at all, and only where SELinux is: CRI sends the options everywhere. */
static int convert_label(struct hk_arena *a, const Husk__Cri__SELinuxOption *from, struct sbx_sandbox_config *c)
{
	struct statfs st;

	if (!from || !from->user[0] || !from->role[0] || !from->type[0] || !from->level[0])
		return 0;
	if (statfs("/sys/fs/selinux", &st) < 0 || (unsigned long)st.f_type != SELINUXFS_MAGIC)
		return 0;
	c->selinux_label = hk_arena_printf(a, "%s:%s:%s:%s", from->user, from->role, from->type, from->level);
	return c->selinux_label ? 0 : -ENOMEM;
}

static int convert_config(const Husk__Cri__PodSandboxConfig *m, struct convert_sandbox *c)
{
	const Husk__Cri__DNSConfig *dns = m->dns_config;
	const Husk__Cri__LinuxSandboxSecurityContext *security = m->linux_part ? m->linux_part->security_context : NULL;
	int r = 0;

	c->config.hostname = m->hostname;
	if (dns) {
		c->config.dns_servers = strv(dns->servers, dns->n_servers);
		c->config.dns_searches = strv(dns->searches, dns->n_searches);
		c->config.dns_options = strv(dns->options, dns->n_options);
	}
	if (m->linux_part) {
		c->config.cgroup_parent = m->linux_part->cgroup_parent;
		r = convert_sysctls(&c->arena, m->linux_part, &c->config);
	}
	if (r == 0 && security)
		r = convert_namespaces(&c->arena, security->namespace_options, &c->config);
	if (r == 0 && security)
		r = convert_label(&c->arena, security->selinux_options, &c->config);
	return r;
}

int convert_sandbox(const ProtobufCMessage *m, struct convert_sandbox *ret, struct hk_err *err)
{
	const Husk__Sandbox__CreateSandboxRequest *t = (const void *)m;
	hk_auto(convert_sandbox_done) struct convert_sandbox c = { 0 };
	int r;

	/* CRI's default where nothing is said, mode 0 of each kind: a pod of its own. */
	c.config = (struct sbx_sandbox_config){ .id = t->sandbox_id, .bundle = t->bundle_path, .netns_path = t->netns_path, .hostname = "",
		.cgroup_parent = "", .selinux_label = "" };
	if (t->options && t->options->type_url[0]) {
		if (!hk_has_suffix(t->options->type_url, TYPE_POD_SANDBOX_CONFIG))
			return hk_fail_text(err, HK_INVALID, EINVAL, "options of unknown type \"%.100s\"", t->options->type_url);
		c.message = husk__cri__pod_sandbox_config__unpack(NULL, t->options->value.len, t->options->value.data);
		if (!c.message)
			return hk_fail_text(err, HK_INVALID, EBADMSG, "options: not a PodSandboxConfig, or no memory for it");
		r = convert_config(c.message, &c);
		if (r == -EINVAL)
			return hk_fail_text(err, HK_INVALID, EINVAL, "a user namespace is the pod's or the node's");
		if (r < 0)
			return hk_fail(err, HK_EXHAUSTED, ENOMEM, "convert PodSandboxConfig");
	}
	*ret = c;
	c = (struct convert_sandbox){ 0 };
	return 0;
}

void convert_sandbox_done(struct convert_sandbox *c)
{
	if (c->message)
		husk__cri__pod_sandbox_config__free_unpacked(c->message, NULL);
	hk_arena_done(&c->arena);
	*c = (struct convert_sandbox){ 0 };
}

bool convert_is_verbose(const ProtobufCMessage *m)
{
	const Husk__Sandbox__SandboxStatusRequest *t = (const void *)m;

	return t->verbose;
}

/* ---- replies ---- */

void convert_reply_sandbox_started(struct ttrpc_call *call, const struct sbx_reply *r)
{
	Husk__Sandbox__StartSandboxResponse m;
	Husk__Types__Timestamp at;

	husk__sandbox__start_sandbox_response__init(&m);
	m.pid = r->pid;
	m.created_at = convert_timestamp(&r->started_at, &at);
	ttrpc_call_reply(call, &m.base);
}

void convert_reply_platform(struct ttrpc_call *call, const char *machine)
{
	/* uname's words and Go's. */
	static const struct {
		const char *machine, *architecture, *variant;
	} all[] = { { "x86_64", "amd64", "" }, { "aarch64", "arm64", "v8" } };
	Husk__Sandbox__PlatformResponse m;
	Husk__Sandbox__Platform platform;

	husk__sandbox__platform_response__init(&m);
	husk__sandbox__platform__init(&platform);
	platform.os = str("linux");
	platform.architecture = str(machine);
	for (size_t i = 0; i < HK_ARRAY_SIZE(all); i++) {
		if (!hk_streq(machine, all[i].machine))
			continue;
		platform.architecture = str(all[i].architecture);
		platform.variant = str(all[i].variant);
	}
	m.platform = &platform;
	ttrpc_call_reply(call, &m.base);
}

void convert_reply_sandbox_waited(struct ttrpc_call *call, const struct sbx_reply *r)
{
	Husk__Sandbox__WaitSandboxResponse m;
	Husk__Types__Timestamp at;

	husk__sandbox__wait_sandbox_response__init(&m);
	m.exit_status = r->exit_status;
	m.exited_at = convert_timestamp(&r->exited_at, &at);
	ttrpc_call_reply(call, &m.base);
}

/* What `crictl inspectp` shows under "info", with the fields of containerd's own that its readers look for. */
static void put_info(struct hk_text *t, const struct sbx_sandbox_status *s)
{
	/* The words of the status, the spec's type and the file in /proc/PID/ns. */
	static const struct {
		const char *word, *type, *file;
	} all[] = { { "network", "network", "net" }, { "uts", "uts", "uts" }, { "ipc", "ipc", "ipc" }, { "pid", "pid", "pid" },
		{ "user", "user", "user" } };
	const char *separator = "";

	hk_text_fmt(t, "{\"pid\":%u,\"processStatus\":\"%s\",\"netNamespaceClosed\":false,\"image\":\"\",\"snapshotKey\":\"\",\"snapshotter\":\"\"",
	    s->pid, s->is_ready ? "running" : "stopped");
	hk_text_put(t, ",\"runtimeType\":\"io.containerd.husk.v2\",\"runtimeSpec\":{\"ociVersion\":\"1.2.0\",\"linux\":{\"namespaces\":[");
	for (size_t i = 0; s->is_ready && i < HK_ARRAY_SIZE(all); i++) {
		if (!strstr(s->why, all[i].word))
			continue;
		hk_text_fmt(t, "%s{\"type\":\"%s\",\"path\":\"/proc/%u/ns/%s\"}", separator, all[i].type, s->pid, all[i].file);
		separator = ",";
	}
	hk_text_put(t, "]}}}");
}

static void put_husk(struct hk_text *t, const struct sbx_sandbox_status *s)
{
	hk_text_put(t, "{\"process\":");
	hk_text_json(t, s->has_process ? "husk-init" : "the shim");
	hk_text_json_field(t, "holds", s->why);
	hk_text_put(t, "}");
}

void convert_reply_sandbox_status(struct ttrpc_call *call, const struct sbx_sandbox_status *s, bool verbose)
{
	hk_auto(hk_text_done) struct hk_text info = { 0 }, husk = { 0 };
	Husk__Sandbox__SandboxStatusResponse m;
	Husk__Types__Timestamp created, exited;
	Husk__Types__StringEntry entries[2], *list[2] = { &entries[0], &entries[1] };

	husk__sandbox__sandbox_status_response__init(&m);
	m.sandbox_id = str(s->id);
	m.pid = s->pid;
	m.state = str(s->is_ready ? "SANDBOX_READY" : "SANDBOX_NOTREADY");
	m.created_at = convert_timestamp(&s->created_at, &created);
	m.exited_at = convert_timestamp(&s->exited_at, &exited);
	if (verbose) {
		put_info(&info, s);
		put_husk(&husk, s);
	}
	if (info.v && husk.v && !info.failed && !husk.failed) {
		husk__types__string_entry__init(&entries[0]);
		husk__types__string_entry__init(&entries[1]);
		entries[0].key = str("info");
		entries[0].value = info.v;
		entries[1].key = str("husk");
		entries[1].value = husk.v;
		m.info = list;
		m.n_info = HK_ARRAY_SIZE(list);
	}
	ttrpc_call_reply(call, &m.base);
}

void convert_reply_sandbox_metrics(struct ttrpc_call *call, const char *id, const struct oci_stats *s)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	Husk__Sandbox__SandboxMetricsResponse m;
	Husk__Sandbox__Metric metric;
	Husk__Types__Timestamp at;
	Husk__Types__Any any;
	struct timespec now;
	uint8_t *bytes;

	husk__sandbox__sandbox_metrics_response__init(&m);
	husk__sandbox__metric__init(&metric);
	husk__types__any__init(&any);
	if (convert_stats(s, &arena, &any.type_url, &bytes, &any.value.len) < 0) {
		ttrpc_call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	any.value.data = bytes;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	metric.timestamp = convert_timestamp(&now, &at);
	metric.id = str(id);
	metric.data = &any;
	m.metrics = &metric;
	ttrpc_call_reply(call, &m.base);
	free(bytes);
}
