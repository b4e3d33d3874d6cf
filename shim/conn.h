/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/conn.h — the sockets under ttrpc: accepts connections of our own uid and gid, feeds their bytes to
 * proto/dispatch, writes the answers. A broken, closed or stuck connection ends alone; its unanswered calls become
 * orphans.
 *
 * Limits: 64 connections, and on 16 more every request is answered with ResourceExhausted, for some seconds; a peer that does not read is no longer read from at 256 KiB of waiting answers and is
 * dropped at 16 MiB. An idle connection holds no buffer.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/base/list.h"
#include "oci/base/loop.h"
#include "proto/dispatch.h"

enum { SHIM_CONN_MAX = 64, SHIM_SURPLUS_MAX = 16, SHIM_CALLS_MAX = 1024 };

struct hk_record;
struct hk_value;

struct shim_listener {
	struct hk_loop *loop;
	struct ttrpc_server *server;
	struct hk_source src;
	struct hk_timer retry; /* after accept ran out of fds or memory */
	struct hk_list conns;
	int fd; /* owned; -1 once stopped */
	unsigned int n_conns, n_surplus; /* served; refused but not closed yet */
	struct hk_timer surplus;
	bool is_held;     /* nobody is accepted or read from */
	uint64_t n_heard; /* connections and what came by them: grows as long as somebody talks to us */
};

/* Takes *take_fd, a listening stream socket, also on failure; makes it non-blocking. `server` outlives the listener. */
int shim_listener_init(struct shim_listener *l, struct hk_loop *loop, struct ttrpc_server *server, int *take_fd);
/* Serves one already connected socket as if it had been accepted (peer check included). Takes *take_fd. */
int shim_listener_adopt(struct shim_listener *l, int *take_fd);
/* What comes from now on waits in the sockets, until it is held no longer. What was read before is still acted upon. */
void shim_listener_hold(struct shim_listener *l, bool is_held);
/*
 * Over an upgrade: the listening socket and all connections with what was read and not understood, understood and not answered. A load takes the place of
 * init, answers 0 or -errno and begins held; calls are made again by their owners (proto/dispatch.h), in the session that belongs to the connection's number.
 */
void shim_listener_save(const struct shim_listener *l, struct hk_record *to);
int shim_listener_load(struct shim_listener *l, struct hk_loop *loop, struct ttrpc_server *server, const struct hk_value *from);
int shim_conn_number(const struct ttrpc_session *s);
struct ttrpc_session *shim_conn_session(const struct shim_listener *l, int number);
/* Accepts no more and closes the listening socket; connections go on. */
void shim_listener_stop(struct shim_listener *l);
/* In a child, which is a copy of us: closes its copies of all sockets, so that they end with us and not with it. */
void shim_listener_leave(const struct shim_listener *l);
/* True when no answer waits to be written: the moment to exit after Shutdown was answered. */
bool shim_listener_is_flushed(const struct shim_listener *l);
/* Closes everything. Not from inside a handler: its connection would go with it. */
void shim_listener_done(struct shim_listener *l);
