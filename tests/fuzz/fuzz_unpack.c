/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_unpack.c — messages unpacked with little memory, as ttrpc_unpack does with much: when an allocation is refused half-way, all is
 * given back. The input: which message, how many allocations it gets, the bytes. What unpacks also packs, into its measured size.
 */
#include <string.h>

#include "oci/base/auto.h"
#include "proto/bootstrap.pb-c.h"
#include "proto/envelope.h"
#include "proto/options.pb-c.h"
#include "proto/sandbox.pb-c.h"
#include "proto/task.pb-c.h"
#include "proto/ttrpc.pb-c.h"
#include "tests/fuzz/fuzz.h"

/* All that others send: the files of the corpus name the first ones by number, so new ones go to the end. */
static const ProtobufCMessageDescriptor *const types[] = { &husk__ttrpc__request__descriptor, &husk__ttrpc__response__descriptor,
	&husk__bootstrap__bootstrap_params__descriptor, &husk__task__create_task_request__descriptor,
	&husk__task__exec_process_request__descriptor, &husk__task__update_task_request__descriptor, &husk__options__runc_options__descriptor,
	&husk__bootstrap__runtime_info__descriptor, &husk__task__delete_request__descriptor, &husk__task__resize_pty_request__descriptor,
	&husk__task__state_request__descriptor, &husk__task__kill_request__descriptor, &husk__task__close_iorequest__descriptor,
	&husk__task__pids_request__descriptor, &husk__task__checkpoint_task_request__descriptor, &husk__task__start_request__descriptor,
	&husk__task__wait_request__descriptor, &husk__task__stats_request__descriptor, &husk__task__connect_request__descriptor,
	&husk__task__shutdown_request__descriptor, &husk__task__pause_request__descriptor, &husk__task__resume_request__descriptor,
	&husk__options__checkpoint_options__descriptor, &husk__sandbox__create_sandbox_request__descriptor,
	&husk__sandbox__start_sandbox_request__descriptor, &husk__sandbox__platform_request__descriptor,
	&husk__sandbox__stop_sandbox_request__descriptor, &husk__sandbox__wait_sandbox_request__descriptor,
	&husk__sandbox__sandbox_status_request__descriptor, &husk__sandbox__ping_request__descriptor,
	&husk__sandbox__shutdown_sandbox_request__descriptor, &husk__sandbox__sandbox_metrics_request__descriptor };

struct budget {
	unsigned int left;
	int n_live;
};

static void *take(void *data, size_t size)
{
	struct budget *b = data;

	if (b->left == 0 || size > (1U << 24))
		return NULL;
	b->left--;
	b->n_live++;
	return malloc(size ? size : 1);
}

static void give(void *data, void *p)
{
	struct budget *b = data;

	b->n_live -= p != NULL;
	free(p);
}

/* Beside the bound, which these inputs do not reach, ttrpc_unpack refuses what protobuf-c takes for one reason only: a NUL byte in a string. */
static void compare(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len)
{
	ProtobufCMessage *ours = ttrpc_unpack(type, bytes, len),
			 *theirs = protobuf_c_message_unpack(type, NULL, len, bytes);

	FUZZ_CHECK(!ours || theirs);
	FUZZ_CHECK(ours || !theirs || memchr(bytes, '\0', len));
	if (ours)
		protobuf_c_message_free_unpacked(ours, NULL);
	if (theirs)
		protobuf_c_message_free_unpacked(theirs, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	const ProtobufCMessageDescriptor *type = types[fuzz_byte(&in) % HK_ARRAY_SIZE(types)];
	struct budget b = { .left = fuzz_byte(&in) };
	ProtobufCAllocator allocator = { .alloc = take, .free = give, .allocator_data = &b };
	size_t len = in.len, packed_len;
	uint8_t *bytes = fuzz_bytes(&in, &len), *packed;
	ProtobufCMessage *m;

	if (b.left == 255)
		b.left = 1U << 20;
	m = protobuf_c_message_unpack(type, &allocator, len, bytes);
	if (m) {
		FUZZ_CHECK(protobuf_c_message_check(m));
		FUZZ_CHECK(ttrpc_pack(m, &packed, &packed_len) == 0);
		free(packed);
		protobuf_c_message_free_unpacked(m, &allocator);
	}
	FUZZ_CHECK(b.n_live == 0);
	compare(type, bytes, len);
	free(bytes);
	return 0;
}
