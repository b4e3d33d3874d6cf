/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/breakable.h — the defences that the attack tests (tests/attack) switch off one by one, to show that each of them is what holds.
 *
 * Only in the objects that tests/attack compiles a second time with HUSK_BREAKABLE: there HUSK_BREAK=<name> in the environment takes one
 * defence away. In every other build a switch is the constant false, and neither its code nor a name of this table is in the program
 * (tests/attack/test_server.py looks). README, section "Security", says which attack each defence answers.
 */
#pragma once
#include <errno.h>
#include <stdbool.h>

#define HK_DEFENCES(X) \
	X(CLOSE_FDS, "close-fds")           /* process.c, child.c: 0, 1 and 2 are all that cross execve */ \
	X(CWD_INSIDE, "cwd-inside")         /* process.c, rootfs.c: the working directory is below the root */ \
	X(MOUNT_DEST, "mount-dest")         /* mounts.c: a destination is resolved once, to a descriptor */ \
	X(MKDIR_INSIDE, "mkdir-inside")     /* mounts.c: what is missing of it is made by descriptors, below the root */ \
	X(BIND_SOURCE, "bind-source")       /* mounts.c: a bind source is opened once: what was checked is what is mounted */ \
	X(DEV_INSIDE, "dev-inside")         /* devices.c: /dev is resolved below the root */ \
	X(PROC_REAL_DIR, "proc-real-dir")   /* mount_new.c: proc and sysfs go on real directories only */ \
	X(PROC_GUARD, "proc-guard")         /* mount_guard.c: nothing covers /proc */ \
	X(OWN_PROCFS, "own-procfs")         /* sysctl.c, lsm.c: written through a procfs that nobody else can reach */ \
	X(MASK_NULL, "mask-null")           /* masks.c: files are masked by the host's null device, not the container's */ \
	X(CONSOLE_PEER, "console-peer")     /* tty.c: the terminal's other end is taken from its master, not by name */ \
	X(READONLY_IMAGE, "readonly-image") /* shim/spawn.c: the server runs from a mount that cannot be written */ \
	X(DUMPABLE, "non-dumpable")         /* child.c, exec.c, process.c: nobody looks into a set-up child, no core of it */ \
	X(SERVER_DUMPABLE, "server-non-dumpable") /* shim/serve.c: the same for the server */ \
	X(GROUPS, "groups")                 /* creds.c: supplementary groups are set, also to none */ \
	X(INHERITABLE, "inheritable")       /* creds.c: inheritable and ambient capabilities are those of the spec */ \
	X(STRICT_ID, "strict-id")           /* parse_process.c: ids are exact numbers in range */ \
	X(OWN_PASSWD, "own-passwd")         /* env.c: passwd is read by the engine, not by libraries of the container */

#define HK_DEFENCE_ENUM(id, name) HK_DEFENCE_##id,
enum hk_defence { HK_DEFENCES(HK_DEFENCE_ENUM) HK_N_DEFENCES };
#undef HK_DEFENCE_ENUM

#ifdef HUSK_BREAKABLE
/* tests/attack/naive.c: also the ways that the defences replaced, for no caller but a broken one. */
bool hk_is_broken(enum hk_defence d);
/* Below rootfd, by name as the kernel follows it: a link leads where it says, on the host. Makes what is missing where asked. */
int hk_naive_open(int rootfd, const char *path, int flags, bool makes_dirs, int *ret_fd);
/* The other end of a terminal by the name that it should have. */
int hk_naive_pts(int rootfd, int master, int *ret_fd);
/* strtoul, as if nothing could be wrong. */
unsigned hk_naive_id(const char *text, unsigned len);
/* getpwuid, as the C library of a program does it. */
void hk_naive_home(unsigned uid, char *buf, unsigned size);
/* Whatever is at /proc. */
int hk_naive_procfs(void);
/* The calling process's own inheritable capabilities. */
unsigned long long hk_naive_inheritable(void);
#else
/* Names for what is never called; a compiler that does not optimise asks for them all the same. */
#define hk_is_broken(d) false
#define hk_naive_open(rootfd, path, flags, makes_dirs, ret_fd) (-ENOSYS)
#define hk_naive_pts(rootfd, master, ret_fd) (-ENOSYS)
#define hk_naive_id(text, len) 0U
#define hk_naive_home(uid, buf, size) ((void)0)
#define hk_naive_procfs() (-ENOSYS)
#define hk_naive_inheritable() 0ULL
#endif
