/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_podsandbox.c — CreateSandbox's options, a PodSandboxConfig, as far as the document of the sandbox's process. The input: the
 * message. Whatever its strings are, the document is JSON, and they are values in it, no more.
 */
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/json.h"
#include "oci/spec.h"
#include "proto/sandbox.pb-c.h"
#include "sandbox/podsandbox_priv.h"
#include "shim/convert_sandbox.h"
#include "tests/fuzz/fuzz.h"

static bool is_text(const char *text, size_t len, const char *wanted)
{
	return strlen(wanted) == len && memcmp(text, wanted, len) == 0;
}

/* The members of the document's root that the config has a say in, each once at most. */
static void check_root(const struct oci_json *root, const struct sbx_sandbox_config *c)
{
	static const char *const known[] = { "ociVersion", "root", "hostname", "mounts", "process", "linux", "annotations", "domainname" };
	unsigned int seen = 0;

	for (const struct oci_json *e = root->first; e; e = e->next) {
		size_t i = 0;

		while (i < HK_ARRAY_SIZE(known) && !is_text(e->key, e->key_len, known[i]))
			i++;
		FUZZ_CHECK(i < HK_ARRAY_SIZE(known) && !(seen & 1U << i));
		seen |= 1U << i;
		if (is_text(e->key, e->key_len, "hostname") && c->hostname[0])
			FUZZ_CHECK(e->type == OCI_JSON_STRING && is_text(e->text, e->n, c->hostname));
	}
}

static void check_document(const struct sbx_sandbox_config *c)
{
	hk_autofree char *json = NULL;
	struct hk_arena arena = { 0 };
	const struct oci_json *root;
	struct oci_spec *spec = NULL;
	struct hk_err err = { 0 };
	size_t len;
	int r;

	FUZZ_CHECK(sandbox_spec(c, "/usr/libexec/husk/husk-init", -1, &json, &len, &err) == 0);
	FUZZ_CHECK(strlen(json) == len);
	r = oci_json_parse(json, len, NULL, &arena, &root, &err);
	FUZZ_CHECK(r == 0 || !fuzz_is_utf8(json, len)); /* protobuf-c does not look at that */
	if (r == 0)
		check_root(root, c);
	hk_arena_done(&arena);
	r = oci_spec_parse(json, len, &spec, &err);
	if (r < 0)
		fuzz_check_err(r, &err);
	else
		oci_spec_free(spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char type[] = "runtime.v1.PodSandboxConfig", id[] = "pod", bundle[] = "/run/bundle", ns[] = "/var/run/netns/cni-1";
	Husk__Types__Any any;
	Husk__Sandbox__CreateSandboxRequest m;
	struct convert_sandbox c;
	struct hk_err err = { 0 };
	char why[256];
	int r;

	husk__types__any__init(&any);
	husk__sandbox__create_sandbox_request__init(&m);
	any.type_url = type;
	any.value.data = (uint8_t *)(uintptr_t)data;
	any.value.len = size;
	m.sandbox_id = id;
	m.bundle_path = bundle;
	m.netns_path = ns;
	m.options = &any;
	r = convert_sandbox(&m.base, &c, &err);
	if (r < 0) {
		fuzz_check_err(r, &err);
		return 0;
	}
	FUZZ_CHECK(c.config.hostname && c.config.cgroup_parent && c.config.selinux_label);
	sandbox_why(&c.config, why, sizeof(why));
	FUZZ_CHECK(memchr(why, '\0', sizeof(why)));
	check_document(&c.config);
	convert_sandbox_done(&c);
	return 0;
}
