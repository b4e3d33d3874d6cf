/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: order, place, state on stdin, failure, time; and user namespaces, whose set-up takes the longer way. (with: box.c) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/oci/box.h"

#define SH(script) "\"sh\",\"-c\",\"" script "\""
#define HOOK(script) "[{\"path\":\"/bin/sh\",\"args\":[" SH(script) "]}]"

static const char *read_log(char *buf, size_t size)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/log", base);
	if (hk_read_file_at(AT_FDCWD, path, buf, size) < 0)
		buf[0] = 0;
	(void)unlink(path);
	return buf;
}

static void hooks_run_in_order_with_their_state(void **state)
{
	static const char *const kinds[] = { "prestart", "createRuntime", "createContainer", "poststart", "poststop" };
	static const char *const status[] = { "creating", "creating", "creating", "running", "stopped" };
	char root[4096] = "\"annotations\":{\"k\\\"ey\":\"v\\nalue\"},\"hooks\":{", log[8192], *line, *save = NULL;
	struct box *b;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(kinds); i++)
		(void)snprintf(root + strlen(root), sizeof(root) - strlen(root),
		    "%s\"%s\":" HOOK("(echo $PWD '%s' $X; cat; echo) >> %s/log") "", i ? "," : "", kinds[i], kinds[i],
		    base);
	(void)snprintf(root + strlen(root), sizeof(root) - strlen(root),
	    ",\"startContainer\":[{\"path\":\"/bin/sh\",\"args\":[" SH("cat > /tmp/state") "]}]},");
	b = box_new("hooks", &(struct config){ .args = SH("cat /tmp/state"), .root = root });
	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s", b->err.text);
	assert_int_equal(box_wait(b), 0);
	assert_non_null(strstr(box_text(b), "\"pid\":1,"));
	assert_non_null(strstr(b->text, "\"status\":\"created\""));
	box_remove(b);
	(void)read_log(log, sizeof(log));
	for (line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++) {
		char want[256];

		assert_true(n < HK_ARRAY_SIZE(kinds));
		(void)snprintf(want, sizeof(want), "%s%s %s", base, n == 2 ? "/rootfs" : "/hooks", kinds[n]);
		assert_string_equal(line, want);
		line = strtok_r(NULL, "\n", &save);
		(void)snprintf(want, sizeof(want), "\"status\":\"%s\"", status[n]);
		assert_non_null(strstr(line, want));
		assert_non_null(strstr(line, "\"annotations\":{\"k\\\"ey\":\"v\\u000aalue\"}"));
	}
	assert_int_equal(n, HK_ARRAY_SIZE(kinds));
	box_free(b);
	(void)unlink("/tmp/state");
}

static void failing_hooks_end_the_create(void **state)
{
	static const struct {
		const char *hooks, *text;
		bool at_start;
	} cases[] = {
		{ "\"prestart\":" HOOK("echo out; echo oh no >&2; exit 3"),
		    "prestart hook[0] /bin/sh: exit status 3: out\noh no", false },
		{ "\"createRuntime\":" HOOK("kill -9 $$"), "createRuntime hook[0] /bin/sh: killed by signal 9", false },
		{ "\"createRuntime\":[{\"path\":\"/no/hook\"}]",
		    "createRuntime hook[0] /no/hook: exit status 127: exec /no/hook: No such file", false },
		{ "\"createContainer\":" HOOK("exit 4"), "createContainer hook[0] /bin/sh: exit status 4", false },
		{ "\"startContainer\":" HOOK("echo bad; exit 5"), "startContainer hook[0] /bin/sh: exit status 5: bad",
		    true },
		{ "\"poststart\":" HOOK("exit 6"), "poststart hook[0] /bin/sh: exit status 6", true },
		{ "\"createRuntime\":[{\"path\":\"/bin/sleep\",\"args\":[\"sleep\",\"100\"],\"timeout\":1}]",
		    "createRuntime hook[0] /bin/sleep: did not finish in time", false },
		{ "\"createContainer\":[{\"path\":\"/bin/sh\",\"args\":[" SH(
		      "sleep 100 & sleep 100") "],\"timeout\":1}]",
		    "createContainer hook[0] /bin/sh: did not finish in time", false },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		char root[2048];
		struct box *b;
		int r;

		(void)snprintf(root, sizeof(root), "\"hooks\":{%s},", cases[i].hooks);
		b = box_new("badhook", &(struct config){ .args = "\"sleep\",\"1000\"", .root = root });
		r = box_create(b, false);
		if (cases[i].at_start) {
			assert_int_equal(r, 0);
			r = box_start(b);
		} else {
			assert_false(cgroup_exists(b));
		}
		if (r == 0 || !strstr(b->err.text, cases[i].text))
			fail_msg("case %zu: %d %s", i, r, b->err.text);
		if (cases[i].at_start)
			(void)box_wait(b); /* ended by itself or killed: not by us */
		box_free(b);
	}
}

