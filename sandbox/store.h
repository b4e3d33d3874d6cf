/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/store.h — the few facts that outlive a shim, so that `delete` can clean up after one that was killed. Private to sandbox/.
 *
 * <state_dir>/<namespace>/<group>/ (0700): ".shim" with the shim's pid and socket, and one file a container, named by its id, written
 * whole or not at all. Text, one "key value" a line, first line the format: a newer husk must read what an older one left.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct store_record { /* of a container; strings are borrowed on writing, owned (store_record_done) on reading */
	const char *id, *bundle, *cgroup;
	pid_t pid;           /* 0 = not born yet, or of another boot */
	uint64_t start_time; /* of that pid: field 22 of /proc/PID/stat; a number that came back later is another process */
};
struct store_shim {
	char *socket;
	char *cgroup; /* of its own, to be removed; NULL or "" = none */
	pid_t pid;
};

/* The directory of a group, heap; a group id that is no valid file name is hashed. NULL: out of memory. */
char *store_dir(const char *state_dir, const char *ns, const char *group);
/* Makes the directory. cgroup NULL or "": none of its own. */
int store_write_shim(const char *dir, pid_t pid, const char *socket, const char *cgroup);
int store_write_container(const char *dir, const struct store_record *r);
void store_remove_container(const char *dir, const char *id);
/* The directory with its ".shim" if no container is left in it, and its parent if that is empty then. */
void store_remove_dir(const char *dir);

/* -ENOENT, -EPROTO for a file that is none of ours. */
int store_read_container(int dirfd, const char *id, struct store_record *ret);
void store_record_done(struct store_record *r);
int store_read_shim(int dirfd, struct store_shim *ret);
void store_shim_done(struct store_shim *s);
/* 0 when there is no such process. */
uint64_t store_start_time(pid_t pid);
/* False for a zombie too. */
bool store_is_running(pid_t pid);
