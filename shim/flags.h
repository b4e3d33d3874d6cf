/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/flags.h — the command line, by the grammar of Go's flag package, since that is what containerd writes for: -x v, -x=v, --x;
 * a boolean never takes the next word; the first word that is no flag is the action, and what follows it is ignored.
 */
#pragma once
#include <stdbool.h>

struct hk_err;

/* Strings are borrowed from argv, "" = not given. */
struct shim_flags {
	const char *ns;
	const char *id;
	const char *address; /* containerd's gRPC socket */
	const char *bundle;
	const char *action; /* "" = be the server */
	bool debug, version, info, help;
	bool pod_cgroup; /* between `start` and the server: it goes into the pod's cgroup once that is known */
	/* between `start` and the server it spawns */
	const char *group;
	/* between a server and the program that takes its place: numbers of descriptors (shim/resume.h) */
	const char *resume, *rehearse;
	/* given by containerd or known to other shims, without a use here */
	const char *publish_binary, *socket, *debug_socket;
};

/* 0, or HK_INVALID with the text the Go package would print. */
int shim_flags_parse(int argc, char *const *argv, struct shim_flags *ret, struct hk_err *err);

/* The text of -h. */
extern const char shim_usage[];
