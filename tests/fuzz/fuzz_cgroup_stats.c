/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_cgroup_stats.c — stat files of cgroups into Task.Stats' answer. The input: "= NAME" begins a file, up to the next such line; what
 * is above the first one says v1 ("1") or v2.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"
#include "oci/cgroup_stats.h"
#include "proto/dispatch.h"
#include "proto/envelope.h"
#include "proto/frame.h"
#include "proto/task.pb-c.h"
#include "shim/convert.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_FILES = 40 };

/* The name of the file whose text begins after this line, or NULL; *end is past the line. */
static char *header(char *line, char **end)
{
	size_t len = strcspn(line, "\n");
	char *name = line + 2;

	*end = line + len + (line[len] == '\n');
	if (strncmp(line, "= ", 2) != 0 || len < 3 || len > 60)
		return NULL;
	for (size_t i = 2; i < len; i++)
		if (line[i] == '/')
			return NULL;
	if (name[0] == '.' || **end == '\0')
		return NULL;
	line[len] = '\0';
	return name;
}

/* Lays the files out; their names, to be removed again, go to names (which point into the text). */
static size_t lay_out(int dirfd, char *text, char *names[MAX_FILES])
{
	char *name = NULL, *start = text, *end;
	size_t n = 0;

	for (char *line = text; *line && n < MAX_FILES; line = end) {
		char *next = header(line, &end);

		if (!next && *end)
			continue;
		if (name) {
			fuzz_file(dirfd, name, start, (size_t)((next ? line : end) - start));
			names[n++] = name;
		}
		name = next;
		start = end;
	}
	return n;
}

static void on_frame(void *owner, struct ttrpc_buf *take_frame)
{
	FUZZ_CHECK(take_frame);
	ttrpc_buf_free(take_frame);
	++*(int *)owner;
}

static void handler(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	(void)request;
	convert_reply_stats(call, ctx);
}

static void answer(struct oci_stats *s)
{
	const struct ttrpc_method method = { "Stats", &husk__task__stats_request__descriptor, handler };
	const struct ttrpc_service service = { "s", &method, 1, s };
	struct ttrpc_server server = { .services = &service, .n_services = 1, .max_calls = 1 };
	const struct ttrpc_request rq = { .service = "s", .method = "Stats" };
	struct ttrpc_session session;
	struct ttrpc_frame f = { .stream = 1, .type = TTRPC_REQUEST };
	struct ttrpc_buf *buf;
	int n_answers = 0;

	FUZZ_CHECK(ttrpc_request_encode(&rq, NULL, 1, &buf) == 0);
	f.payload = buf->data + TTRPC_HEADER_BYTES;
	f.len = (uint32_t)(buf->len - TTRPC_HEADER_BYTES);
	ttrpc_session_init(&session, &server, on_frame, &n_answers);
	ttrpc_session_input(&session, &f);
	ttrpc_session_done(&session);
	ttrpc_buf_free(buf);
	FUZZ_CHECK(n_answers == 1);
}

static void read_all(int dirfd, bool is_v1, const char *sizes)
{
	struct oci_stats s = { .is_v1 = is_v1 };

	if (is_v1) {
		for (unsigned int ctl = 0; ctl < CG_N_CTLS; ctl++)
			FUZZ_CHECK(cg_stats_v1((enum cg_ctl)ctl, dirfd, &s) == 0);
	} else {
		FUZZ_CHECK(cg_stats_v2(dirfd, &s) == 0);
		FUZZ_CHECK(cg_stats_rdma(dirfd, &s) == 0);
	}
	FUZZ_CHECK(cg_stats_hugetlb(dirfd, !is_v1, sizes, &s) == 0);
	for (size_t i = 0; i < s.rdma_current.n; i++)
		FUZZ_CHECK(memchr(s.rdma_current.v[i].device, '\0', sizeof(s.rdma_current.v[i].device)));
	answer(&s);
	oci_stats_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char sizes[64];
	struct fuzz_in in = { data, size };
	hk_autofree char *text = fuzz_rest(&in);
	char *names[MAX_FILES];
	const int dirfd = fuzz_dir();
	size_t n;

	if (!sizes[0]) {
		FUZZ_CHECK(mkdirat(dirfd, ".sizes", 0700) == 0 && mkdirat(dirfd, ".sizes/hugepages-2048kB", 0700) == 0);
		FUZZ_CHECK(hk_fmt(sizes, sizeof(sizes), "/proc/self/fd/%d/.sizes", dirfd) > 0);
	}
	n = lay_out(dirfd, text, names);
	read_all(dirfd, text[0] == '1', sizes);
	for (size_t i = 0; i < n; i++)
		fuzz_file(dirfd, names[i], NULL, 0);
	return 0;
}
