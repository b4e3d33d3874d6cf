/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_record.c — the state that one version of the shim hands to another: any text is read or refused by a line's number; what was read can be
 * asked for anything; the parts that only need values are loaded from it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/loop.h"
#include "oci/base/record.h"
#include "oci/oci.h"
#include "shim/events.h"
#include "shim/history.h"
#include "tests/fuzz/fuzz.h"

enum { ARENA_BYTES = 64 << 20 };

static void ask(const struct hk_value *in)
{
	static const char *const names[] = { "id", "pid", "container", "fd", "x" };

	for (size_t i = 0; in && i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len;
		const void *bytes = hk_value_bytes(in, names[i], &len);

		FUZZ_CHECK((bytes == NULL) == (len == 0));
		FUZZ_CHECK(hk_value_str(in, names[i]) != NULL);
		FUZZ_CHECK(hk_value_fd_or(in, names[i]) >= -1);
		(void)hk_value_num(in, names[i]);
		(void)hk_value_bool(in, names[i]);
		for (const struct hk_value *v = hk_value_get(in, names[i]); v; v = hk_value_next(v))
			if (names[i][0] == 'c')
				ask(v);
	}
}

/* Of a text of its own each time: the first error is remembered. */
static const struct hk_value *parse(const uint8_t *data, size_t size, struct hk_arena *a, struct hk_err *err)
{
	char *text = hk_arena_alloc(a, size + 1);
	const struct hk_value *top = NULL;
	int r;

	if (!text)
		return NULL;
	if (size)
		memcpy(text, data, size);
	r = hk_value_parse(text, size, a, &top, err);
	FUZZ_CHECK((r == 0) == (top != NULL));
	if (r < 0)
		fuzz_check_err(r, err);
	return top;
}

static void load(const struct hk_value *top)
{
	struct shim_history h = { 0 };
	struct shim_events e;
	struct oci_stats s;
	struct hk_loop l;

	if (hk_loop_init(&l) < 0)
		return;
	shim_history_load(&h, top);
	FUZZ_CHECK(shim_events_init(&e, &l, "/nonexistent/c.sock.ttrpc", "ns") == 0);
	FUZZ_CHECK(shim_events_load(&e, top) == 0);
	shim_events_done(&e);
	if (oci_stats_load(top, &s) == 0)
		oci_stats_done(&s);
	hk_loop_done(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hk_arena a = { .limit_bytes = ARENA_BYTES };
	struct hk_err err = { .text = "" };
	const struct hk_value *top = parse(data, size, &a, &err);
	int r;

	if (top) {
		ask(top);
		r = hk_value_check(top, &err);
		FUZZ_CHECK(r == 0 || (r < 0 && err.text[0]));
		top = parse(data, size, &a, &err);
		if (top)
			load(top);
	}
	hk_arena_done(&a);
	return 0;
}
