/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCMP_ACT_NOTIFY against an agent of the test's own: what it is sent for an init and an exec, that its verdict holds, whatever calls are
 * asked, and what an agent that fails does to a launch. (with: box.c)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/seccomp.h>
#include <poll.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "oci/json.h"
#include "tests/oci/box.h"

#define PROCESS(args) "{\"args\":[" args "],\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0}}"
#define SH(script) "\"sh\",\"-c\",\"" script "\""
#define PROFILE(action, names)                                                                                              \
	"\"seccomp\":{\"defaultAction\":\"%s\",\"listenerPath\":\"%s\",\"listenerMetadata\":\"meta \\\"x\\\"\"," \
	"\"syscalls\":[{\"names\":[" names "],\"action\":\"" action "\"}]},"
#define MKDIR "\"mkdir\",\"mkdirat\""

enum { MAX_LISTENERS = 8, WAIT_MS = 10000 };

struct agent {
	pid_t pid;
	char path[400], log[128]; /* log: the documents it was sent, one a line */
};

/* ---- the agent, a process of its own ---- */

/* One connection: its document to the log, its listener to *ret_fd. The end of the connection must follow. */
static void serve(int conn, int log, int *ret_fd)
{
	char buf[8192];
	size_t n_fds = 0, n_more = 0;
	int extra = -1;
	ssize_t n = hk_recv_fds(conn, buf, sizeof(buf), ret_fd, 1, &n_fds, 0);

	if (n <= 0 || n_fds != 1 || buf[n - 1] != '}')
		_exit(2);
	if (hk_recv_fds(conn, buf + n, 1, &extra, 1, &n_more, 0) != 0)
		_exit(3); /* one document a connection */
	buf[n++] = '\n';
	if (hk_write_full(log, buf, (size_t)n) < 0)
		_exit(4);
	(void)hk_close(conn);
}

/* mkdir fails as the agent says, everything else may go on. */
static bool answer(int listener)
{
	struct seccomp_notif req = { 0 };
	struct seccomp_notif_resp resp = { 0 };

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &req) < 0)
		return errno == ENOENT || errno == EINTR; /* it was killed meanwhile */
	resp.id = req.id;
	if (req.data.nr == seccomp_syscall_resolve_name("mkdir") || req.data.nr == seccomp_syscall_resolve_name("mkdirat"))
		resp.error = -EDQUOT;
	else
		resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
	return true;
}

static _Noreturn void run_agent(int sock, int log)
{
	struct pollfd p[MAX_LISTENERS + 1] = { { .fd = sock, .events = POLLIN } };
	nfds_t n = 1;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	for (;;) {
		if (poll(p, n, -1) < 0)
			_exit(5);
		for (nfds_t i = 1; i < n; i++) {
			if ((p[i].revents & POLLIN) && !answer(p[i].fd))
				_exit(6);
			if (p[i].revents & (POLLHUP | POLLERR)) { /* nobody is under the filter any more */
				(void)hk_close(p[i].fd);
				p[i--] = p[--n];
			}
		}
		if ((p[0].revents & POLLIN) && n <= MAX_LISTENERS) {
			int conn = accept4(sock, NULL, NULL, SOCK_CLOEXEC);

			serve(conn, log, &p[n].fd);
			p[n].revents = 0;
			p[n++].events = POLLIN;
		}
	}
}

static int listen_at(const char *path, int backlog)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	int here = open(".", O_PATH | O_CLOEXEC);
	char parent[512];

	/* Long paths: from the directory itself. */
	(void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
	assert_int_equal(chdir(parent), 0);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", strrchr(path, '/') + 1);
	r = bind(sock, (const struct sockaddr *)&sa, sizeof(sa));
	assert_int_equal(fchdir(here), 0);
	(void)hk_close(here);
	assert_int_equal(r, 0);
	assert_int_equal(listen(sock, backlog), 0);
	return sock;
}