/* A hook may ignore its state, close its pipes and leave a daemon behind that holds its stdout. */
static void unread_state_and_daemons_do_no_harm(void **state)
{
	struct box *b;
	char root[512], log[64];

	(void)state;
	(void)snprintf(root, sizeof(root),
	    "\"hooks\":{\"createRuntime\":" HOOK("exec <&-; (sleep 3; echo x > %s/log) & exit 0") "},", base);
	b = box_new("daemon", &(struct config){ .args = "\"true\"", .root = root });
	assert_int_equal(box_create(b, false), 0);
	assert_string_equal(read_log(log, sizeof(log)), ""); /* we did not wait for it */
	box_free(b);
	for (int i = 0; i < 100 && !*read_log(log, sizeof(log)); i++)
		(void)usleep(100000);
	assert_string_equal(log, "x");
}

#define MAP "[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]"

static void user_namespace_maps_ids(void **state)
{
	struct box *b = box_new(
	    "userns", &(struct config){
			  .args = SH("id -u; cat /proc/self/uid_map /proc/self/gid_map; echo up; exec sleep 1000"),
			  .linux_ = "\"uidMappings\":" MAP ",\"gidMappings\":" MAP ",",
			  .namespaces = "{\"type\":\"user\"}," NS_NEW,
		      });
	char text[512], path[64];
	struct stat st;

	(void)state;
	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s", b->err.text);
	while (!strstr(b->text, "up\n")) {
		size_t have = strlen(b->text);
		ssize_t n = read(b->out[0], b->text + have, sizeof(b->text) - 1 - have);

		assert_true(n > 0);
		b->text[have + (size_t)n] = 0;
	}
	(void)snprintf(
	    text, sizeof(text), "0\n%10d %10d %10d\n%10d %10d %10d\nup\n", 0, 100000, 65536, 0, 100000, 65536);
	assert_string_equal(b->text, text);
	(void)snprintf(path, sizeof(path), "/proc/%d", b->init.pid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 100000);
	assert_int_equal(oci_container_host_uid(b->c), 100000);

	assert_int_equal(box_exec(b,
			     "{\"args\":[\"sh\",\"-c\",\"id -u; id -g\"],\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],"
			     "\"user\":{\"uid\":5,\"gid\":5}}",
			     false),
	    0);
	assert_int_equal(box_wait_extra(b), 0);
	assert_string_equal(box_text(b), "5\n5\n");
	box_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hooks_run_in_order_with_their_state),
		cmocka_unit_test(failing_hooks_end_the_create),
		cmocka_unit_test(unread_state_and_daemons_do_no_harm),
		cmocka_unit_test(user_namespace_maps_ids),
		cmocka_unit_test(nobody_is_left),
	};

	if (geteuid() != 0 || access("/bin/busybox", X_OK) != 0) {
		fprintf(stderr, "needs root and busybox-static\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, launch_setup, launch_teardown);
}
