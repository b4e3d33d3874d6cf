/* SPDX-License-Identifier: Apache-2.0 */
/* A sandbox without a pause image: orders and failures by a fake engine (with: fake_engine.c), and its document; without root. */
#include "tests/sandbox/pod_helpers.h"

#include "sandbox/podsandbox_priv.h"
#include "tests/sandbox/fake_engine.h"

static char script_path[128];

/* The fake engine runs the file that `bundle` names. */
static const char *script(const char *id, const char *text)
{
	hk_autofd fd = -1;

	(void)snprintf(script_path, sizeof(script_path), "%s/%s.sh", world.top, id);
	fd = open(script_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, text, strlen(text)), 0);
	return script_path;
}

/* IPC is the node's: without root nobody mounts a /dev/shm. */
static struct sbx_sandbox_config config(const char *text)
{
	return (struct sbx_sandbox_config){ .id = "pod", .bundle = script("pod", text), .netns_path = "", .hostname = "h", .cgroup_parent = "",
		.selinux_label = "", .ipc = SBX_NS_NODE, .pid = SBX_NS_NODE };
}

static void create(const struct sbx_sandbox_config *c)
{
	struct hk_err err = { 0 };

	if (sbx_sandbox_create(world.pod, c, &err) < 0)
		fail_msg("%s", err.text);
}

static void shut_down(void)
{
	struct answer a;

	sbx_sandbox_shutdown(world.pod, "pod", to(&a));
	succeeded(&a);
	assert_false(sbx_has_sandbox(world.pod));
	assert_int_equal(fake.n_alive, 0);
	assert_string_equal(world.events, "");
}

static void run(const char *text)
{
	const struct sbx_sandbox_config c = config(text);
	struct answer a;

	create(&c);
	sbx_sandbox_start(world.pod, "pod", to(&a));
	succeeded(&a);
	assert_true(a.reply.pid > 0 && a.reply.started_at.tv_sec > 0);
}

static bool is_ready(void)
{
	struct sbx_sandbox_status s;

	assert_int_equal(sbx_sandbox_status(world.pod, "pod", &s, NULL), 0);
	assert_true(s.is_ready == (s.pid != 0));
	return s.is_ready;
}

static int set_up(void **state)
{
	fake = (struct fake){ 0 };
	return world_set_up(state);
}

/* Its script has come as far as its trap: on a busy machine that is not a matter of a moment. */
static void await_trap(void)
{
	struct sbx_sandbox_status s;
	char path[64], text[4096];
	uint64_t caught = 0;

	assert_int_equal(sbx_sandbox_status(world.pod, "pod", &s, NULL), 0);
	assert_true(hk_fmt(path, sizeof(path), "/proc/%u/status", s.pid) > 0);
	for (int i = 0; i < 2000 && !(caught & 1U << (SIGTERM - 1)); i++) {
		const char *at = hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0 ? strstr(text, "SigCgt:") : NULL;

		caught = at ? strtoull(at + strlen("SigCgt:"), NULL, 16) : 0;
		turn(10);
	}
	assert_true(caught & 1U << (SIGTERM - 1));
}

static void exit_is_told_once_and_to_all(void **state)
{
	struct answer first, second, third, stop, again;

	(void)state;
	run("trap 'exit 0' TERM; while :; do sleep 0.01; done");
	sbx_sandbox_wait(world.pod, "pod", to(&first));
	sbx_sandbox_wait(world.pod, "pod", to(&second));
	await_trap();
	turn(100);
	assert_true(is_ready());
	assert_int_equal(first.calls + second.calls, 0);
	fake.remove_ms = 50;
	sbx_sandbox_stop(world.pod, "pod", to(&stop));
	sbx_sandbox_stop(world.pod, "pod", to(&again));
	succeeded(&first);
	succeeded(&second);
	assert_int_equal(stop.calls + again.calls, 0); /* its cgroup is not gone yet */
	assert_false(is_ready());
	succeeded(&stop);
	succeeded(&again);
	assert_int_equal(first.reply.exit_status, 0);
	sbx_sandbox_wait(world.pod, "pod", to(&third));
	assert_int_equal(third.calls, 1);
	assert_int_equal(third.reply.exited_at.tv_nsec, first.reply.exited_at.tv_nsec);
	shut_down();
	assert_int_equal(first.calls + second.calls + third.calls + stop.calls + again.calls, 5);
}

/* One that does not end on SIGTERM is killed. */
static void stubborn_process(void **state)
{
	struct answer wait, stop;
	char armed[96], script[200];

	(void)state;
	(void)hk_fmt(armed, sizeof(armed), "%s/armed", world.top);
	(void)hk_fmt(script, sizeof(script), "trap '' TERM; : >%s; while :; do sleep 0.01; done", armed);
	run(script);
	for (int i = 0; i < 10000 && access(armed, F_OK) < 0; i++)
		turn(1);
	assert_int_equal(unlink(armed), 0);
	sbx_sandbox_wait(world.pod, "pod", to(&wait));
	sbx_sandbox_stop(world.pod, "pod", to(&stop));
	succeeded(&stop);
	assert_int_equal(wait.reply.exit_status, 137);
	shut_down();
}