static void agent_start(struct agent *a, const char *name)
{
	int sock, log;

	(void)snprintf(a->path, sizeof(a->path), "%s/%s", base, name);
	(void)snprintf(a->log, sizeof(a->log), "%s/agent.log", base);
	log = open(a->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	sock = listen_at(a->path, 8);
	a->pid = fork();
	assert_true(a->pid >= 0);
	if (a->pid == 0)
		run_agent(sock, log);
	(void)hk_close(sock);
	(void)hk_close(log);
}

static void agent_stop(struct agent *a)
{
	int status = 0;

	assert_int_equal(kill(a->pid, SIGKILL), 0);
	assert_int_equal(waitpid(a->pid, &status, 0), a->pid);
	if (!WIFSIGNALED(status))
		fail_msg("the agent gave up: %d", WEXITSTATUS(status));
	assert_int_equal(unlink(a->path), 0);
}

/* ---- the documents ---- */

static const struct oci_json *member(const struct oci_json *v, const char *key)
{
	const struct oci_json *m = oci_json_get(v, key);

	if (!m)
		fail_msg("%s is not in the document", key);
	return m;
}

struct want {
	const char *id, *dir, *status;
	pid_t pid, init_pid;
};

static void check_document(const char *text, const struct want *w)
{
	static const struct oci_json_opts opts = { .root_name = "state" };
	struct hk_arena arena = { .limit_bytes = 1 << 20 };
	struct hk_err err = { 0 };
	const struct oci_json *d, *s;

	if (oci_json_parse(text, strlen(text), &opts, &arena, &d, &err) < 0)
		fail_msg("%s: %s", err.text, text);
	assert_true(oci_json_is_word(member(d, "ociVersion"), "1.2.0"));
	assert_int_equal(member(d, "fds")->n, 1);
	assert_true(oci_json_is_word(member(d, "fds")->first, "seccompFd"));
	assert_true(oci_json_is_word(member(d, "metadata"), "meta \"x\""));
	assert_int_equal(strtol(member(d, "pid")->text, NULL, 10), w->pid);
	s = member(d, "state");
	assert_true(oci_json_is_word(member(s, "ociVersion"), "1.2.0"));
	assert_true(oci_json_is_word(member(s, "id"), w->id));
	assert_true(oci_json_is_word(member(s, "bundle"), w->dir));
	if (!oci_json_is_word(member(s, "status"), w->status))
		fail_msg("the status is not %s: %s", w->status, text);
	assert_int_equal(strtol(member(s, "pid")->text, NULL, 10), w->init_pid);
	assert_true(oci_json_is_word(member(member(s, "annotations"), "an"), "no\ttation"));
	hk_arena_done(&arena);
}

/* The last document of the log. */
static void check_last(const struct agent *a, const struct want *w)
{
	char text[8192], *last;

	assert_true(hk_read_file_at(AT_FDCWD, a->log, text, sizeof(text)) > 0);
	last = strrchr(text, '\n');
	check_document(last ? last + 1 : text, w);
}

/* ---- boxes ---- */

static void format_profile(char *buf, size_t size, const char *fmt, const char *default_action, const char *path)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	assert_true(snprintf(buf, size, fmt, default_action, path) < (int)size);
#pragma GCC diagnostic pop
}

static void wait_up(struct box *b)
{
	b->text[0] = 0;
	assert_int_equal(hk_set_nonblock(b->out[0], false), 0);
	while (!strstr(b->text, "up\n")) {
		size_t have = strlen(b->text);
		ssize_t n = read(b->out[0], b->text + have, sizeof(b->text) - 1 - have);

		assert_true(n > 0);
		b->text[have + (size_t)n] = 0;
	}
}

#define DENIED "mkdir: can't create directory '/tmp/x': Disk quota exceeded\n"
#define ANNOTATED "\"annotations\":{\"an\":\"no\\ttation\"},"

static void verdict_holds(const char *fmt, const char *default_action, const char *process, const char *namespaces)
{
	char profile[2048];
	struct agent a;
	struct box *b;
	pid_t exec_pid;

	agent_start(&a, "agent");
	format_profile(profile, sizeof(profile), fmt, default_action, a.path);
	b = box_new("notify",
	    &(struct config){ .args = SH("mkdir /tmp/x; echo up; exec sleep 1000"),
		.root = ANNOTATED,
		.process = process,
		.linux_ = profile,
		.namespaces = namespaces });
	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s", b->err.text);
	wait_up(b);
	assert_string_equal(b->text, DENIED "up\n");
	check_last(&a,
	    &(struct want){ b->id, b->dir, *process ? "created" : "creating", b->init.pid, b->init.pid });
	if (box_exec(b, PROCESS(SH("mkdir /tmp/x; ls /proc/self/fd")), false) < 0)
		fail_msg("%s", b->err.text);
	exec_pid = b->extra.pid;
	(void)box_wait_extra(b); /* its mkdir was answered, so its document is in the log; a launch does not wait for that */
	check_last(&a, &(struct want){ b->id, b->dir, "running", exec_pid, b->init.pid });
	assert_string_equal(box_text(b), DENIED "0\n1\n2\n3\n"); /* 3 is ls' own: no listener crosses execve */
	box_free(b);
	agent_stop(&a);
}

