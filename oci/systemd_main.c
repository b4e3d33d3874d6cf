/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/systemd_main.c — husk-systemd, a program of its own: one request to systemd over one bus session, so that libsystemd is in no
 * process that stays. oci/cgroup_systemd.c runs it, with an error's way back on fd OCI_HELPER_SOCK; by hand it tells it on stderr.
 *
 *   husk-systemd start UNIT PROPERTY...    a transient scope or slice; waits for the end of the job
 *   husk-systemd update UNIT PROPERTY...   SetUnitProperties, until the next boot
 *   husk-systemd stop UNIT                 and reset, if it failed; one that is gone is success
 *
 * PROPERTY is "NAME[@VERSION] SIGNATURE VALUE" (oci/cgroup_unit.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "oci/helper.h"
#include "oci/sync.h"

#define DESTINATION "org.freedesktop.systemd1"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"
#define PRIVATE_BUS "unix:path=/run/systemd/private"
#define TURN_DIR "/run/husk" /* the shims' own, root's alone */
/* Together less than OCI_UNIT_TIMEOUT_MS, so that the shim hears what it was that did not end. */
enum { TURN_S = 12, TIMEOUT_S = 25, NAME_SIZE = 128, BITS_MAX = 8192 };

struct request {
	sd_bus *bus;
	const char *unit;
	char *const *props;
	uint64_t until_ns;
	char job[NAME_SIZE];    /* the object path that JobRemoved must name */
	char result[NAME_SIZE]; /* "" until it has */
};

static int fail_bus(struct hk_err *err, const sd_bus_error *e, int r, const char *what, const char *unit)
{
	enum hk_kind kind = HK_INTERNAL;
	int code = r < 0 ? -r : EIO;

	if (sd_bus_error_has_name(e, "org.freedesktop.systemd1.UnitExists"))
		kind = HK_EXISTS;
	else if (code == EINVAL || code == EROFS || sd_bus_error_has_name(e, SD_BUS_ERROR_INVALID_ARGS) ||
	    sd_bus_error_has_name(e, SD_BUS_ERROR_PROPERTY_READ_ONLY))
		kind = HK_INVALID;
	else if (code == ETIMEDOUT)
		kind = HK_DEADLINE;
	if (e && e->message)
		return hk_fail_text(err, kind, code, "systemd: %s %s: %s", what, unit, e->message);
	return hk_fail(err, kind, code, "systemd: %s %s", what, unit);
}

/* ---- the session ---- */

/* As systemctl does for root: straight to systemd, so that a node without a bus daemon, or with a hung one, works too. */
static int open_private(sd_bus **ret)
{
	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);

	if (r >= 0)
		r = sd_bus_set_address(bus, PRIVATE_BUS);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0)
		sd_bus_unref(bus);
	else
		*ret = bus;
	return r;
}

static int open_bus(struct request *q, struct hk_err *err)
{
	int r = open_private(&q->bus);

	if (r < 0) {
		r = sd_bus_open_system(&q->bus);
		/* Through a bus daemon systemd tells of jobs only on request. */
		if (r >= 0)
			r = sd_bus_call_method(q->bus, DESTINATION, MANAGER_PATH, MANAGER, "Subscribe", NULL, NULL, NULL);
	}
	if (r < 0)
		return hk_fail(err, HK_UNAVAILABLE, -r, "connect to systemd by /run/systemd/private or the system bus");
	(void)sd_bus_set_method_call_timeout(q->bus, (uint64_t)TIMEOUT_S * 1000000);
	return 0;
}

static int on_job_removed(sd_bus_message *m, void *arg, sd_bus_error *e)
{
	struct request *q = arg;
	const char *job, *unit, *result;
	uint32_t id;

	(void)e;
	if (sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) >= 0 && strcmp(job, q->job) == 0)
		(void)hk_fmt(q->result, sizeof(q->result), "%s", *result ? result : "unknown");
	return 0;
}

