/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-driver EVENTS-SOCKET — times one thing a command: reads a line, does it, prints "ok NANOSECONDS..." on one line. bench.py says what
 * and in which order; what it does itself lies between the times, never in them. Names have no blanks; "-" means none.
 *
 *   peer NAME BINARY SERVICE ADDRESS PATH   who can be asked for; PATH: what its runtime is found in
 *   pod PEER ID BUNDLE PROCS           start, connect, Create, Start; then the pids of shim and init
 *   parallel PEER N BUNDLE             N pods at once, of BUNDLE-0 and so on, with the bundles' names: all of it, then each
 *   container POD ID BUNDLE            Create, Start
 *   exec POD ID N FIFOS                N times Exec, Start, Wait, Delete of the process set by `process`; FIFOS: "-" or a directory
 *   stats POD ID N
 *   stream POD ID BUNDLE OUT FIFO TERMINAL   a container with stdout OUT: from Start to the end of what is read from FIFO, or to
 *                                      the answer of its Delete where that is "-"; then the bytes read. TERMINAL: 0 or 1
 *   plain PROGRAM BYTES FIFO CGROUP    the same without a shim: from the fork; CGROUP: "-" or the name of one that the writer is in
 *   pipe PROGRAM BYTES CGROUP          into a pipe that PROGRAM's sink reads, as a binary:// logger does
 *   kill POD ID, delete POD ID, end POD
 *   process JSON
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/hierarchies.h"
#include "tests/bench/pod.h"

enum { PEERS_MAX = 8, PODS_MAX = 2048, WORDS_MAX = 8, PARALLEL_MAX = 128, PIPE_BYTES = 1 << 20 };

static struct bench_peer peers[PEERS_MAX];
static struct bench_pod *pods[PODS_MAX];
static char *process_json;

static const struct bench_peer *peer_of(const char *name)
{
	for (int i = 0; i < PEERS_MAX; i++)
		if (strcmp(peers[i].name, name) == 0)
			return &peers[i];
	bench_fail("no peer %s", name);
}

static struct bench_pod **slot_of(const char *id)
{
	for (int i = 0; i < PODS_MAX; i++)
		if (id ? pods[i] && strcmp(pods[i]->id, id) == 0 : !pods[i])
			return &pods[i];
	bench_fail("no pod %s", id ? id : "slot");
}

static struct bench_pod *pod_of(const char *id)
{
	return *slot_of(id);
}

static const char *word_or_null(const char *w)
{
	return strcmp(w, "-") == 0 ? NULL : w;
}

static void say(uint64_t v)
{
	printf(" %llu", (unsigned long long)v);
}

static void do_peer(char **w)
{
	for (int i = 0; i < PEERS_MAX; i++) {
		struct bench_peer *p = &peers[i];

		if (p->name[0] && strcmp(p->name, w[1]) != 0)
			continue;
		(void)snprintf(p->name, sizeof(p->name), "%s", w[1]);
		(void)snprintf(p->binary, sizeof(p->binary), "%s", w[2]);
		(void)snprintf(p->service, sizeof(p->service), "%s", w[3]);
		(void)snprintf(p->address, sizeof(p->address), "%s", w[4]);
		if (w[5][0] != '-')
			(void)snprintf(p->path, sizeof(p->path), "PATH=%s", w[5]);
		return;
	}
	bench_fail("too many peers");
}

static struct bench_pod *pod_alloc(void)
{
	struct bench_pod *p = calloc(1, sizeof(*p));

	if (!p)
		bench_fail("no memory");
	return p;
}

static void do_pod(char **w)
{
	struct bench_pod *p = pod_alloc();
	struct bench_times t;

	bench_pod_new(peer_of(w[1]), p, w[2], w[3], word_or_null(w[4]), &t);
	*slot_of(NULL) = p;
	say(t.start);
	say(t.connect);
	say(t.create);
	say(t.run);
	say((uint64_t)p->shim_pid);
	say((uint64_t)p->init_pid);
}

struct one {
	pthread_t thread;
	const struct bench_peer *peer;
	struct bench_pod *pod;
	pthread_barrier_t *gate;
	char id[64], bundle[256];
	struct bench_times t;
};

static void *run_one(void *arg)
{
	struct one *o = arg;

	(void)pthread_barrier_wait(o->gate);
	bench_pod_new(o->peer, o->pod, o->id, o->bundle, NULL, &o->t);
	return NULL;
}

