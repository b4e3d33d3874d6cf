/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/files_helpers.h — a container's file tree made by the real steps, in a child with namespaces of its own;
 * the checks run in there.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup.h"
#include "oci/files.h"
#include "oci/namespaces.h"
#include "oci/setup.h"

/* In the child: cmocka's assertions belong to the parent. */
#define CHECK(x)                                                                                        \
	do {                                                                                            \
		if (!(x)) {                                                                             \
			(void)fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #x, strerror(errno)); \
			_exit(1);                                                                       \
		}                                                                                       \
	} while (0)
#define WORDS(...)                                                                                      \
	{                                                                                               \
		.v = (const char *[]){ __VA_ARGS__, NULL }, .n = sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *) \
	}
#define LIST(member, array) .member = (array), .n_##member = HK_ARRAY_SIZE(array)

struct world { /* a bundle on the host */
	char dir[64];     /* temporary, all is below */
	char bundle[80], rootfs[96];
	char *mountinfo;  /* of the host, before */
};
struct scene {
	struct world *w;
	struct oci_setup s;
	struct oci_spec spec;
	const int *absent; /* system calls that answer ENOSYS, ended by -1; NULL = none */
	void (*before)(struct scene *sc);  /* in the child, before the steps, in its mount namespace */
	void (*check)(struct scene *sc);   /* in the container's root, all steps done */
	int expect;        /* -errno that a step must give; 0 = success */
	const char *expect_text; /* part of the error */
};

enum { NEW_ALL = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET };
enum { N_DEFAULT_MOUNTS = 7, N_PREPARE = 2, N_ATTACH = 10 };
typedef int step_fn(struct oci_setup *s, struct hk_err *err);
extern step_fn *const prepare_steps[N_PREPARE], *const attach_steps[N_ATTACH];
extern struct oci_mount default_mounts[N_DEFAULT_MOUNTS]; /* containerd's */

/* cmocka's set-up and tear-down; the latter fails when the host's mounts are not what they were. */
int world_set_up(void **state);
int world_tear_down(void **state);
void make_file(const char *dir, const char *name, const char *text);
void make_dir(const char *dir, const char *name);
/* A whole file in heap memory, NULL if it cannot be read. */
char *read_all(const char *path);
/* containerd's mounts, masked and read-only paths, namespaces, and a read-only root. */
void add_default(struct scene *sc);

/* All of it: a child in new namespaces, `before`, the steps, `check`. */
void run_scene(struct scene *sc);
/*
 * Its parts, in the child: a step that fails ends it, with success if the scene expects that; finish_scene always
 * does.
 */
void init_setup(struct scene *sc);
void run_steps(struct scene *sc, step_fn *const *steps, size_t n);
void finish_scene(struct scene *sc) __attribute__((noreturn));
void assert_child_ok(pid_t pid);

/*
 * "ro,nosuid|propagation|type source options|root" of the topmost mount on `point`, by the child's own procfs; false
 * when there is none.
 */
bool find_mount(const struct scene *sc, const char *point, char *ret, size_t size);
/* The mount on `point` has all of the comma-separated words in its mount options, and none of those marked by '!'. */
bool has_flags(const struct scene *sc, const char *point, const char *words);
bool mount_text_has(const struct scene *sc, const char *point, const char *text);
unsigned long fs_type(const char *path);
bool is_char(const char *path, unsigned major, unsigned minor, mode_t mode);
bool is_link(const char *path, const char *target);
void check_devices(void);
void check_masks(const struct scene *sc);