static int watch_jobs(struct request *q, struct hk_err *err)
{
	int r = sd_bus_match_signal(q->bus, NULL, NULL, MANAGER_PATH, MANAGER, "JobRemoved", on_job_removed, q);

	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "systemd: watch jobs") : 0;
}

static int take_job(struct request *q, sd_bus_message *reply)
{
	const char *job;
	int r = sd_bus_message_read(reply, "o", &job);

	q->result[0] = '\0';
	return r < 0 ? r : hk_fmt(q->job, sizeof(q->job), "%s", job);
}

/* Signals that came before the answer that named the job have been kept, and are looked at here first. */
static int await_job(struct request *q, const char *what, struct hk_err *err)
{
	int r = 0;

	while (!q->result[0]) {
		uint64_t now = hk_now_ns();

		r = sd_bus_process(q->bus, NULL);
		if (r == 0 && now >= q->until_ns)
			r = -ETIMEDOUT;
		else if (r == 0)
			r = sd_bus_wait(q->bus, (q->until_ns - now) / 1000 + 1);
		if (r < 0 && r != -EINTR)
			return hk_fail(err, r == -ETIMEDOUT ? HK_DEADLINE : HK_INTERNAL, -r, "systemd: %s %s: wait for the job", what,
			    q->unit);
	}
	return 0;
}

/* ---- properties ---- */

