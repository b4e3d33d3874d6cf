/* SPDX-License-Identifier: Apache-2.0 */
/* tests/shim/start_env.c — see start_env.h. */
#include "tests/shim/start_env.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "proto/bootstrap.pb-c.h"
#include "proto/envelope.h"
#include "proto/frame.h"
#include "proto/task.pb-c.h"

static char *str(const char *s)
{
	return (char *)(uintptr_t)s;
}

/* ---- running the program ---- */

static void exec_child(const struct start_env *e, const struct start_command *c, const int in[2], const int out[2], const int err[2])
{
	const char *argv[] = { e->shim, "-namespace", "husk-test", "-address", e->address, "-publish-binary", "/bin/false", "-id", c->id,
		c->extra ? c->extra : c->action, c->extra ? c->action : NULL, NULL };
	const char *shell[] = { "sh", "-c", c->script, NULL };

	if (c->input == INPUT_CLOSED)
		(void)close(0);
	else if (dup2(in[0], 0) < 0)
		_exit(120);
	if (dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0 || chdir(c->cwd ? c->cwd : e->bundle) < 0)
		_exit(121);
	(void)hk_cloexec_from(3);
	if (c->script)
		(void)execv("/bin/sh", (char **)(uintptr_t)shell);
	(void)execv(e->shim, (char **)(uintptr_t)argv);
	_exit(122);
}

struct start_running start_launch(const struct start_env *e, const struct start_command *c)
{
	int in[2], out[2], err[2];
	struct start_running r;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	if (c->len)
		assert_int_equal(hk_write_full(in[1], c->bytes, c->len), 0);
	r.pid = fork();
	assert_true(r.pid >= 0);
	if (r.pid == 0)
		exec_child(e, c, in, out, err);
	hk_close(in[0]);
	hk_close(out[1]);
	hk_close(err[1]);
	r.in = c->input == INPUT_OPEN ? in[1] : hk_close(in[1]);
	r.out = out[0];
	r.err = err[0];
	return r;
}

void start_finish(struct start_command *c, struct start_running *r)
{
	int status;

	/* To the end of both pipes, as containerd does: a server that kept one would hang us here. */
	c->n_out = hk_read_all(r->out, c->out, sizeof(c->out));
	c->n_err = hk_read_all(r->err, c->err, sizeof(c->err));
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	c->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	hk_close(r->out);
	hk_close(r->err);
	r->in = hk_close(r->in);
}

void start_run(const struct start_env *e, struct start_command *c)
{
	struct start_running r = start_launch(e, c);

	(void)alarm(30);
	start_finish(c, &r);
	(void)alarm(0);
}

/* ---- asking a server ---- */