static void do_parallel(char **w)
{
	static struct one all[PARALLEL_MAX];
	int n = (int)strtol(w[2], NULL, 10);
	pthread_barrier_t gate;
	uint64_t t0, t1;

	if (n < 1 || n > PARALLEL_MAX || pthread_barrier_init(&gate, NULL, (unsigned)n + 1) != 0)
		bench_fail("parallel %s", w[2]);
	for (int i = 0; i < n; i++) {
		struct one *o = &all[i];

		*o = (struct one){ .peer = peer_of(w[1]), .pod = pod_alloc(), .gate = &gate };
		(void)snprintf(o->bundle, sizeof(o->bundle), "%s-%d", w[3], i);
		(void)snprintf(o->id, sizeof(o->id), "%.60s", strrchr(o->bundle, '/') + 1);
		if (pthread_create(&o->thread, NULL, run_one, o) != 0)
			bench_fail("thread %d", i);
	}
	(void)pthread_barrier_wait(&gate);
	t0 = bench_now_ns();
	for (int i = 0; i < n; i++)
		(void)pthread_join(all[i].thread, NULL);
	t1 = bench_now_ns();
	(void)pthread_barrier_destroy(&gate);
	say(t1 - t0);
	for (int i = 0; i < n; i++) {
		*slot_of(NULL) = all[i].pod;
		say(all[i].t.start + all[i].t.connect + all[i].t.create + all[i].t.run);
	}
}

static void do_container(char **w)
{
	uint64_t create, both = bench_container_new(pod_of(w[1]), w[2], w[3], &create);

	say(create);
	say(both - create);
}

static void do_exec(char **w)
{
	long n = strtol(w[3], NULL, 10);

	if (!process_json)
		bench_fail("no process");
	for (long i = 0; i < n; i++)
		say(bench_exec(pod_of(w[1]), w[2], process_json, word_or_null(w[4])));
}

static void do_stats(char **w)
{
	long n = strtol(w[3], NULL, 10);

	for (long i = 0; i < n; i++)
		say(bench_stats(pod_of(w[1]), w[2]));
}

/* The reader: as fast as can be, into nothing, so that the writer's side is what is measured. */
struct reader {
	pthread_t thread;
	int fd;
	uint64_t n_bytes, at_ns;
};

static void *drain(void *arg)
{
	struct reader *r = arg;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ssize_t n;

	while ((n = splice(r->fd, NULL, null, NULL, PIPE_BYTES, SPLICE_F_MOVE)) > 0 || (n < 0 && errno == EINTR))
		r->n_bytes += (uint64_t)n;
	r->at_ns = bench_now_ns();
	(void)close(null);
	return NULL;
}

static void reader_open(struct reader *r, const char *fifo)
{
	r->fd = open(fifo, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (r->fd < 0 || fcntl(r->fd, F_SETFL, 0) < 0)
		bench_fail("open %s: %s", fifo, strerror(errno));
}

static void reader_end(struct reader *r)
{
	(void)pthread_join(r->thread, NULL);
	(void)close(r->fd);
}

static void do_stream(char **w)
{
	const char *fifo = word_or_null(w[5]);
	struct bench_pod *p = pod_of(w[1]);
	struct bench_stdio io = { .out = w[4], .err = w[4], .is_terminal = w[6][0] == '1' };
	struct reader r = { .fd = -1 }, err = { .fd = -1 };
	char err_path[256];
	uint64_t t0;

	if (fifo)
		reader_open(&r, fifo);
	if (fifo && !io.is_terminal) {
		(void)snprintf(err_path, sizeof(err_path), "%s.err", fifo);
		io.err = err_path;
		if (mkfifo(err_path, 0600) < 0)
			bench_fail("mkfifo %s: %s", err_path, strerror(errno));
		reader_open(&err, err_path);
	}
	bench_container_create(p, w[2], w[3], &io);
	t0 = bench_now_ns();
	/* The writer is there by now, or a first read would find the end. */
	if (fifo && pthread_create(&r.thread, NULL, drain, &r) != 0)
		bench_fail("thread");
	bench_run_to_end(p, w[2]);
	(void)bench_delete(p, w[2]);
	if (fifo)
		reader_end(&r);
	else
		r.at_ns = bench_now_ns();
	if (err.fd >= 0) {
		(void)close(err.fd);
		(void)unlink(err_path);
	}
	say(r.at_ns - t0);
	say(r.n_bytes);
}

/* `out` becomes stdout, or (sink) what it reads from; -1 = left as it is. */
static pid_t spawn_payload(char *const argv[], const char *cgroup, int out, int as)
{
	struct hierarchies h = { .n = 0 };
	pid_t pid;

	if (cgroup && hierarchies_find(&h, cgroup) < 0)
		bench_fail("cgroup %s", cgroup);
	pid = fork();
	if (pid == 0) {
		hierarchies_enter(&h, true);
		if (out >= 0 && (out == as ? fcntl(out, F_SETFD, 0) : dup2(out, as)) < 0)
			_exit(126);
		(void)execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0)
		bench_fail("fork: %s", strerror(errno));
	return pid;
}

static void wait_payload(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0 || status != 0)
		bench_fail("payload: status %d", status);
}

