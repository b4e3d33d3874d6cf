/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/faults/calls.c — what happens at the borders of a request, in the shim of the tests alone (linked with --wrap, see faults.c).
 *
 * Failpoints: the annotations io.containerd.runtime.v2.shim.failpoint.METHOD of the bundle that the server was started in, as of the test shim of
 * containerd itself: COUNT*TYPE[(ARG)][->...], TYPE off, error(text), delay(milliseconds), panic(text). They come before the method.
 *
 * Deaths: HUSK_BOUNDARY names a directory. Each border that is reached ("before Create 1", "after TaskExit 2"; the number counts that one's kind in
 * this process) is appended to its file `log`; its file `kill` names one border and who dies there, `shim`, `daemon` (whose pid is in `daemon`) or
 * `both`, by SIGKILL. An event is reached before its call, and after containerd's answer, with its bytes in hex.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "oci/base/loop.h"
#include "oci/oci.h"
#include "proto/client.h"
#include "shim/cmd.h"
#include "shim/life.h"
#include "shim/sandbox_svc.h"
#include "shim/task.h"

#define FAILPOINT_PREFIX "io.containerd.runtime.v2.shim.failpoint."
enum { N_KINDS = 128, EXIT_PANIC = 2, IDLE_LOOK_MS = 40 };

/* ---- borders ---- */

static unsigned number_of(const char *border)
{
	static struct {
		char name[64];
		unsigned n;
	} kinds[N_KINDS];

	for (int i = 0; i < N_KINDS; i++) {
		if (!kinds[i].name[0])
			(void)snprintf(kinds[i].name, sizeof(kinds[i].name), "%s", border);
		if (strcmp(kinds[i].name, border) == 0)
			return ++kinds[i].n;
	}
	abort();
}

static void die(const char *dir, const char *who)
{
	char path[PATH_MAX], pid[32] = "";

	if (strcmp(who, "shim") != 0) {
		(void)snprintf(path, sizeof(path), "%s/daemon", dir);
		if (hk_read_file_at(AT_FDCWD, path, pid, sizeof(pid)) > 0)
			(void)kill((pid_t)strtol(pid, NULL, 10), SIGKILL);
	}
	if (strcmp(who, "daemon") != 0)
		(void)raise(SIGKILL);
}

static void reach(const char *when, const char *method, const char *more)
{
	const char *dir = getenv("HUSK_BOUNDARY");
	char border[64], line[20000], path[PATH_MAX], wanted[128], *who;
	hk_autofd fd = -1;
	unsigned number;

	if (!dir)
		return;
	(void)snprintf(border, sizeof(border), "%s %s", when, method);
	number = number_of(border);
	(void)snprintf(line, sizeof(line), "%s %u %d %s\n", border, number, (int)getpid(), more);
	(void)snprintf(path, sizeof(path), "%s/log", dir);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		(void)hk_write_full(fd, line, strlen(line));
	(void)snprintf(path, sizeof(path), "%s/kill", dir);
	if (hk_read_file_at(AT_FDCWD, path, wanted, sizeof(wanted)) <= 0)
		return;
	who = strrchr(wanted, ' ');
	if (!who)
		return;
	*who++ = '\0';
	(void)snprintf(border, sizeof(border), "%s %s %u", when, method, number);
	if (strcmp(border, wanted) != 0)
		return;
	(void)unlink(path); /* once */
	die(dir, who);
}

/* ---- containerd's failpoints ---- */

struct term {
	long count;
	char type[8], arg[128];
};

/* Off the front of *at; false for what is none. */
static bool take_term(const char **at, struct term *t)
{
	int len = 0;

	*t = (struct term){ 0 };
	if (sscanf(*at, "%ld*%7[a-z]%n", &t->count, t->type, &len) != 2)
		return false;
	*at += len;
	if (**at == '(') {
		if (sscanf(*at, "(%127[^)])%n", t->arg, &len) != 1)
			return false;
		*at += len;
	}
	if (strncmp(*at, "->", 2) == 0)
		*at += 2;
	else if (**at)
		return false;
	return true;
}

/* The term that the n-th call of a method meets; false: none. */
static bool term_of(const char *terms, long n, struct term *ret)
{
	while (*terms) {
		if (!take_term(&terms, ret))
			abort();
		if (n <= ret->count)
			return true;
		n -= ret->count;
	}
	return false;
}

static long *evaluations(const char *method)
{
	static struct {
		const char *method;
		long n;
	} v[TASK_N_METHODS + SANDBOX_N_METHODS];

	for (int i = 0; i < TASK_N_METHODS + SANDBOX_N_METHODS; i++) {
		if (!v[i].method)
			v[i].method = method;
		if (v[i].method == method)
			return &v[i].n;
	}
	abort();
}

static const char *terms_of(const char *bundle, const char *method)
{
	static struct hk_arena arena; /* for the life of the process */
	static struct oci_kvs annotations;
	static bool is_read;
	char key[128];

	if (!is_read && oci_annotations_read(bundle, &arena, &annotations, NULL) < 0)
		annotations.n = 0;
	is_read = true;
	(void)snprintf(key, sizeof(key), FAILPOINT_PREFIX "%s", method);
	return oci_kvs_get(&annotations, key);
}

/* A call that was put off: the message is only lent to us. */
struct delayed {
	struct hk_timer timer;
	ttrpc_handler_fn *fn;
	void *ctx;
	struct ttrpc_call *call;
	const ProtobufCMessageDescriptor *type;
	size_t len;
	uint8_t bytes[];
};