static int append_strings(sd_bus_message *m, char *value)
{
	int r = sd_bus_message_open_container(m, 'a', "s");

	for (char *save = NULL, *word = strtok_r(value, " ", &save); word && r >= 0; word = strtok_r(NULL, " ", &save))
		r = sd_bus_message_append_basic(m, 's', word);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_numbers(sd_bus_message *m, char *value)
{
	int r = sd_bus_message_open_container(m, 'a', "u");

	for (char *save = NULL, *word = strtok_r(value, " ", &save); word && r >= 0; word = strtok_r(NULL, " ", &save)) {
		uint64_t v;

		r = hk_parse_u64(word, &v);
		if (r == 0)
			r = v <= UINT32_MAX ? sd_bus_message_append(m, "u", (uint32_t)v) : -ERANGE;
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* Words two and two: DeviceAllow's. */
static int append_pairs(sd_bus_message *m, char *value)
{
	int r = sd_bus_message_open_container(m, 'a', "(ss)");

	for (char *save = NULL, *first = strtok_r(value, " ", &save); first && r >= 0; first = strtok_r(NULL, " ", &save)) {
		const char *second = strtok_r(NULL, " ", &save);

		r = second ? sd_bus_message_append(m, "(ss)", first, second) : -EINVAL;
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_bytes(sd_bus_message *m, const char *hex)
{
	uint8_t bytes[BITS_MAX / 8];
	size_t n = strlen(hex) / 2;

	if (n > sizeof(bytes) || strlen(hex) % 2 != 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		char digits[3] = { hex[2 * i], hex[2 * i + 1], '\0' }, *end;

		bytes[i] = (uint8_t)strtoul(digits, &end, 16);
		if (end != digits + 2)
			return -EINVAL;
	}
	return sd_bus_message_append_array(m, 'y', bytes, n);
}

static int append_integer(sd_bus_message *m, char type, const char *value)
{
	uint64_t v;
	int r = hk_parse_u64(value, &v);

	if (r < 0)
		return r;
	if (type == 't')
		return sd_bus_message_append(m, "t", v);
	if (v > (type == 'u' ? UINT32_MAX : INT32_MAX))
		return -ERANGE;
	return type == 'u' ? sd_bus_message_append(m, "u", (uint32_t)v) : sd_bus_message_append(m, "i", (int)v);
}

static int append_value(sd_bus_message *m, const char *signature, char *value)
{
	if (strcmp(signature, "as") == 0)
		return append_strings(m, value);
	if (strcmp(signature, "au") == 0)
		return append_numbers(m, value);
	if (strcmp(signature, "a(ss)") == 0)
		return append_pairs(m, value);
	if (strcmp(signature, "ay") == 0)
		return append_bytes(m, value);
	if (strcmp(signature, "b") == 0)
		return sd_bus_message_append(m, "b", strcmp(value, "true") == 0);
	if (strcmp(signature, "s") == 0)
		return sd_bus_message_append(m, "s", value);
	if (strcmp(signature, "t") == 0 || strcmp(signature, "u") == 0 || strcmp(signature, "i") == 0)
		return append_integer(m, signature[0], value);
	return -EINVAL;
}

/* The number in "257.9-1~deb13u1". Asked once, and only if a property depends on it. */
static int version_of(struct request *q, uint64_t *version)
{
	char *text = NULL;
	int r = *version ? 0 : sd_bus_get_property_string(q->bus, DESTINATION, MANAGER_PATH, MANAGER, "Version", NULL, &text);

	if (text)
		*version = strtoul(text + strcspn(text, "0123456789"), NULL, 10);
	free(text);
	return r;
}

static int append_property(struct request *q, sd_bus_message *m, const char *prop, uint64_t *version)
{
	hk_autofree char *copy = strdup(prop);
	char *signature = copy ? strchr(copy, ' ') : NULL, *value = signature ? strchr(signature + 1, ' ') : NULL, *at;
	uint64_t least;
	int r = 0;

	if (!value)
		return copy ? -EINVAL : -ENOMEM;
	*signature++ = '\0';
	*value++ = '\0';
	at = strchr(copy, '@');
	if (at) {
		*at = '\0';
		r = hk_parse_u64(at + 1, &least);
		if (r == 0)
			r = version_of(q, version);
		if (r >= 0 && *version < least)
			return 0;
	}
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'r', "sv");
	if (r >= 0)
		r = sd_bus_message_append(m, "s", copy);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', signature);
	if (r >= 0)
		r = append_value(m, signature, value);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_properties(struct request *q, sd_bus_message *m, struct hk_err *err)
{
	uint64_t version = 0;
	int r = sd_bus_message_open_container(m, 'a', "(sv)");

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "systemd: message");
	for (size_t i = 0; q->props[i]; i++) {
		r = append_property(q, m, q->props[i], &version);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "systemd: property \"%.200s\"", q->props[i]);
	}
	r = sd_bus_message_close_container(m);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "systemd: message") : 0;
}

/* ---- the requests ---- */

static void reset_failed(struct request *q)
{
	/* Most often there is nothing to reset, and that is an error. */
	(void)sd_bus_call_method(q->bus, DESTINATION, MANAGER_PATH, MANAGER, "ResetFailedUnit", NULL, NULL, "s", q->unit);
}

static int start_once(struct request *q, sd_bus_error *e, struct hk_err *err)
{
	sd_bus_message *m = NULL, *reply = NULL;
	int r = sd_bus_message_new_method_call(q->bus, &m, DESTINATION, MANAGER_PATH, MANAGER, "StartTransientUnit");

	if (r >= 0)
		r = sd_bus_message_append(m, "ss", q->unit, "replace");
	if (r < 0) {
		r = hk_fail(err, HK_INTERNAL, -r, "systemd: message");
	} else {
		r = append_properties(q, m, err);
		if (r == 0)
			r = sd_bus_message_append(m, "a(sa(sv))", 0);
		if (r >= 0)
			r = sd_bus_call(q->bus, m, 0, e, &reply);
		if (r >= 0)
			r = take_job(q, reply);
		if (r < 0 && err->code == 0)
			r = fail_bus(err, e, r, "start", q->unit);
	}
	sd_bus_message_unref(m);
	sd_bus_message_unref(reply);
	return r;
}

/*
 * A failed unit of the same name lingers until it is reset (that is what UnitExists means then); a running one stays an error, or the container
 * would be put into somebody else's cgroup.
 */
static int do_start(struct request *q, struct hk_err *err)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	int r = watch_jobs(q, err);

	if (r < 0)
		return r;
	r = start_once(q, &e, err);
	if (r < 0 && err->kind == HK_EXISTS) {
		reset_failed(q);
		sd_bus_error_free(&e);
		*err = (struct hk_err){ 0 };
		r = start_once(q, &e, err);
	}
	sd_bus_error_free(&e);
	if (r >= 0)
		r = await_job(q, "start", err);
	if (r < 0 || strcmp(q->result, "done") == 0)
		return r;
	reset_failed(q);
	return hk_fail_text(err, HK_INTERNAL, EIO, "systemd: start %s: the job ended as \"%s\"", q->unit, q->result);
}

static int do_update(struct request *q, struct hk_err *err)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(q->bus, &m, DESTINATION, MANAGER_PATH, MANAGER, "SetUnitProperties");

	if (r >= 0)
		r = sd_bus_message_append(m, "sb", q->unit, true);
	if (r < 0) {
		r = hk_fail(err, HK_INTERNAL, -r, "systemd: message");
	} else {
		r = append_properties(q, m, err);
		if (r == 0) {
			r = sd_bus_call(q->bus, m, 0, &e, NULL);
			if (r < 0)
				r = fail_bus(err, &e, r, "update", q->unit);
		}
	}
	sd_bus_error_free(&e);
	sd_bus_message_unref(m);
	return r;
}

