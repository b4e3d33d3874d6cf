/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/notify.c — runtime-spec "Container Process State": one connection to the agent a process, one JSON document with
 * the seccomp listener as SCM_RIGHTS. The child has its filter on when it has a listener, and any system call of it,
 * sendmsg included, may then wait for the very agent that lacks the listener, or be killed. So it says before the
 * filter that it is about to (WANT_AGENT), writes the fd's number into the shared page, and spins there until the shim
 * has copied the listener out of it (pidfd_getfd) and sent it. The shim connects first: an agent that is not there is
 * told while the child still can be told anything.
 */
#include "oci/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/launch.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

enum { CONNECT_EVERY_MS = 10, TAKE_EVERY_MS = 1, SEND_EVERY_MS = 5, SPINS_PER_LOOK = 4096 };

enum notify_state { NS_CONNECTING, NS_TAKING, NS_SENDING };

struct oci_notify {
	struct oci_launch *l;
	enum notify_state state;
	int sock;     /* owned; to the agent */
	int listener; /* owned; -1 until taken */
	struct hk_timer timer;
	uint64_t until_ns;
	char *json;   /* owned */
	size_t len, sent;
};

int oci_notify_check(const char *path, struct hk_err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return hk_fail(err, HK_INVALID, errno, "linux.seccomp.listenerPath %s", path);
	if (!S_ISSOCK(st.st_mode))
		return hk_fail_text(err, HK_INVALID, ENOTSOCK, "linux.seccomp.listenerPath %s: not a socket", path);
	return 0;
}

/* ---- the child ---- */

static uint64_t now_ms(void)
{
	enum { MS_PER_S = 1000, NS_PER_MS = 1000000 };
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* by the vdso: no system call where the filter would see it */
	return (uint64_t)ts.tv_sec * MS_PER_S + (uint64_t)ts.tv_nsec / NS_PER_MS;
}

int oci_notify_load(struct oci_job *j, struct hk_err *err)
{
	uint64_t until = now_ms() + OCI_NOTIFY_TIMEOUT_MS + OCI_NOTIFY_TIMEOUT_MS;
	int fd, r = oci_sync_send(j->s.sync_fd, OCI_MSG_WANT_AGENT, 0, -1);

	if (r == 0)
		r = oci_sync_expect(j->s.sync_fd, OCI_MSG_DONE);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "wait for the seccomp agent");
	r = oci_bpf_load_listener(&j->bpf, j->c->seccomp.flags, &fd, err);
	if (r < 0)
		return r;
	__atomic_store_n(&j->page->listener, fd, __ATOMIC_RELEASE);
	for (unsigned i = 1; !__atomic_load_n(&j->page->is_listener_sent, __ATOMIC_ACQUIRE); i++)
		if (i % SPINS_PER_LOOK == 0 && now_ms() > until) /* the shim is dead, or as good as */
			return hk_fail_text(err, HK_DEADLINE, ETIMEDOUT, "the seccomp listener was not taken in time");
	return 0;
}

/* ---- the shim ---- */

void oci_notify_abort(struct oci_notify *n)
{
	if (!n)
		return;
	hk_timer_cancel(&n->timer);
	(void)hk_close(n->sock);
	(void)hk_close(n->listener);
	free(n->json);
	free(n);
}

/* Frees n with the launch's socket. */
static void fail(struct oci_notify *n, int code, const char *what)
{
	struct oci_launch *l = n->l;
	struct hk_err err;

	(void)hk_fail(&err, HK_INTERNAL, code, "linux.seccomp.listenerPath %s: %s", l->c->listener_path, what);
	oci_launch_fail(l, &err);
}

static pid_t pid_of(const struct oci_launch *l)
{
	if (l->state == LS_STARTING)
		return l->c->init_pid;
	return l->first_pidfd >= 0 ? l->first_pid : l->page->final_pid;
}

/* Borrows the strings from c. */
static int annotations_of(const struct oci_container *c, struct oci_kvs *ret)
{
	size_t n = 0;
	struct oci_kv *v;

	for (const char *p = c->annotations; p && *p; n++) {
		p += strlen(p) + 1;
		p += strlen(p) + 1;
	}
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	*ret = (struct oci_kvs){ .v = v };
	for (const char *p = c->annotations; ret->n < n; ret->n++) {
		const char *value = p + strlen(p) + 1;

		v[ret->n] = (struct oci_kv){ .key = p, .value = value };
		p = value + strlen(value) + 1;
	}
	return 0;
}

static int describe(struct oci_notify *n)
{
	const struct oci_launch *l = n->l;
	const struct oci_container *c = l->c;
	bool is_started = l->is_exec && !(c->init && c->init->state <= LS_CREATED);
	struct oci_kvs annotations;
	struct oci_hook_state state = {
		.version = c->version,
		.id = c->id,
		.status = is_started ? "running" : l->is_exec || l->state == LS_STARTING ? "created" : "creating",
		.bundle = c->bundle,
		.pid = l->is_exec ? c->init_pid : pid_of(l),
		.annotations = &annotations,
	};
	struct oci_process_state process = { .pid = pid_of(l), .metadata = c->listener_metadata, .state = &state };
	int r = annotations_of(c, &annotations);

	if (r < 0)
		return r;
	r = oci_process_state_json(&process, &n->json, &n->len);
	free(annotations.v);
	return r;
}