/* ---- the tests ---- */

static void agent_judges_init_and_exec(void **state)
{
	(void)state;
	verdict_holds(PROFILE("SCMP_ACT_NOTIFY", MKDIR), "SCMP_ACT_ALLOW", "", NULL);
	verdict_holds(PROFILE("SCMP_ACT_NOTIFY", MKDIR), "SCMP_ACT_ALLOW", "\"noNewPrivileges\":true,", NULL);
}

/* Whatever the launch itself calls behind the filter waits for the agent, who must have the listener by then. */
static void every_call_may_be_asked(void **state)
{
	(void)state;
	verdict_holds(PROFILE("SCMP_ACT_NOTIFY",
			  MKDIR ",\"sendmsg\",\"recvmsg\",\"sendto\",\"recvfrom\",\"execve\",\"write\",\"close\",\"close_range\",\"chdir\","
				"\"prctl\",\"setresuid\",\"setresgid\",\"setgroups\",\"capset\",\"dup3\",\"getcwd\",\"rt_sigprocmask\""),
	    "SCMP_ACT_ALLOW", "", NULL);
	verdict_holds(PROFILE("SCMP_ACT_NOTIFY", MKDIR ",\"sendmsg\",\"execve\",\"write\",\"exit_group\""), "SCMP_ACT_ALLOW",
	    "\"noNewPrivileges\":true,", NULL);
	verdict_holds(PROFILE("SCMP_ACT_ALLOW", "\"getppid\""), "SCMP_ACT_NOTIFY", "\"noNewPrivileges\":true,", NULL);
	verdict_holds(PROFILE("SCMP_ACT_ALLOW", "\"getppid\""), "SCMP_ACT_NOTIFY", "", NULL);
}

static void user_namespace_is_no_hindrance(void **state)
{
#define MAPS "\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":65536}],\"gidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":65536}],"
	(void)state;
	verdict_holds(MAPS PROFILE("SCMP_ACT_NOTIFY", MKDIR), "SCMP_ACT_ALLOW", "", NS_NEW "{\"type\":\"user\"},");
}