static int dial(const char *address)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(hk_has_prefix(address, "unix:///"));
	assert_true(hk_fmt(un.sun_path, sizeof(un.sun_path), "%s", address + 7) > 0);
	if (connect(fd, (const struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	hk_close(fd);
	return -1;
}

/* Task.Connect of the server at the address: its pid, which is remembered for the end. 0 when nobody serves there. */
pid_t start_server_pid(struct start_env *e, const char *address, const char *service)
{
	const struct ttrpc_request request = { .service = service, .method = "Connect" };
	hk_autofd fd = dial(address);
	struct ttrpc_buf *frame;
	struct ttrpc_response response;
	Husk__Task__ConnectResponse *m;
	uint8_t bytes[1024];
	pid_t pid;
	ssize_t n;

	if (fd < 0)
		return 0;
	assert_int_equal(ttrpc_request_encode(&request, NULL, 1, &frame), 0);
	assert_int_equal(hk_write_full(fd, frame->data, frame->len), 0);
	ttrpc_buf_free(frame);
	n = read(fd, bytes, sizeof(bytes));
	assert_true(n > TTRPC_HEADER_BYTES);
	assert_int_equal(ttrpc_response_decode(&response, bytes + TTRPC_HEADER_BYTES, (size_t)n - TTRPC_HEADER_BYTES), 0);
	assert_int_equal(response.code, TTRPC_OK);
	m = husk__task__connect_response__unpack(NULL, response.payload_len, response.payload);
	assert_non_null(m);
	pid = (pid_t)m->shim_pid;
	husk__task__connect_response__free_unpacked(m, NULL);
	ttrpc_response_done(&response);
	assert_true(pid > 1);
	for (size_t i = 0; i < e->n_servers; i++)
		if (e->servers[i] == pid)
			return pid;
	assert_true(e->n_servers < START_MAX_SERVERS);
	e->servers[e->n_servers++] = pid;
	return pid;
}

bool start_is_gone(pid_t pid)
{
	char path[64], text[512];

	(void)hk_fmt(path, sizeof(path), "/proc/%d/stat", (int)pid);
	/* A zombie is gone as far as we care: its parent is whoever reaps orphans here. */
	return hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) < 0 || strstr(text, ") Z ");
}

void start_end_server(pid_t pid, int sig)
{
	const struct timespec pause = { .tv_nsec = 10000000 };

	(void)kill(pid, sig);
	for (int i = 0; i < 600 && !start_is_gone(pid); i++)
		(void)nanosleep(&pause, NULL);
	assert_true(start_is_gone(pid));
}

int start_setup(void **state)
{
	struct start_env *e = calloc(1, sizeof(*e));
	const char *shim = getenv("HUSK_SHIM");

	assert_non_null(e);
	(void)snprintf(e->shim, sizeof(e->shim), "%s", shim ? shim : HUSK_BIN_DIR "/containerd-shim-husk-v2");
	(void)snprintf(e->dir, sizeof(e->dir), "/tmp/husk-start-XXXXXX");
	assert_non_null(mkdtemp(e->dir));
	(void)snprintf(e->bundle, sizeof(e->bundle), "%s/b", e->dir);
	(void)snprintf(e->address, sizeof(e->address), "%s/c.sock", e->dir);
	assert_int_equal(mkdir(e->bundle, 0700), 0);
	(void)unsetenv("TTRPC_ADDRESS");
	*state = e;
	return 0;
}

int start_teardown(void **state)
{
	struct start_env *e = *state;

	for (size_t i = 0; i < e->n_servers; i++)
		if (!start_is_gone(e->servers[i]))
			start_end_server(e->servers[i], SIGTERM);
	(void)hk_rm_rf(AT_FDCWD, e->dir);
	free(e);
	return 0;
}

void start_write_config(const char *bundle, const char *key, const char *value)
{
	char path[PATH_MAX], text[256];

	(void)mkdir(bundle, 0700);
	(void)snprintf(path, sizeof(path), "%s/config.json", bundle);
	(void)snprintf(text, sizeof(text), "{\"ociVersion\":\"1.2.0\",\"annotations\":{\"x\":\"y\",\"%s\":\"%s\"}}", key, value);
	assert_int_equal(hk_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

void start_expected_address(const struct start_env *e, const char *dir, const char *group, char *ret, size_t size)
{
	char joined[256], hex[65];
	uint8_t hash[32];

	assert_true(hk_fmt(joined, sizeof(joined), "%s/husk-test/%s", e->address, group) > 0);
	hk_sha256(joined, strlen(joined), hash);
	hk_hex(hash, sizeof(hash), hex);
	assert_true(hk_fmt(ret, size, "unix://%s/%s", dir, hex) > 0);
}

void start_assert_bare(const struct start_env *e, const struct start_command *c, const char *group)
{
	char want[160];

	start_expected_address(e, "/run/containerd/s", group, want, sizeof(want));
	assert_string_equal(c->err, "");
	assert_int_equal(c->status, 0);
	assert_string_equal(c->out, want);
	assert_int_equal(c->n_out, strlen(want));
}

int start_count_servers(const char *group)
{
	hk_autodir proc = opendir("/proc");
	char needle[64];
	int n = 0;

	assert_non_null(proc);
	for (struct dirent *d = readdir(proc); d; d = readdir(proc)) {
		char path[300], text[2048];
		hk_autofd fd = -1;
		ssize_t len;

		(void)snprintf(path, sizeof(path), "/proc/%s/cmdline", d->d_name);
		if (d->d_name[0] < '1' || d->d_name[0] > '9')
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? -1 : read(fd, text, sizeof(text));
		(void)snprintf(needle, sizeof(needle), "-group%c%s", '\0', group);
		if (len > 0 && memmem(text, (size_t)len, needle, 7 + strlen(group) + 1))
			n++;
	}
	return n;
}

size_t start_params(const struct start_env *e, const char *id, const char *socket_dir, const char *ttrpc, uint8_t buf[1024])
{
	Husk__Bootstrap__BootstrapParams p;

	husk__bootstrap__bootstrap_params__init(&p);
	p.instance_id = str(id);
	p.namespace_ = str("husk-test");
	p.log_level = -4;
	p.containerd_version = str("2.3.4");
	p.containerd_grpc_address = str(e->address);
	p.containerd_ttrpc_address = str(ttrpc);
	p.socket_dir = str(socket_dir);
	assert_true(protobuf_c_message_get_packed_size(&p.base) <= 1024);
	return protobuf_c_message_pack(&p.base, buf);
}
