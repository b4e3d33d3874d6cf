/* SPDX-License-Identifier: Apache-2.0 */
/* What proto/wire writes, read by protobuf-c with the messages of node.proto. */
#include "proto/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/envelope.h"
#include "proto/node.pb-c.h"

static void *read_as(const ProtobufCMessageDescriptor *type, const struct wire *w)
{
	void *m;

	assert_false(w->is_failed);
	m = ttrpc_unpack(type, w->bytes, w->len);
	assert_non_null(m);
	return m;
}

static void test_fields(void **state)
{
	struct wire w = { 0 };
	Husk__Node__Container *m;

	(void)state;
	wire_str(&w, 1, "a1");
	wire_str(&w, 2, "");
	wire_str(&w, 3, NULL);
	wire_str(&w, 7, "caf\xc3\xa9 \xff");
	wire_u64(&w, 4, 0);
	wire_u64(&w, 8, 1);
	wire_u64(&w, 11, UINT64_MAX);
	wire_u64(&w, 12, 128);
	m = read_as(&husk__node__container__descriptor, &w);
	assert_string_equal(m->id, "a1");
	assert_string_equal(m->bundle, "");
	assert_string_equal(m->waits_for, "caf\xc3\xa9 ?");
	assert_int_equal(m->pid, 0);
	assert_int_equal(m->oom_kills, 1);
	assert_true(m->memory_bytes == UINT64_MAX);
	assert_int_equal(m->memory_limit, 128);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	wire_done(&w);
}

static void test_messages_in_messages(void **state)
{
	Husk__Node__StateResponse *m;
	struct wire w = { 0 };
	char id[400];

	(void)state;
	memset(id, 'x', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	for (int i = 0; i < 40; i++) { /* far over the first buffer, so that it moves while a message is open */
		const size_t container = wire_begin(&w, 11);

		wire_str(&w, 1, id);
		for (int k = 0; k < i % 3; k++) {
			const size_t exec = wire_begin(&w, 10);

			wire_str(&w, 1, id);
			wire_u64(&w, 3, (uint64_t)k + 1);
			wire_end(&w, exec);
		}
		wire_end(&w, container);
	}
	wire_str(&w, 6, "after");
	m = read_as(&husk__node__state_response__descriptor, &w);
	assert_int_equal(m->n_containers, 40);
	assert_string_equal(m->pod, "after");
	for (int i = 0; i < 40; i++) {
		assert_string_equal(m->containers[i]->id, id);
		assert_int_equal(m->containers[i]->n_execs, i % 3);
		for (size_t k = 0; k < m->containers[i]->n_execs; k++)
			assert_int_equal(m->containers[i]->execs[k]->pid, k + 1);
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
	wire_done(&w);
}

static void test_nothing(void **state)
{
	struct wire w = { 0 };

	(void)state;
	wire_end(&w, wire_begin(&w, 11));
	assert_int_equal(w.len, 5);
	assert_memory_equal(w.bytes, "\x5a\x80\x80\x80\x00", 5);
	wire_done(&w);
	assert_null(w.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_messages_in_messages),
		cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