static void on_delay_over(void *owner)
{
	struct delayed *d = owner;
	ProtobufCMessage *request = protobuf_c_message_unpack(d->type, NULL, d->len, d->bytes);

	d->fn(d->ctx, d->call, request);
	protobuf_c_message_free_unpacked(request, NULL);
	free(d);
}

static void delay(ttrpc_handler_fn *fn, struct task_service *s, struct ttrpc_call *call, const ProtobufCMessage *request, uint64_t ms)
{
	const size_t len = protobuf_c_message_get_packed_size(request);
	struct delayed *d = calloc(1, sizeof(*d) + len);

	*d = (struct delayed){ .fn = fn, .ctx = s, .call = call, .type = request->descriptor, .len = len };
	(void)protobuf_c_message_pack(request, d->bytes);
	hk_timer_init(&d->timer, on_delay_over, d);
	hk_timer_set(s->life->loop, &d->timer, ms);
}

static void handle(ttrpc_handler_fn *fn, void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const char *terms;
	struct term t;

	reach("before", call->method, "");
	terms = terms_of(s->life->bundle, call->method);
	if (!terms || !term_of(terms, ++*evaluations(call->method), &t) || strcmp(t.type, "off") == 0) {
		fn(ctx, call, request);
	} else if (strcmp(t.type, "error") == 0) {
		ttrpc_call_fail(call, TTRPC_UNKNOWN, t.arg);
	} else if (strcmp(t.type, "delay") == 0) {
		delay(fn, s, call, request, strtoull(t.arg, NULL, 10));
	} else if (strcmp(t.type, "panic") == 0) {
		log_fatal("panic", LOG_STR("err", t.arg));
		_exit(EXIT_PANIC);
	} else {
		abort();
	}
}

#define WRAP_HANDLER(name, fn, message)                                                                \
	void __real_##fn(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request);         \
	void __wrap_##fn(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request);         \
	void __wrap_##fn(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)          \
	{                                                                                              \
		handle(__real_##fn, ctx, call, request);                                               \
	}
TASK_METHODS(WRAP_HANDLER)
SANDBOX_METHODS(WRAP_HANDLER)

/* ---- answers ---- */

void __real_ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *msg);
void __wrap_ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *msg);
void __wrap_ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *msg)
{
	const char *method = call->method;

	__real_ttrpc_call_reply(call, msg);
	reach("after", method, "");
}

void __real_ttrpc_call_fail(struct ttrpc_call *call, enum ttrpc_code code, const char *text);
void __wrap_ttrpc_call_fail(struct ttrpc_call *call, enum ttrpc_code code, const char *text);
void __wrap_ttrpc_call_fail(struct ttrpc_call *call, enum ttrpc_code code, const char *text)
{
	const char *method = call->method;

	__real_ttrpc_call_fail(call, code, text);
	reach("after", method, text);
}

/* ---- events: one is in flight at a time ---- */

static struct {
	ttrpc_result_fn *fn;
	char hex[16384];
} forward;

static void on_forwarded(void *arg, const struct ttrpc_response *res)
{
	if (res->code == TTRPC_OK)
		reach("after", "Forward", forward.hex);
	forward.fn(arg, res);
}

int __real_ttrpc_client_call(
    struct ttrpc_client *c, const struct ttrpc_outcall *call, ttrpc_result_fn *fn, void *arg, struct ttrpc_buf **ret_frame);
int __wrap_ttrpc_client_call(
    struct ttrpc_client *c, const struct ttrpc_outcall *call, ttrpc_result_fn *fn, void *arg, struct ttrpc_buf **ret_frame);
int __wrap_ttrpc_client_call(
    struct ttrpc_client *c, const struct ttrpc_outcall *call, ttrpc_result_fn *fn, void *arg, struct ttrpc_buf **ret_frame)
{
	if (strcmp(call->method, "Forward") != 0)
		return __real_ttrpc_client_call(c, call, fn, arg, ret_frame);
	forward.fn = fn;
	forward.hex[0] = '\0';
	for (size_t i = 0; i < call->payload_len && 2 * i + 2 < sizeof(forward.hex); i++)
		(void)snprintf(forward.hex + 2 * i, 3, "%02x", call->payload[i]);
	reach("before", "Forward", forward.hex);
	return __real_ttrpc_client_call(c, call, on_forwarded, arg, ret_frame);
}

/* ---- time: a shim that nobody has anything to do for ends after minutes; here after seconds ---- */

void __real_shim_life_init(struct shim_life *l);
void __wrap_shim_life_init(struct shim_life *l);
void __wrap_shim_life_init(struct shim_life *l)
{
	if (getenv("HUSK_BOUNDARY"))
		l->idle_look_ms = IDLE_LOOK_MS;
	__real_shim_life_init(l);
}

/* ---- commands ---- */

#define WRAP_COMMAND(fn, name)                     \
	int __real_##fn(const struct shim_flags *f); \
	int __wrap_##fn(const struct shim_flags *f); \
	int __wrap_##fn(const struct shim_flags *f) \
	{                                            \
		int r;                               \
                                                     \
		reach("before", name, "");           \
		r = __real_##fn(f);                  \
		reach("after", name, "");            \
		return r;                            \
	}
WRAP_COMMAND(shim_cmd_start, "start")
WRAP_COMMAND(shim_cmd_delete, "delete")
