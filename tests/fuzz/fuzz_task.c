/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_task.c — requests from the envelope to the converted struct: every Task method's message, answered at once, failed, kept until
 * the connection ends. The input is a row of requests: a byte that says what, a byte for the frame, two bytes of length, the bytes.
 */
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"
#include "oci/oci.h"
#include "proto/dispatch.h"
#include "proto/frame.h"
#include "proto/names.h"
#include "shim/convert.h"
#include "shim/task.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_REQUESTS = 16, MAX_CALLS = 6, RAW_ENVELOPE = TASK_N_METHODS };

struct state {
	struct ttrpc_call *kept[MAX_REQUESTS];
	size_t n_kept;
	size_t n_answers;
	uint8_t mode; /* of the request at work */
};

static void on_frame(void *owner, struct ttrpc_buf *take_frame)
{
	struct state *s = owner;
	struct ttrpc_response r;

	FUZZ_CHECK(take_frame && take_frame->len >= TTRPC_HEADER_BYTES);
	FUZZ_CHECK(ttrpc_response_decode(
		       &r, take_frame->data + TTRPC_HEADER_BYTES, take_frame->len - TTRPC_HEADER_BYTES) == 0);
	FUZZ_CHECK(r.code == TTRPC_OK || r.payload_len == 0);
	ttrpc_response_done(&r);
	ttrpc_buf_free(take_frame);
	s->n_answers++;
}

static void on_orphan(void *arg, struct ttrpc_call *call)
{
	struct state *s = arg;

	for (size_t i = 0; i < s->n_kept; i++)
		if (s->kept[i] == call)
			s->kept[i] = NULL;
	FUZZ_CHECK(ttrpc_call_is_orphan(call));
	ttrpc_call_reply(call, NULL);
}

static void check_string(const char *s)
{
	FUZZ_CHECK(s);
	FUZZ_CHECK(strlen(s) <= TTRPC_PAYLOAD_MAX);
}

static int convert(const char *method, const ProtobufCMessage *m, struct hk_err *err)
{
	struct convert_create c = { 0 };
	struct hk_arena arena = { 0 };
	struct oci_resources res;
	size_t len = 0;
	int r = 0;

	if (strcmp(method, "Create") == 0) {
		r = convert_create(m, &c, err);
		for (size_t i = 0; r == 0 && i < c.request.n_rootfs; i++) {
			check_string(c.mounts[i].type);
			check_string(c.mounts[i].source);
			check_string(c.mounts[i].target);
			for (size_t k = 0; k < c.mounts[i].options.n; k++)
				check_string(c.mounts[i].options.v[k]);
			FUZZ_CHECK(!c.mounts[i].options.v[c.mounts[i].options.n]);
		}
		if (r == 0) {
			check_string(c.request.bundle);
			convert_create_done(&c);
		}
	} else if (strcmp(method, "Exec") == 0) {
		const struct sbx_exec e = convert_exec(m);

		r = oci_exec_check(e.spec_json, e.spec_json_len, err);
	} else if (strcmp(method, "Update") == 0) {
		const char *json = convert_resources(m, &len);

		r = json ? oci_resources_parse(json, len, &arena, &res, err) : 0;
	} else if (strcmp(method, "Kill") == 0) {
		(void)convert_kill(m);
	} else if (strcmp(method, "ResizePty") == 0) {
		(void)convert_resize(m);
	} else if (strcmp(method, "CloseIO") == 0) {
		(void)convert_close_stdin(m);
	}
	hk_arena_done(&arena);
	return r;
}

static void reply(struct ttrpc_call *call, const struct convert_ids *ids)
{
	const struct sbx_state st = { .id = ids->id,
		.bundle = ids->exec_id,
		.stdin_path = ids->id,
		.stdout_path = "",
		.stderr_path = ids->exec_id };
	const struct sbx_reply re = { .pid = 1, .exited_at = { .tv_sec = 1 } };

	if (strcmp(call->method, "State") == 0)
		convert_reply_state(call, &st);
	else if (strcmp(call->method, "Wait") == 0)
		convert_reply_waited(call, &re);
	else
		convert_reply_empty(call, NULL);
}