static void do_plain(char **w)
{
	struct reader r = { .fd = -1 };
	char what[] = "write", *argv[] = { w[1], what, w[2], w[3], NULL };
	uint64_t t0;
	pid_t pid;
	int hold;

	reader_open(&r, w[3]);
	hold = open(w[3], O_WRONLY | O_CLOEXEC);
	t0 = bench_now_ns();
	pid = spawn_payload(argv, word_or_null(w[4]), -1, -1);
	if (hold < 0 || pthread_create(&r.thread, NULL, drain, &r) != 0)
		bench_fail("plain writer: %s", strerror(errno));
	wait_payload(pid);
	(void)close(hold);
	reader_end(&r);
	say(r.at_ns - t0);
	say(r.n_bytes);
}

static void do_pipe(char **w)
{
	enum { SINK_FD = 3 };
	char what[] = "write", *writer[] = { w[1], what, w[2], NULL };
	char sink[] = "sink", *reader[] = { w[1], sink, NULL };
	uint64_t t0 = bench_now_ns();
	pid_t pids[2];
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		bench_fail("pipe: %s", strerror(errno));
	pids[0] = spawn_payload(reader, NULL, fds[0], SINK_FD);
	pids[1] = spawn_payload(writer, word_or_null(w[3]), fds[1], STDOUT_FILENO);
	(void)close(fds[0]);
	(void)close(fds[1]);
	wait_payload(pids[1]);
	wait_payload(pids[0]);
	say(bench_now_ns() - t0);
}

static void do_kill(char **w)
{
	say(bench_kill(pod_of(w[1]), w[2]));
}

static void do_delete(char **w)
{
	say(bench_delete(pod_of(w[1]), w[2]));
}

static void do_end(char **w)
{
	struct bench_pod **p = slot_of(w[1]);

	say(bench_pod_end(*p));
	free(*p);
	*p = NULL;
}

static const struct {
	const char *name;
	int n_words;
	void (*fn)(char **w);
} commands[] = {
	{ "peer", 6, do_peer },
	{ "pod", 5, do_pod },
	{ "parallel", 4, do_parallel },
	{ "container", 4, do_container },
	{ "exec", 5, do_exec },
	{ "stats", 4, do_stats },
	{ "stream", 7, do_stream },
	{ "plain", 5, do_plain },
	{ "pipe", 4, do_pipe },
	{ "kill", 3, do_kill },
	{ "delete", 3, do_delete },
	{ "end", 2, do_end },
};

static void run_line(char *line)
{
	char *w[WORDS_MAX] = { NULL }, *save = NULL;
	int n = 0;

	if (strncmp(line, "process ", strlen("process ")) == 0) {
		free(process_json);
		process_json = strdup(line + strlen("process "));
		printf("ok\n");
		return;
	}
	for (char *p = strtok_r(line, " ", &save); p && n < WORDS_MAX; p = strtok_r(NULL, " ", &save))
		w[n++] = p;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (n != commands[i].n_words || strcmp(w[0], commands[i].name) != 0)
			continue;
		printf("ok");
		commands[i].fn(w);
		printf("\n");
		return;
	}
	bench_fail("command %s with %d words", n ? w[0] : "", n);
}

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	if (argc != 2)
		bench_fail("usage: bench-driver EVENTS-SOCKET");
	(void)signal(SIGPIPE, SIG_IGN);
	bench_take_events(argv[1]);
	while ((n = getline(&line, &room, stdin)) > 0) {
		line[n - 1] = '\0';
		run_line(line);
		(void)fflush(stdout);
	}
	free(line);
	return 0;
}