static void process_that_ends_by_itself(void **state)
{
	struct answer wait;

	(void)state;
	fake.start_ms = 100; /* dead before its start is told */
	run("exit 3");
	sbx_sandbox_wait(world.pod, "pod", to(&wait));
	succeeded(&wait);
	assert_int_equal(wait.reply.exit_status, 3);
	assert_false(is_ready());
	turn(20);
	shut_down();
}

static void failed_start_can_be_tried_again(void **state)
{
	const struct sbx_sandbox_config c = config("exec sleep 1000");
	struct answer a, wait;

	(void)state;
	create(&c);
	sbx_sandbox_wait(world.pod, "pod", to(&wait));
	fake.create_error = "mount proc on /proc: EPERM";
	sbx_sandbox_start(world.pod, "pod", to(&a));
	refused(&a, HK_INTERNAL, "mount proc on /proc: EPERM");
	fake.create_error = NULL;
	fake.start_error = "execve /husk-init: EACCES";
	sbx_sandbox_start(world.pod, "pod", to(&a));
	refused(&a, HK_INTERNAL, "execve /husk-init: EACCES");
	assert_int_equal(wait.calls, 0);
	fake.start_error = NULL;
	sbx_sandbox_start(world.pod, "pod", to(&a));
	succeeded(&a);
	assert_true(is_ready());
	shut_down();
	assert_int_equal(wait.calls, 1);
}

static void stop_while_starting(void **state)
{
	const struct sbx_sandbox_config c = config("exec sleep 1000");
	struct answer start, stop;

	(void)state;
	create(&c);
	fake.launch_ms = 50;
	sbx_sandbox_start(world.pod, "pod", to(&start));
	sbx_sandbox_stop(world.pod, "pod", to(&stop));
	succeeded(&stop);
	assert_int_equal(start.calls, 1);
	assert_false(start.failed);
	shut_down();
}

static void removal_that_fails(void **state)
{
	struct answer stop;

	(void)state;
	run("exec sleep 1000");
	fake.remove_failures = 1;
	sbx_sandbox_stop(world.pod, "pod", to(&stop));
	refused(&stop, HK_INTERNAL, "remove cgroup: EBUSY");
	sbx_sandbox_stop(world.pod, "pod", to(&stop));
	succeeded(&stop);
	shut_down();
}

static void containers_that_are_left(void **state)
{
	struct answer a, refusal;
	char path[128];

	(void)state;
	run("exec sleep 1000");
	(void)snprintf(path, sizeof(path), "%s", script("c", "exec sleep 1000"));
	sbx_create(world.pod, &(struct sbx_create){ .id = "c", .bundle = path, .stdin_path = "", .stdout_path = "", .stderr_path = "" }, to(&a));
	succeeded(&a);
	sbx_start(world.pod, "c", "", to(&a));
	succeeded(&a);
	sbx_sandbox_stop(world.pod, "pod", to(&a));
	succeeded(&a);
	sbx_create(world.pod, &(struct sbx_create){ .id = "d", .bundle = path, .stdin_path = "", .stdout_path = "", .stderr_path = "" },
	    to(&refusal));
	refused(&refusal, HK_BAD_STATE, "sandbox pod is not running");
	sbx_sandbox_shutdown(world.pod, "pod", to(&a));
	succeeded(&a);
	assert_int_equal(sbx_pod_count(world.pod), 0);
	assert_events("create c;start c;exit c 137;delete c;");
	assert_int_equal(fake.n_alive, 0);
}

/* The shim goes: what waits is told, processes and files stay for `delete`. */
static void shim_goes(void **state)
{
	struct answer wait;
	struct sbx_reply reply;
	struct hk_err err;

	(void)state;
	run("exec sleep 1000");
	sbx_sandbox_wait(world.pod, "pod", to(&wait));
	sbx_pod_free(world.pod);
	refused(&wait, HK_UNAVAILABLE, "the shim is going away");
	assert_int_equal(sbx_cleanup(world.run_dir, "test", "pod", "", &reply, &err), 0);
	assert_true(reply.pid > 0);
	assert_int_equal(sbx_cleanup(world.run_dir, "test", "group", "", &reply, &err), 0);
	pod_open();
}

static void nobody_is_needed(void **state)
{
	struct sbx_sandbox_config c = config("exit 1");
	struct sbx_sandbox_status s;
	struct answer a, wait;

	(void)state;
	c.net = SBX_NS_NODE;
	create(&c);
	sbx_sandbox_start(world.pod, "pod", to(&a));
	succeeded(&a);
	assert_int_equal(a.reply.pid, getpid());
	assert_int_equal(sbx_sandbox_status(world.pod, "pod", &s, NULL), 0);
	assert_false(s.has_process);
	sbx_sandbox_wait(world.pod, "pod", to(&wait));
	turn(20);
	assert_int_equal(wait.calls, 0);
	sbx_sandbox_stop(world.pod, "pod", to(&a));
	succeeded(&a);
	assert_int_equal(wait.calls, 1);
	shut_down();
}

