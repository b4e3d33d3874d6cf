/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/child.c — see child.h. The one file that calls waitid(2). */
#include "oci/base/child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"

/* __WALL: also a child whose exit signal is not SIGCHLD. */
enum { REAP = WEXITED | WNOHANG | __WALL };
enum { STATUS_UNKNOWN = 255 }; /* containerd's UnknownExitStatus */

static void on_sweep(void *owner)
{
	hk_reaper_sweep(owner);
}

void hk_reaper_init(struct hk_reaper *r, struct hk_loop *l)
{
	r->loop = l;
	r->is_held_up = false;
	hk_list_init(&r->children);
	hk_list_init(&r->holds);
	hk_timer_init(&r->sweep, on_sweep, r);
}

void hk_reaper_hold(struct hk_reaper *r, struct hk_hold *h, const volatile pid_t *pid)
{
	*h = (struct hk_hold){ .pid = pid, .reaper = r };
	hk_list_init(&h->node);
	hk_list_append(&r->holds, &h->node);
}

void hk_reaper_release(struct hk_hold *h)
{
	struct hk_reaper *r = h->reaper;

	if (!r)
		return;
	hk_list_remove(&h->node);
	h->reaper = NULL;
	if (r->is_held_up) /* not now: its owner may be just about to watch it */
		hk_timer_set(r->loop, &r->sweep, 0);
}

static bool is_held(const struct hk_reaper *r, pid_t pid)
{
	hk_list_for(n, &r->holds) {
		const pid_t held = *hk_container_of(n, struct hk_hold, node)->pid;

		if (held == pid || held == HK_HOLD_WHOEVER)
			return true;
	}
	return false;
}

void hk_child_init(struct hk_child *c)
{
	memset(c, 0, sizeof(*c));
	c->pidfd = -1;
	c->src.fd = -1;
	hk_list_init(&c->node);
}

static struct hk_exit exit_of(const siginfo_t *si)
{
	struct hk_exit x = { .was_signaled = si->si_code != CLD_EXITED };

	x.status = x.was_signaled ? 128 + si->si_status : si->si_status;
	(void)clock_gettime(CLOCK_REALTIME, &x.at);
	return x;
}

/* Reaps c if it is a zombie and tells its owner, who may free it. */
static void reap(struct hk_child *c)
{
	siginfo_t si = { 0 };
	struct hk_exit x;

	if (c->is_dead)
		return;
	if (waitid(P_PID, (id_t)c->pid, &si, REAP) == 0) {
		if (si.si_pid == 0)
			return; /* alive */
		x = exit_of(&si);
	} else {
		/* ECHILD: swept before it was watched. Its pidfd would stay readable for ever, so it must be told. */
		x = (struct hk_exit){ .status = STATUS_UNKNOWN };
		(void)clock_gettime(CLOCK_REALTIME, &x.at);
	}
	c->is_dead = true;
	hk_list_remove(&c->node);
	hk_source_del(c->reaper->loop, &c->src);
	c->fn(c->owner, &x);
}

static void on_pidfd(void *owner, uint32_t events)
{
	(void)events;
	reap(owner);
}

int hk_child_take_over(struct hk_reaper *r, struct hk_child *c, const struct hk_child_was *was, hk_child_fn *fn, void *owner)
{
	int rc;

	hk_child_init(c);
	hk_source_init(&c->src, HK_PASS_EXIT, on_pidfd, c);
	rc = was->is_dead ? 0 : hk_source_add(r->loop, &c->src, was->pidfd, EPOLLIN);
	if (rc < 0)
		return rc;
	c->pid = was->pid;
	c->pidfd = was->pidfd;
	c->is_dead = was->is_dead;
	c->reaper = r;
	c->fn = fn;
	c->owner = owner;
	if (!was->is_dead)
		hk_list_append(&r->children, &c->node);
	return 0;
}

int hk_child_watch(struct hk_reaper *r, struct hk_child *c, pid_t pid, int *take_pidfd, hk_child_fn *fn, void *owner)
{
	hk_autofd pidfd = hk_take_fd(take_pidfd);
	int rc = hk_child_take_over(r, c, &(const struct hk_child_was){ .pid = pid, .pidfd = pidfd }, fn, owner);

	if (rc == 0)
		pidfd = -1;
	return rc;
}

int hk_child_kill(const struct hk_child *c, int sig)
{
	if (c->pid == 0 || c->is_dead || c->pidfd < 0)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

void hk_child_done(struct hk_child *c)
{
	if (c->reaper)
		hk_source_del(c->reaper->loop, &c->src);
	hk_list_remove(&c->node);
	c->pidfd = hk_close(c->pidfd);
	c->pid = 0;
	c->reaper = NULL;
}

int hk_wait_blocking(pid_t pid, struct hk_exit *ret)
{
	siginfo_t si = { 0 };

	while (waitid(P_PID, (id_t)pid, &si, WEXITED | __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	if (ret)
		*ret = exit_of(&si);
	return 0;
}

void hk_reaper_sweep(struct hk_reaper *r)
{
	r->is_held_up = false;
	for (;;) {
		siginfo_t si = { 0 };
		struct hk_child *known = NULL;

		/* Peek first: whose it is decides who reaps it. */
		if (waitid(P_ALL, 0, &si, REAP | WNOWAIT) < 0 || si.si_pid == 0)
			return;
		hk_list_for(n, &r->children) {
			struct hk_child *c = hk_container_of(n, struct hk_child, node);

			if (c->pid == si.si_pid) {
				known = c;
				break;
			}
		}
		if (known) {
			reap(known);
		} else if (is_held(r, si.si_pid)) {
			/* It would be found first again and again. Others that nobody knows can wait as long as it does. */
			r->is_held_up = true;
			return;
		} else {
			(void)waitid(P_PID, (id_t)si.si_pid, &si, REAP);
		}
	}
}
