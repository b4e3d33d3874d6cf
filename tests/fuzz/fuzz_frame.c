/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_frame.c — the ttrpc frame reader, and the client that is given its frames. The input: the number of chunk sizes, the chunk
 * sizes (the first 0 = 4 MiB more of 0xff, which no input could hold), the stream. However it is cut up, the same frames must come out.
 */
#include <string.h>

#include "proto/client.h"
#include "proto/frame.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_CHUNKS = 32, FILLER = (4 << 20) + 7, N_CALLS = 3, SAMPLE = 4096 };

struct seen {
	size_t n;
	uint64_t hash;
	size_t n_results;
	struct ttrpc_client *client; /* NULL: do not tell */
};

static void mix(struct seen *s, uint64_t v)
{
	s->hash = (s->hash ^ v) * 1099511628211ULL;
}

static void on_result(void *arg, const struct ttrpc_response *res)
{
	struct seen *s = arg;

	FUZZ_CHECK(res->message && (res->payload || res->payload_len == 0));
	s->n_results++;
}

static void take_frame(struct seen *s, const struct ttrpc_frame *f)
{
	const uint32_t len = f->payload ? f->len : 0;

	FUZZ_CHECK(f->is_skipped == (f->len > TTRPC_PAYLOAD_MAX));
	FUZZ_CHECK((f->payload != NULL) == (f->len > 0 && !f->is_skipped));
	mix(s, f->len);
	mix(s, (uint64_t)f->stream << 16 | (uint64_t)f->type << 8 | f->flags);
	/* All of a small payload; of a large one every 4096th byte after the first 4096. */
	for (uint32_t i = 0; i<len; i += i> SAMPLE ? SAMPLE : 1)
		mix(s, f->payload[i]);
	s->n++;
	if (s->client)
		(void)ttrpc_client_input(s->client, f);
}

static void feed(struct ttrpc_reader *r, struct seen *s, const uint8_t *p, size_t len)
{
	struct ttrpc_frame f;

	while (ttrpc_reader_next(r, &p, &len, &f))
		take_frame(s, &f);
	FUZZ_CHECK(len == 0);
}

/* is_whole: the chunks are put together first and given in one piece. */
static void run(const uint8_t *sizes, size_t n_sizes, struct fuzz_in in, struct seen *s, bool is_whole)
{
	static uint8_t filler[FILLER]; /* read as headers they say 4 GiB: zeros would be a frame every ten bytes */
	struct ttrpc_reader r = { 0 };
	uint8_t *whole = is_whole ? malloc(in.len + (n_sizes && memchr(sizes, 0, n_sizes) ? FILLER : 1)) : NULL;
	size_t len = 0;
	bool is_filled = false;

	FUZZ_CHECK(whole || !is_whole);
	if (!filler[0])
		memset(filler, 0xff, sizeof(filler));
	for (size_t i = 0; in.len > 0; i++) {
		size_t n = n_sizes ? sizes[i % n_sizes] : in.len;
		const bool is_filler = n == 0 && !is_filled;
		uint8_t *chunk = NULL;

		if (n == 0)
			n = is_filler ? FILLER : in.len;
		is_filled |= is_filler;
		if (!is_filler)
			chunk = fuzz_bytes(&in, &n);
		if (is_whole) {
			memcpy(whole + len, is_filler ? filler : chunk, n);
			len += n;
		} else {
			feed(&r, s, is_filler ? filler : chunk, n);
		}
		free(chunk);
	}
	if (len)
		feed(&r, s, whole, len);
	mix(s, ttrpc_reader_is_idle(&r));
	ttrpc_reader_done(&r);
	free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	size_t n_sizes = fuzz_byte(&in) % MAX_CHUNKS;
	uint8_t *sizes = fuzz_bytes(&in, &n_sizes);
	struct ttrpc_client client;
	struct seen cut = { .client = &client }, whole = { 0 };
	const struct ttrpc_outcall call = { .service = "s", .method = "m", .timeout_ns = 5, .now_ns = 1 };

	ttrpc_client_init(&client);
	for (int i = 0; i < N_CALLS; i++) {
		struct ttrpc_buf *frame;

		FUZZ_CHECK(ttrpc_client_call(&client, &call, on_result, &cut, &frame) == 0);
		ttrpc_buf_free(frame);
	}
	run(sizes, n_sizes, in, &cut, false);
	run(sizes, n_sizes, in, &whole, true);
	FUZZ_CHECK(cut.n == whole.n && cut.hash == whole.hash);
	if (size % 2)
		ttrpc_client_expire(&client, 6);
	ttrpc_client_done(&client, "end");
	FUZZ_CHECK(cut.n_results == N_CALLS); /* each exactly once */
	free(sizes);
	return 0;
}