static void wrong_input(void **state)
{
	struct sbx_sandbox_config c = config("exit 1");
	struct hk_err err;
	struct answer a;

	(void)state;
	c.id = "../x";
	assert_int_equal(sbx_sandbox_create(world.pod, &c, &err), -EINVAL);
	assert_int_equal(err.kind, HK_INVALID);
	c.id = "pod";
	c.has_userns = true;
	assert_int_equal(sbx_sandbox_create(world.pod, &c, &err), -EINVAL);
	c.has_userns = false;
	create(&c);
	assert_int_equal(sbx_sandbox_create(world.pod, &c, &err), -EEXIST);
	assert_int_equal(err.kind, HK_EXISTS);
	sbx_sandbox_start(world.pod, "other", to(&a));
	refused(&a, HK_NOT_FOUND, "sandbox other");
	shut_down();
	sbx_sandbox_shutdown(world.pod, "pod", to(&a)); /* once more */
	succeeded(&a);
}

/* ---- the document ---- */

static char *document(const struct sbx_sandbox_config *c)
{
	char *text = NULL;
	size_t len;

	assert_int_equal(sandbox_spec(c, "/usr/libexec/husk/husk-init", -1, &text, &len, NULL), 0);
	assert_int_equal(strlen(text), len);
	return text;
}

static void document_of_every_kind(void **state)
{
	struct oci_idmap map = { .container_id = 0, .host_id = 100000, .size = 65536 };
	struct oci_kv sysctl = { .key = "net.ipv4.ip_unprivileged_port_start", .value = "1\"024" };
	struct sbx_sandbox_config c = config("");
	hk_autofree char *plain = NULL, *full = NULL;

	(void)state;
	c.hostname = "a\\b";
	plain = document(&c);
	assert_non_null(strstr(plain, "\"hostname\":\"a\\\\b\""));
	assert_non_null(strstr(plain, "\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"network\"},{\"type\":\"uts\"}]"));
	assert_non_null(strstr(plain, "\"cgroupsPath\":\"/k8s.io/pod\""));
	assert_non_null(strstr(plain, "\"net.ipv4.ping_group_range\":\"0 2147483647\""));
	assert_non_null(strstr(plain, "\"uid\":65535"));
	c.netns_path = "/run/netns/x";
	c.ipc = c.pid = SBX_NS_POD;
	c.has_userns = true;
	c.uids = c.gids = (struct oci_idmaps){ .v = &map, .n = 1 };
	c.sysctls = (struct oci_kvs){ .v = &sysctl, .n = 1 };
	c.cgroup_parent = "/kubepods.slice/kubepods-pod1.slice";
	full = document(&c);
	assert_non_null(strstr(full, "{\"type\":\"network\",\"path\":\"/run/netns/x\"},{\"type\":\"uts\"},{\"type\":\"ipc\"},{\"type\":\"pid\"},{\"type\":\"user\"}]"));
	assert_non_null(strstr(full, "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]"));
	assert_non_null(strstr(full, "\"cgroupsPath\":\"kubepods-pod1.slice:cri-containerd:pod\""));
	assert_non_null(strstr(full, "\"sysctl\":{\"net.ipv4.ip_unprivileged_port_start\":\"1\\\"024\"}"));
	map.size = 1000; /* no 65535 in there */
	free(hk_take_ptr(full));
	full = document(&c);
	assert_non_null(strstr(full, "\"uid\":0,\"gid\":0"));
}

static void words_for_what_is_held(void **state)
{
	struct sbx_sandbox_config c = config("");
	char why[64];

	(void)state;
	sandbox_why(&c, why, sizeof(why));
	assert_string_equal(why, "network uts");
	c.pid = SBX_NS_CONTAINER; /* a container may ask for the pod's all the same */
	sandbox_why(&c, why, sizeof(why));
	assert_string_equal(why, "network uts pid");
	c.ipc = c.pid = SBX_NS_POD;
	c.has_userns = true;
	sandbox_why(&c, why, sizeof(why));
	assert_string_equal(why, "network uts ipc pid user");
	c = (struct sbx_sandbox_config){ .net = SBX_NS_NODE, .ipc = SBX_NS_NODE, .pid = SBX_NS_NODE };
	sandbox_why(&c, why, sizeof(why));
	assert_string_equal(why, "");
}

int main(void)
{
#define ROW(fn) cmocka_unit_test_setup_teardown(fn, set_up, world_tear_down)
	const struct CMUnitTest tests[] = {
		ROW(exit_is_told_once_and_to_all),
		ROW(stubborn_process),
		ROW(process_that_ends_by_itself),
		ROW(failed_start_can_be_tried_again),
		ROW(stop_while_starting),
		ROW(removal_that_fails),
		ROW(containers_that_are_left),
		ROW(shim_goes),
		ROW(nobody_is_needed),
		ROW(wrong_input),
		ROW(document_of_every_kind),
		ROW(words_for_what_is_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
