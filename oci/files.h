/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/files.h — the steps that make a container's file tree, in the order the child runs them (oci/child.c). Private to oci/.
 * Each returns 0 or -errno with *err naming the object; s->at is the index of the list entry at work.
 */
#pragma once
struct hk_err;
struct oci_setup;

/* rootfs.c — prepare: makes / a recursive slave, mounts Task.Create's rootfs mounts (or takes root.path as it is), opens s->rootfs_fd as a
 * mount of its own. In M or I, in a mount namespace of our own, with the host's privileges. */
int oci_rootfs_prepare(struct oci_setup *s, struct hk_err *err);
/* mounts.c — prepare: opens what needs the host's names and privileges: bind sources as detached trees, idmapped with their attributes. */
int oci_mounts_prepare(struct oci_setup *s, struct hk_err *err);

/* rootfs.c — attach: in I's own mount namespace, puts the rootfs tree in place (propagation, parent made private); re-opens s->rootfs_fd. */
int oci_rootfs_attach(struct oci_setup *s, struct hk_err *err);
/* procfs.c — fills s->proc_fd (fsopen proc; detached clone of /proc; checked /proc), before anything is masked. */
int oci_procfs_open(struct oci_setup *s, struct hk_err *err);
/* mounts.c — attach: every mount of the spec in order. */
int oci_mounts_attach(struct oci_setup *s, struct hk_err *err);
/* devices.c — default nodes and links, linux.devices, /dev/ptmx. */
int oci_devices_create(struct oci_setup *s, struct hk_err *err);
/* tty.c — with a terminal: pty pair from the container's devpts, slave bound on /dev/console; fills s->console_*. */
int oci_console_create(struct oci_setup *s, struct hk_err *err);
/* rootfs.c — makes process.cwd if it is missing, before / becomes read-only. */
int oci_rootfs_make_cwd(struct oci_setup *s, struct hk_err *err);
/* rootfs.c — pivot_root (or MS_MOVE + chroot), old root detached; cwd is / afterwards, s->rootfs_fd the new root. */
int oci_rootfs_pivot(struct oci_setup *s, struct hk_err *err);
/* sysctl.c — spec->sysctl through s->proc_fd. */
int oci_sysctl_write(struct oci_setup *s, struct hk_err *err);
/* masks.c — readonlyPaths, then maskedPaths. */
int oci_masks_apply(struct oci_setup *s, struct hk_err *err);
/* rootfs.c — root propagation flag, deferred read-only remounts, root.readonly. Last of the mount steps. */
int oci_rootfs_finish(struct oci_setup *s, struct hk_err *err);
/*
 * rootfs.c — where the spec has no mount namespace: back to the host's, with the tree made so far as a root that nobody else can reach.
 */
int oci_rootfs_leave(struct oci_setup *s, struct hk_err *err);

/* tty.c — for exec: a pty pair from the devpts of the container we are in (cwd = its root); no /dev/console. */
int oci_tty_open(int rootfd, int *ret_master, int *ret_slave, struct hk_err *err);
/* tty.c — makes the slave our controlling terminal (after setsid) and fds 0-2, with the size asked (0 = leave). */
int oci_tty_adopt(int slave_fd, unsigned rows, unsigned cols, struct hk_err *err);