static void handler(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct state *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct hk_err err = { 0 };
	int r;

	check_string(ids.id);
	check_string(ids.exec_id);
	check_string(call->traceparent);
	FUZZ_CHECK(call->timeout_ns >= 0);
	r = convert(call->method, request, &err);
	if (r < 0) {
		fuzz_check_err(r, &err);
		convert_fail(call, &err, "OCI runtime create failed", NULL);
	} else if (s->mode & 0x40) {
		s->kept[s->n_kept++] = call;
		if (s->mode & 0x80)
			ttrpc_call_on_orphan(call, on_orphan, s);
	} else {
		reply(call, &ids);
	}
}

/* One request of the input as a frame's payload: the bytes of an envelope, or a message for a good envelope. */
static void request(struct state *s, struct ttrpc_session *session, struct fuzz_in *in, uint32_t stream)
{
	const uint8_t what = fuzz_byte(in), head = fuzz_byte(in);
	size_t len = (size_t)fuzz_byte(in) << 8;
	const unsigned int method = what % (TASK_N_METHODS + 1);
	struct ttrpc_frame f = { .stream = stream * 2 + 1, .type = TTRPC_REQUEST, .flags = head & 7 };
	struct ttrpc_buf *buf = NULL;
	uint8_t *bytes;

	len |= fuzz_byte(in);
	bytes = fuzz_bytes(in, &len);
	s->mode = what >= 2 * RAW_ENVELOPE ? head : 0;
	if (head & 8)
		f.type = head >> 4;
	if (method == RAW_ENVELOPE) {
		f.payload = len ? bytes : NULL;
		f.len = (uint32_t)len;
	} else {
		const struct ttrpc_request rq = { .service = what & 1 ? TTRPC_SERVICE_TASK_V2 : TTRPC_SERVICE_TASK_V3,
			.method = task_methods[method].name,
			.payload = bytes,
			.payload_len = len,
			.timeout_ns = head >> 4 };

		FUZZ_CHECK(ttrpc_request_encode(&rq, "k8s.io", f.stream, &buf) == 0);
		f.payload = buf->data + TTRPC_HEADER_BYTES;
		f.len = (uint32_t)(buf->len - TTRPC_HEADER_BYTES);
	}
	ttrpc_session_input(session, &f);
	ttrpc_buf_free(buf);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct state s = { 0 };
	struct ttrpc_method methods[TASK_N_METHODS];
	const struct ttrpc_service services[] = {
		{ TTRPC_SERVICE_TASK_V3, methods, TASK_N_METHODS, &s },
		{ TTRPC_SERVICE_TASK_V2, methods, TASK_N_METHODS, &s },
	};
	struct ttrpc_server server = { .services = services, .n_services = 2, .max_calls = MAX_CALLS };
	struct ttrpc_session session;

	for (size_t i = 0; i < TASK_N_METHODS; i++)
		methods[i] = (struct ttrpc_method){ task_methods[i].name, task_methods[i].request, handler };
	ttrpc_session_init(&session, &server, on_frame, &s);
	for (uint32_t i = 0; i < MAX_REQUESTS && in.len > 0; i++)
		request(&s, &session, &in, i);
	FUZZ_CHECK(server.n_calls <= MAX_CALLS);
	/* Half of what is kept is answered in time. */
	for (size_t i = 0; i < s.n_kept; i += 2) {
		ttrpc_call_fail(s.kept[i], TTRPC_ABORTED, "\xff\xc3 text");
		s.kept[i] = NULL;
	}
	ttrpc_session_done(&session);
	FUZZ_CHECK(server.n_calls == 0);
	for (size_t i = 0; i < s.n_kept; i++)
		if (s.kept[i])
			ttrpc_call_reply(s.kept[i], NULL); /* an orphan's answer goes nowhere and frees it */
	return 0;
}
