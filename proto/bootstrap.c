/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/bootstrap.c — tells the two forms of stdin apart and makes the answers of `start`, `delete` and `-info`. The
 * decoded input keeps its unpacked message; the plain struct points into it.
 */
#include "proto/bootstrap.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "proto/bootstrap.pb-c.h"
#include "proto/envelope.h"
#include "proto/names.h"
#include "proto/options.h"
#include "proto/task.pb-c.h"

static bool is_options_type(const char *type_url)
{
	static const char *const types[] = { TYPE_RUNC_OPTIONS, TYPE_RUNTIME_OPTIONS, TYPE_CRI_RUNTIME_OPTIONS };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(rt_type_name(type_url), types[i]) == 0)
			return true;
	return false;
}

static bool is_params(const Husk__Bootstrap__BootstrapParams *m, const char *id)
{
	return (id[0] != '\0' && strcmp(m->instance_id, id) == 0) || m->containerd_version[0] != '\0' ||
	       m->containerd_ttrpc_address[0] != '\0' || m->containerd_grpc_address[0] != '\0';
}

static void from_any(struct boot_input *in, const Husk__Types__Any *any)
{
	in->options_type_url = any->type_url;
	in->options_value = any->value.data;
	in->options_len = any->value.len;
}

static void from_params(struct boot_input *in, Husk__Bootstrap__BootstrapParams *m)
{
	in->form = BOOT_PARAMS;
	in->instance_id = m->instance_id;
	in->ns = m->namespace_;
	in->containerd_version = m->containerd_version;
	in->ttrpc_address = m->containerd_ttrpc_address;
	in->grpc_address = m->containerd_grpc_address;
	in->containerd_binary = m->containerd_binary;
	in->socket_dir = m->socket_dir;
	in->log_level = m->log_level;
	in->unpacked = m;
	for (size_t i = 0; i < m->n_extensions; i++) {
		const Husk__Types__Any *any = m->extensions[i]->value;

		if (any && is_options_type(any->type_url)) {
			from_any(in, any);
			return;
		}
	}
}

int boot_input_parse(struct boot_input *ret, const uint8_t *bytes, size_t len, const char *id)
{
	struct boot_input in = {
		.instance_id = "",
		.ns = "",
		.containerd_version = "",
		.ttrpc_address = "",
		.grpc_address = "",
		.containerd_binary = "",
		.socket_dir = "",
		.options_type_url = "",
	};
	Husk__Bootstrap__BootstrapParams *params;
	Husk__Types__Any *any;

	if (len == 0) {
		*ret = in;
		return 0;
	}
	params = (void *)ttrpc_unpack(&husk__bootstrap__bootstrap_params__descriptor, bytes, len);
	if (params && is_params(params, id)) {
		from_params(&in, params);
		*ret = in;
		return 0;
	}
	if (params)
		protobuf_c_message_free_unpacked(&params->base, NULL);

	any = (void *)ttrpc_unpack(&husk__types__any__descriptor, bytes, len);
	if (!any)
		return -EBADMSG;
	if (any->type_url[0] == '\0') {
		/* No type means that these bytes are some other message. */
		protobuf_c_message_free_unpacked(&any->base, NULL);
		return -EBADMSG;
	}
	in.form = BOOT_OPTIONS;
	from_any(&in, any);
	in.unpacked = any;
	*ret = in;
	return 0;
}

void boot_input_done(struct boot_input *in)
{
	if (in->unpacked)
		protobuf_c_message_free_unpacked(in->unpacked, NULL);
	*in = (struct boot_input){ 0 };
}

int boot_result_encode(int32_t version, const char *address, const char *protocol, uint8_t **ret, size_t *ret_len)
{
	Husk__Bootstrap__BootstrapResult m;

	husk__bootstrap__bootstrap_result__init(&m);
	m.version = version;
	m.address = ttrpc_str(address);
	m.protocol = ttrpc_str(protocol);
	return ttrpc_pack(&m.base, ret, ret_len);
}

int boot_delete_encode(const struct boot_exit *x, uint8_t **ret, size_t *ret_len)
{
	Husk__Task__DeleteResponse m;
	Husk__Types__Timestamp at;

	husk__task__delete_response__init(&m);
	husk__types__timestamp__init(&at);
	at.seconds = x->exited_sec;
	at.nanos = x->exited_nsec;
	m.pid = x->pid;
	m.exit_status = x->exit_status;
	m.exited_at = &at;
	return ttrpc_pack(&m.base, ret, ret_len);
}

int boot_info_encode(const struct boot_info *info, uint8_t **ret, size_t *ret_len)
{
	Husk__Bootstrap__RuntimeInfo m;
	Husk__Bootstrap__RuntimeVersion version;
	Husk__Types__Any options, features;
	Husk__Types__StringEntry allow_mounts;
	Husk__Types__StringEntry *annotations[] = { &allow_mounts };

	husk__bootstrap__runtime_info__init(&m);
	husk__bootstrap__runtime_version__init(&version);
	husk__types__any__init(&options);
	husk__types__any__init(&features);
	husk__types__string_entry__init(&allow_mounts);

	m.name = ttrpc_str(info->name);
	m.version = &version;
	version.version = ttrpc_str(info->version);
	version.revision = ttrpc_str(info->revision);
	features.type_url = ttrpc_str(TYPE_OCI_FEATURES);
	features.value.data = (uint8_t *)(uintptr_t)info->features_json;
	features.value.len = strlen(info->features_json);
	m.features = &features;
	if (info->options_type_url[0] != '\0') {
		options.type_url = ttrpc_str(info->options_type_url);
		options.value.data = (uint8_t *)(uintptr_t)info->options_value;
		options.value.len = info->options_len;
		m.options = &options;
	}
	if (info->allow_mounts) {
		allow_mounts.key = ttrpc_str("containerd.io/runtime-allow-mounts");
		allow_mounts.value = ttrpc_str(info->allow_mounts);
		m.n_annotations = 1;
		m.annotations = annotations;
	}
	return ttrpc_pack(&m.base, ret, ret_len);
}
