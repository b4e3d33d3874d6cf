/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/bench/pod.c — see pod.h. The requests are those that containerd sends, in its order: Wait stands before a Start or Kill, so that
 * its answer is the end itself.
 */
#include "tests/bench/pod.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/envelope.h"
#include "proto/names.h"
#include "proto/task.pb-c.h"

enum { END_MS = 1000 };

static char *str(const char *s)
{
	return ttrpc_str(s);
}

static void enter(const char *procs)
{
	int fd = open(procs, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(1);
	(void)close(fd);
}

/* argv and env of `start`, made before the vfork. */
struct birth {
	char *argv[16], **env;
	const char *bundle, *procs;
	int out;
};

static _Noreturn void exec_start(const struct birth *b)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (b->procs)
		enter(b->procs);
	if (chdir(b->bundle) < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(b->out, STDOUT_FILENO) < 0 ||
	    dup2(b->out, STDERR_FILENO) < 0)
		_exit(1);
	(void)execve(b->argv[0], b->argv, b->env);
	_exit(127);
}

static char **env_of(const struct bench_peer *peer)
{
	size_t n = 0;
	char **env;

	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		bench_fail("no memory");
	memcpy(env, environ, n * sizeof(*env));
	for (size_t i = 0; peer->path[0] && i < n; i++)
		if (strncmp(env[i], "PATH=", 5) == 0)
			env[i] = str(peer->path);
	return env;
}

static pid_t spawn_start(const struct birth *b)
{
	pid_t pid = vfork();

	if (pid == 0)
		exec_start(b);
	if (pid < 0)
		bench_fail("vfork: %s", strerror(errno));
	return pid;
}

/* Runs `start` as containerd does: until both its output and itself have ended. */
static void run_start(const struct bench_peer *peer, struct bench_pod *p, const char *bundle, const char *procs)
{
	struct birth b = { .argv = { str(peer->binary), str("-namespace"), str("bench"), str("-address"),
			       str(peer->address), str("-publish-binary"), str("/bin/false"), str("-id"), p->id,
			       str("start") },
		.env = env_of(peer),
		.bundle = bundle,
		.procs = procs };
	char text[4096], *at, *end;
	size_t len = 0;
	ssize_t n;
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		bench_fail("pipe: %s", strerror(errno));
	b.out = fds[1];
	pid = spawn_start(&b);
	(void)close(fds[1]);
	free(b.env);
	while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	(void)close(fds[0]);
	if (waitpid(pid, &status, 0) < 0 || status != 0)
		bench_fail("%s start: %s", peer->name, text);
	/* Bare, or inside of JSON or a protobuf message. */
	at = strstr(text, "unix://");
	if (!at)
		bench_fail("%s start answers: %s", peer->name, text);
	at += strlen("unix://");
	for (end = at; *end > ' ' && *end != '"'; end++)
		;
	*end = '\0';
	(void)snprintf(p->socket, sizeof(p->socket), "%s", at);
}

static uint32_t send_create(struct bench_pod *p, const char *id, const char *bundle, const struct bench_stdio *io)
{
	Husk__Task__CreateTaskRequest rq;

	husk__task__create_task_request__init(&rq);
	rq.id = str(id);
	rq.bundle = str(bundle);
	if (io) {
		rq.stdout = str(io->out);
		rq.stderr = str(io->is_terminal ? "" : io->err);
		rq.terminal = io->is_terminal;
	}
	return bench_send(&p->conn, "Create", &rq.base);
}

static uint32_t send_start(struct bench_pod *p, const char *id, const char *exec_id)
{
	Husk__Task__StartRequest rq;

	husk__task__start_request__init(&rq);
	rq.id = str(id);
	rq.exec_id = str(exec_id);
	return bench_send(&p->conn, "Start", &rq.base);
}

static uint32_t send_wait(struct bench_pod *p, const char *id, const char *exec_id)
{
	Husk__Task__WaitRequest rq;

	husk__task__wait_request__init(&rq);
	rq.id = str(id);
	rq.exec_id = str(exec_id);
	return bench_send(&p->conn, "Wait", &rq.base);
}

static uint32_t send_delete(struct bench_pod *p, const char *id, const char *exec_id)
{
	Husk__Task__DeleteRequest rq;

	husk__task__delete_request__init(&rq);
	rq.id = str(id);
	rq.exec_id = str(exec_id);
	return bench_send(&p->conn, "Delete", &rq.base);
}

static void look_up_pids(struct bench_pod *p)
{
	Husk__Task__ConnectRequest rq;
	ProtobufCMessage *m = NULL;
	const Husk__Task__ConnectResponse *r;

	husk__task__connect_request__init(&rq);
	rq.id = p->id;
	(void)bench_wait(
	    &p->conn, bench_send(&p->conn, "Connect", &rq.base), &husk__task__connect_response__descriptor, &m);
	r = (const Husk__Task__ConnectResponse *)(const void *)m;
	p->shim_pid = (pid_t)r->shim_pid;
	p->init_pid = (pid_t)r->task_pid;
	protobuf_c_message_free_unpacked(m, NULL);
	p->pidfd = (int)syscall(SYS_pidfd_open, p->shim_pid, 0);
	if (p->pidfd < 0)
		bench_fail("pidfd of the shim: %s", strerror(errno));
}