static int do_stop(struct request *q, struct hk_err *err)
{
	sd_bus_error e = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	int r = watch_jobs(q, err);

	if (r < 0)
		return r;
	r = sd_bus_call_method(q->bus, DESTINATION, MANAGER_PATH, MANAGER, "StopUnit", &e, &reply, "ss", q->unit, "replace");
	if (r >= 0)
		r = take_job(q, reply);
	if (r >= 0)
		r = await_job(q, "stop", err);
	else if (sd_bus_error_has_name(&e, "org.freedesktop.systemd1.NoSuchUnit"))
		r = 0; /* the last process was its end */
	else
		r = fail_bus(err, &e, r, "stop", q->unit);
	reset_failed(q);
	sd_bus_error_free(&e);
	sd_bus_message_unref(reply);
	return r;
}

static void on_alarm(int sig)
{
	(void)sig; /* ends the wait below */
}

/*
 * One session of the node at a time, as far as that is quick: systemd has one thread and tells every direct connection of every unit and job, so
 * many at once cost it their square in messages, and whoever else asks it something waits for them.
 */
static void await_turn(void)
{
	const struct sigaction action = { .sa_handler = on_alarm };
	hk_autofd fd = open(TURN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || sigaction(SIGALRM, &action, NULL) < 0)
		return;
	(void)alarm(TURN_S);
	if (flock(fd, LOCK_EX) == 0)
		fd = -1; /* held until this process ends */
	(void)alarm(0);
}

static const struct {
	const char *verb;
	int (*fn)(struct request *q, struct hk_err *err);
} verbs[] = { { "start", do_start }, { "update", do_update }, { "stop", do_stop } };

static int serve(int argc, char **argv, struct hk_err *err)
{
	struct request q = { 0 };
	int r = -EINVAL;

	for (size_t i = 0; argc >= 3 && i < HK_ARRAY_SIZE(verbs); i++) {
		if (strcmp(argv[1], verbs[i].verb) != 0)
			continue;
		q.unit = argv[2];
		q.props = argv + 3;
		await_turn();
		q.until_ns = hk_now_ns() + TIMEOUT_S * 1000000000ULL;
		r = open_bus(&q, err);
		if (r == 0)
			r = verbs[i].fn(&q, err);
		sd_bus_flush_close_unref(q.bus);
		return r;
	}
	return hk_fail_text(err, HK_INVALID, EINVAL, "usage: husk-systemd start|update|stop UNIT [PROPERTY...]");
}

int main(int argc, char **argv)
{
	struct hk_err err = { 0 };
	struct stat st;

	if (serve(argc, argv, &err) >= 0)
		return EXIT_SUCCESS;
	if (fstat(OCI_HELPER_SOCK, &st) == 0 && S_ISSOCK(st.st_mode))
		oci_sync_fail(OCI_HELPER_SOCK, 0, -1, &err);
	else
		(void)fprintf(stderr, "%s\n", err.text);
	return EXIT_FAILURE;
}
