/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/tool.h — the parts of `husk`, the tool for the person on the node. A program of its own: what it needs shall not be in every shim's
 * memory. It finds shims by their state files and asks each over its socket (husk.node.Node, shim/node.h).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/node.pb-c.h"

struct hk_err;

struct tool_options {
	bool json, follow, once, all, dry_run, uninstall, restart;
	const char *run_dir; /* of the state files */
	const char *root;    /* install: "" = this machine's */
	const char *binary;  /* upgrade: the new program; NULL = the one beside this */
	const char *prefix;  /* install: where the programs go */
	const char *what;    /* the first word that is no flag, "" = none */
	const char *self;    /* argv[0] */
};
/* Each returns the exit status: 0, 1 after a text on stderr. */
int tool_ps(const struct tool_options *o);
int tool_top(const struct tool_options *o);
int tool_why(const struct tool_options *o);
int tool_events(const struct tool_options *o);
int tool_doctor(const struct tool_options *o);
int tool_install(const struct tool_options *o);
int tool_upgrade(const struct tool_options *o);
int tool_fail(const struct hk_err *err);

/* ---- tool_shims.c: the pods of this node ---- */
struct tool_orphan { /* a container whose shim is dead */
	char id[80];
	uint32_t pid; /* 0 = dead too */
};
struct tool_shim {
	char *ns, *group, *socket; /* owned */
	uint32_t pid;
	Husk__Node__StateResponse *state; /* owned; NULL: it did not answer */
	char reason[128];                 /* then why */
	bool is_dead;
	struct tool_orphan *orphans; /* owned */
	size_t n_orphans;
};
struct tool_shims {
	struct tool_shim *v; /* owned; by pod and group */
	size_t n;
};
/* Asks all of them. An empty list is success; HK_INVALID without root. */
int tool_shims_get(const struct tool_options *o, struct tool_shims *ret, struct hk_err *err);
void tool_shims_done(struct tool_shims *s);
/* "k8s namespace/pod", or the group. */
const char *tool_shim_name(const struct tool_shim *s, char *buf, size_t size);
/* The text names this pod or one of its containers, by name or the first bytes of its id; of a deleted one by what its shim's history has. */
bool tool_shim_matches(const struct tool_shim *s, const char *text);
bool tool_container_matches(const Husk__Node__Container *c, const char *text);
/* Tells that nothing matches; what a shim that does not answer may have is unknown. Returns 1. */
int tool_nobody(const char *command, const char *what, const struct tool_shims *l);
/* Tells that there is none; no failure. */
void tool_no_pod(void);

/* ---- tool_call.c: one call to a shim ---- */
/* 0 and the unpacked answer; -errno, -ENOSYS for a shim that is too old for the method. timeout_ms < 0: none. */
struct tool_call {
	const char *socket, *service, *method;
	const ProtobufCMessage *request;
	const ProtobufCMessageDescriptor *answer;
	int timeout_ms;
};
int tool_call(const struct tool_call *c, ProtobufCMessage **ret, char *text, size_t size);

/* ---- tool_out.c: tables and JSON ---- */
enum { TABLE_COLUMNS = 12 };
struct table {
	size_t n_columns, n_rows;
	char *(*rows)[TABLE_COLUMNS]; /* owned */
};
/* A row of n_columns texts, the first one the heads; copied. */
void table_add(struct table *t, const char *const *cells, size_t n);
/* Columns as wide as they need to be; the last one is not padded. */
void table_print(const struct table *t, FILE *f);
void table_done(struct table *t);

struct json {
	FILE *f;
	bool needs_comma;
};
void json_begin(struct json *j, const char *key, char bracket); /* key NULL: an element */
void json_end(struct json *j, char bracket);
void json_str(struct json *j, const char *key, const char *s);
void json_u64(struct json *j, const char *key, uint64_t v);
void json_bool(struct json *j, const char *key, bool v);
const char *text_bytes(uint64_t bytes, char buf[16]);
const char *text_age(uint64_t seconds, char buf[16]);