/* A path that is too long for the address goes through a directory fd. */
static int address_of(const char *path, struct sockaddr_un *sa, int *ret_dir)
{
	const char *base = strrchr(path, '/') + 1;
	char dir[4096];
	int r = hk_fmt(sa->sun_path, sizeof(sa->sun_path), "%s", path);

	sa->sun_family = AF_UNIX;
	if (r >= 0)
		return 0;
	r = hk_fmt(dir, sizeof(dir), "%.*s", (int)(base - path), path);
	if (r < 0)
		return r;
	*ret_dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dir < 0)
		return -errno;
	r = hk_fmt(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s", *ret_dir, base);
	return r < 0 ? r : 0;
}

/* -EAGAIN: the agent's backlog is full. connect(2) of a stream of AF_UNIX is never "in progress". */
static int try_connect(struct oci_notify *n)
{
	struct sockaddr_un sa;
	hk_autofd dir = -1;
	int r = address_of(n->l->c->listener_path, &sa, &dir);

	if (r < 0)
		return r;
	if (n->sock < 0)
		n->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->sock < 0 || connect(n->sock, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	return 0;
}

/*
 * The child's page names an fd, and what is there must be a listener. The child cannot be gone and its number another's:
 * it is our own child, and not reaped as long as its socket is open to us.
 */
static int take(struct oci_notify *n, int number)
{
	pid_t pid = pid_of(n->l);
	hk_autofd pidfd = pid > 0 ? oci_pidfd_open(pid) : -1, fd = -1;
	uint64_t no_such_id = 0;

	if (pidfd < 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &no_such_id) == 0 || errno != ENOENT)
		return -EBADF;
	n->listener = hk_take_fd(&fd);
	return 0;
}

/* 1: all is sent, 0: more to come. The listener goes with the first bytes. */
static int try_send(struct oci_notify *n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = n->json + n->sent, .iov_len = n->len - n->sent };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (n->sent == 0) {
		struct cmsghdr *c;

		m.msg_control = control.space;
		m.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &n->listener, sizeof(int));
	}
	sent = sendmsg(n->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	n->sent += (size_t)sent;
	return n->sent == n->len;
}

static void again(struct oci_notify *n, uint64_t delay_ms)
{
	if (hk_now_ns() >= n->until_ns)
		fail(n, ETIMEDOUT, "the agent did not take the listener in time");
	else
		hk_timer_set(n->l->c->engine->loop, &n->timer, delay_ms);
}

static void connecting(struct oci_notify *n)
{
	int r = try_connect(n);

	if (r == -EAGAIN) {
		again(n, CONNECT_EVERY_MS);
		return;
	}
	if (r < 0) {
		fail(n, -r, "connect to the seccomp agent");
		return;
	}
	n->state = NS_TAKING;
	r = oci_sync_send(n->l->sock, OCI_MSG_DONE, 0, -1);
	if (r < 0)
		fail(n, -r, "answer the set-up process");
	else
		again(n, TAKE_EVERY_MS);
}

static void sending(struct oci_notify *n)
{
	struct oci_launch *l = n->l;
	int r = try_send(n);

	if (r < 0) {
		fail(n, -r, "send to the seccomp agent");
		return;
	}
	if (r == 0) {
		again(n, SEND_EVERY_MS);
		return;
	}
	l->notify = NULL;
	oci_notify_abort(n);
	__atomic_store_n(&l->page->is_listener_sent, true, __ATOMIC_RELEASE);
}

static void taking(struct oci_notify *n)
{
	int number = __atomic_load_n(&n->l->page->listener, __ATOMIC_ACQUIRE), r;

	if (number == 0) {
		again(n, TAKE_EVERY_MS);
		return;
	}
	r = take(n, number);
	if (r == 0)
		r = describe(n);
	if (r < 0) {
		fail(n, -r, r == -EPERM ? "take the listener from the process (ptrace access is denied to the shim)"
					: "take the listener from the process");
		return;
	}
	n->state = NS_SENDING;
	sending(n);
}

static void on_timer(void *owner)
{
	struct oci_notify *n = owner;

	switch (n->state) {
	case NS_CONNECTING:
		connecting(n);
		break;
	case NS_TAKING:
		taking(n);
		break;
	case NS_SENDING:
		sending(n);
		break;
	}
}

void oci_notify_begin(struct oci_launch *l)
{
	struct oci_notify *n = l->notify || !l->c->listener_path ? NULL : calloc(1, sizeof(*n));
	struct hk_err err;

	if (!n) {
		(void)hk_fail(&err, HK_INTERNAL, l->notify ? EPROTO : ENOMEM, "seccomp agent");
		oci_launch_fail(l, &err);
		return;
	}
	*n = (struct oci_notify){ .l = l, .sock = -1, .listener = -1 };
	n->until_ns = hk_now_ns() + OCI_NOTIFY_TIMEOUT_MS * 1000000ULL;
	hk_timer_init(&n->timer, on_timer, n);
	l->notify = n;
	connecting(n);
}