void bench_pod_new(const struct bench_peer *peer, struct bench_pod *p, const char *id, const char *bundle,
    const char *procs, struct bench_times *ret)
{
	uint64_t t[5];

	*p = (struct bench_pod){ .pidfd = -1 };
	(void)snprintf(p->id, sizeof(p->id), "%s", id);
	t[0] = bench_now_ns();
	run_start(peer, p, bundle, procs);
	t[1] = bench_now_ns();
	bench_connect(&p->conn, p->socket, peer->service);
	t[2] = bench_now_ns();
	t[3] = bench_wait(&p->conn, send_create(p, id, bundle, NULL), NULL, NULL);
	t[4] = bench_wait(&p->conn, send_start(p, id, ""), NULL, NULL);
	*ret = (struct bench_times){ t[1] - t[0], t[2] - t[1], t[3] - t[2], t[4] - t[3] };
	look_up_pids(p);
}

uint64_t bench_container_new(struct bench_pod *p, const char *id, const char *bundle, uint64_t *ret_create)
{
	uint64_t t0 = bench_now_ns();
	uint64_t t1 = bench_wait(&p->conn, send_create(p, id, bundle, NULL), NULL, NULL);

	*ret_create = t1 - t0;
	return bench_wait(&p->conn, send_start(p, id, ""), NULL, NULL) - t0;
}

void bench_container_create(struct bench_pod *p, const char *id, const char *bundle, const struct bench_stdio *io)
{
	(void)bench_wait(&p->conn, send_create(p, id, bundle, io), NULL, NULL);
}

static int make_fifo(const char *dir, const char *name, char *ret_path, size_t size)
{
	int fd;

	(void)snprintf(ret_path, size, "%s/%s", dir, name);
	if (mkfifo(ret_path, 0600) < 0)
		bench_fail("mkfifo %s: %s", ret_path, strerror(errno));
	fd = open(ret_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		bench_fail("open %s: %s", ret_path, strerror(errno));
	return fd;
}

static void end_fifo(int fd, const char *path)
{
	struct pollfd end = { .fd = fd, .events = POLLIN };
	char byte;

	if (fd < 0)
		return;
	(void)poll(&end, 1, END_MS); /* a shim may close its side a moment after its answer */
	if (read(fd, &byte, 1) != 0)
		bench_fail("%s is not at its end", path);
	(void)close(fd);
	(void)unlink(path);
}

uint64_t bench_exec(struct bench_pod *p, const char *id, const char *process, const char *fifos)
{
	Husk__Types__Any spec;
	Husk__Task__ExecProcessRequest rq;
	char exec_id[32], out[200] = "", err[200] = "";
	int out_fd = -1, err_fd = -1;
	uint32_t wait;
	uint64_t t0, t1;

	husk__types__any__init(&spec);
	husk__task__exec_process_request__init(&rq);
	(void)snprintf(exec_id, sizeof(exec_id), "e%u", p->n_execs++);
	if (fifos) {
		out_fd = make_fifo(fifos, "out", out, sizeof(out));
		err_fd = make_fifo(fifos, "err", err, sizeof(err));
	}
	spec.type_url = str(TYPE_OCI_PROCESS);
	spec.value.data = (uint8_t *)str(process);
	spec.value.len = strlen(process);
	rq.id = str(id);
	rq.exec_id = exec_id;
	rq.stdout = out;
	rq.stderr = err;
	rq.spec = &spec;
	t0 = bench_now_ns();
	(void)bench_call(&p->conn, "Exec", &rq.base);
	wait = send_wait(p, id, exec_id);
	(void)bench_wait(&p->conn, send_start(p, id, exec_id), NULL, NULL);
	(void)bench_wait(&p->conn, wait, NULL, NULL);
	t1 = bench_wait(&p->conn, send_delete(p, id, exec_id), NULL, NULL);
	end_fifo(out_fd, out);
	end_fifo(err_fd, err);
	return t1 - t0;
}

uint64_t bench_stats(struct bench_pod *p, const char *id)
{
	Husk__Task__StatsRequest rq;
	uint64_t t0 = bench_now_ns();

	husk__task__stats_request__init(&rq);
	rq.id = str(id);
	return bench_call(&p->conn, "Stats", &rq.base) - t0;
}

uint64_t bench_kill(struct bench_pod *p, const char *id)
{
	Husk__Task__KillRequest rq;
	uint32_t wait = send_wait(p, id, ""), kill;
	uint64_t t0, t1;

	husk__task__kill_request__init(&rq);
	rq.id = str(id);
	rq.signal = SIGKILL;
	(void)usleep(1000); /* the Wait stands */
	t0 = bench_now_ns();
	kill = bench_send(&p->conn, "Kill", &rq.base);
	t1 = bench_wait(&p->conn, wait, NULL, NULL);
	(void)bench_wait(&p->conn, kill, NULL, NULL);
	return t1 - t0;
}

void bench_run_to_end(struct bench_pod *p, const char *id)
{
	uint32_t wait = send_wait(p, id, "");

	(void)bench_wait(&p->conn, send_start(p, id, ""), NULL, NULL);
	(void)bench_wait(&p->conn, wait, NULL, NULL);
}

uint64_t bench_delete(struct bench_pod *p, const char *id)
{
	uint64_t t0 = bench_now_ns();

	return bench_wait(&p->conn, send_delete(p, id, ""), NULL, NULL) - t0;
}

uint64_t bench_pod_end(struct bench_pod *p)
{
	Husk__Task__ShutdownRequest rq;
	struct pollfd gone = { .fd = p->pidfd, .events = POLLIN };
	uint64_t t0 = bench_now_ns(), t1;

	husk__task__shutdown_request__init(&rq);
	rq.id = p->id;
	(void)bench_send(&p->conn, "Shutdown", &rq.base); /* its answer may be lost: the end is what counts */
	if (poll(&gone, 1, 20000) != 1)
		bench_fail("shim %d of %s does not end", (int)p->shim_pid, p->id);
	t1 = bench_now_ns();
	bench_close(&p->conn);
	(void)close(p->pidfd);
	(void)unlink(p->socket);
	return t1 - t0;
}
