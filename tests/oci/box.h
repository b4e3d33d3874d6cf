/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/box.h — drives oci/oci.h to the end of each call, for the root tests. Include after cmocka.h.
 * A box is one container with its bundle; the rootfs is busybox-static's.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/loop.h"
#include "oci/oci.h"

#define NS_NEW "{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"network\"},"
#define NS_MOUNT "{\"type\":\"mount\"}"
#define CAPS "[\"CAP_CHOWN\",\"CAP_SETUID\",\"CAP_SETGID\",\"CAP_KILL\",\"CAP_SYS_CHROOT\"]"

extern char base[]; /* the directory of all bundles and of the rootfs */
extern struct hk_loop loop;
extern struct hk_reaper reaper;
extern struct oci_engine engine;

struct config { /* all optional; JSON fragments that end in a comma */
	const char *args;       /* "\"true\"" */
	const char *process, *linux_, *root;
	const char *namespaces; /* instead of NS_NEW */
	const char *rootfs;
};
struct box {
	char id[32], dir[128];
	struct oci_container *c;
	struct hk_child init, extra;
	int out[2];    /* the stdout and stderr of all that runs in it */
	int console;
	bool done, exited, extra_exited;
	int status, extra_status;
	struct hk_err err;
	char text[8192];
};

void write_text(const char *dir, const char *name, const char *text);
struct box *box_new(const char *id, const struct config *cf);
void turn_until(const bool *flag);
void on_created(void *arg, const struct oci_launched *l, const struct hk_err *err);
/* Each returns 0 or -errno with b->err, whether the error came at once or by the callback. */
int box_create_begin(struct box *b, bool terminal);
int box_create(struct box *b, bool terminal);
int box_start(struct box *b);
int box_exec_begin(struct box *b, const char *json, bool terminal);
int box_exec(struct box *b, const char *json, bool terminal);
int box_wait(struct box *b);
int box_wait_extra(struct box *b);
/* What has been written so far. */
const char *box_text(struct box *b);
/* Waits for the first whole line: the program is up. */
const char *box_line(struct box *b);
bool cgroup_exists(const struct box *b);
void box_kill(struct box *b);
void box_remove(struct box *b);
/* The end of every test: nothing may be left, not a process, not a zombie, not a cgroup. The fds are judged by fdcheck.c. */
void box_free(struct box *b);
/* The last test: no child is left, dead or alive, but those that wait for a sweep. */
void nobody_is_left(void **state);
int launch_setup(void **state);
int launch_teardown(void **state);