static void long_path_is_reached(void **state)
{
	char profile[2048], dir[300];
	struct agent a;
	struct box *b;

	(void)state;
	(void)snprintf(dir, sizeof(dir), "%s/%0150d", base, 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	(void)snprintf(dir, sizeof(dir), "%0150d/agent", 0);
	agent_start(&a, dir);
	format_profile(profile, sizeof(profile), PROFILE("SCMP_ACT_NOTIFY", MKDIR), "SCMP_ACT_ALLOW", a.path);
	b = box_new("long", &(struct config){ .args = SH("mkdir /tmp/x; echo up; exec sleep 1000"), .linux_ = profile });
	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s", b->err.text);
	wait_up(b);
	assert_string_equal(b->text, DENIED "up\n");
	box_free(b);
	agent_stop(&a);
}

/* No agent: told at create where that can be known, with the path; nothing is left. */
static void missing_agent_is_told(void **state)
{
	static const struct {
		const char *process, *text;
		bool is_file, is_stale, at_start;
	} cases[] = {
		{ "", "linux.seccomp.listenerPath %s/agent: ENOENT", false, false, false },
		{ "\"noNewPrivileges\":true,", "linux.seccomp.listenerPath %s/agent: ENOENT", false, false, false },
		{ "", "linux.seccomp.listenerPath %s/agent: not a socket", true, false, false },
		{ "", "linux.seccomp.listenerPath %s/agent: connect to the seccomp agent: ECONNREFUSED", false, true, false },
		{ "\"noNewPrivileges\":true,", "linux.seccomp.listenerPath %s/agent: connect to the seccomp agent: ECONNREFUSED", false,
		    true, true },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		char profile[2048], path[256], want[512];
		struct box *b;

		(void)snprintf(path, sizeof(path), "%s/agent", base);
		if (cases[i].is_file)
			write_text(base, "agent", "");
		if (cases[i].is_stale)
			(void)hk_close(listen_at(path, 1));
		format_profile(profile, sizeof(profile), PROFILE("SCMP_ACT_NOTIFY", MKDIR), "SCMP_ACT_ALLOW", path);
		format_profile(want, sizeof(want), cases[i].text, base, "");
		b = box_new("alone", &(struct config){ .args = SH("exec sleep 1000"), .linux_ = profile, .process = cases[i].process });
		if (cases[i].at_start) {
			assert_int_equal(box_create(b, false), 0);
			assert_true(box_start(b) < 0);
			assert_int_equal(box_wait(b), 128 + SIGKILL);
		} else {
			assert_true(box_create(b, false) < 0);
			assert_false(cgroup_exists(b));
		}
		assert_string_equal(b->err.text, want);
		box_free(b);
		(void)unlink(path);
	}
}

/* The agent is gone when an exec comes: the exec fails, the container goes on. */
static void exec_without_agent_fails_alone(void **state)
{
	char profile[2048];
	struct agent a;
	struct box *b;

	(void)state;
	agent_start(&a, "agent");
	format_profile(profile, sizeof(profile), PROFILE("SCMP_ACT_NOTIFY", MKDIR), "SCMP_ACT_ALLOW", a.path);
	b = box_new("lonely", &(struct config){ .args = SH("echo up; exec sleep 1000"), .linux_ = profile });
	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s", b->err.text);
	wait_up(b);
	agent_stop(&a);
	assert_int_equal(box_exec(b, PROCESS("\"true\""), false), -ENOENT);
	assert_non_null(strstr(b->err.text, a.path));
	assert_false(b->exited);
	box_free(b);
}

/* One that never takes: connections fill the backlog, and the launch gives up in time. */
static void deaf_agent_is_given_up(void **state)
{
	char profile[2048], path[100];
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int sock, filler[2];
	struct box *b;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/agent", base);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	sock = listen_at(path, 1);
	for (size_t i = 0; i < 2; i++) {
		filler[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(filler[i], (const struct sockaddr *)&sa, sizeof(sa)), 0);
	}
	format_profile(profile, sizeof(profile), PROFILE("SCMP_ACT_NOTIFY", MKDIR), "SCMP_ACT_ALLOW", path);
	b = box_new("deaf", &(struct config){ .args = SH("exec sleep 1000"), .linux_ = profile });
	assert_int_equal(box_create(b, false), -ETIMEDOUT);
	assert_non_null(strstr(b->err.text, path));
	assert_false(cgroup_exists(b));
	box_free(b);
	for (size_t i = 0; i < 2; i++)
		(void)hk_close(filler[i]);
	(void)hk_close(sock);
	(void)unlink(path);
}

/* config-linux.md: "If the SCMP_ACT_NOTIFY action is not used this value is ignored." */
static void path_alone_is_ignored(void **state)
{
	struct box *b = box_new("ignored",
	    &(struct config){ .args = "\"true\"",
		.linux_ = "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/no/such\",\"flags\":["
			  "\"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\"],\"syscalls\":[{\"names\":[\"mkdir\"],\"action\":\"SCMP_ACT_ERRNO\"}]}," });

	(void)state;
	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s", b->err.text);
	assert_int_equal(box_wait(b), 0);
	box_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agent_judges_init_and_exec),
		cmocka_unit_test(every_call_may_be_asked),
		cmocka_unit_test(user_namespace_is_no_hindrance),
		cmocka_unit_test(long_path_is_reached),
		cmocka_unit_test(missing_agent_is_told),
		cmocka_unit_test(exec_without_agent_fails_alone),
		cmocka_unit_test(deaf_agent_is_given_up),
		cmocka_unit_test(path_alone_is_ignored),
		cmocka_unit_test(nobody_is_left),
	};

	if (geteuid() != 0 || access("/bin/busybox", X_OK) != 0) {
		fprintf(stderr, "needs root and busybox-static\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, launch_setup, launch_teardown);
}
