/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/carry_podsandbox.c — a sandbox without a pause image over an upgrade. Its files and mounts are on disk; here is the record, with the
 * document of its process as long as that has not started.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/err.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "sandbox/carry_priv.h"
#include "sandbox/podsandbox_priv.h"

HK_RECORD_WHOLE(struct sbx_podsandbox, 456);

static const char *const words[SB_N_STATES] = { [SB_CREATED] = "created", [SB_READY] = "ready", [SB_STOPPED] = "stopped" };

const char *sandbox_busy(const struct sbx_pod *p)
{
	const struct sbx_podsandbox *b = p->sandbox;

	if (!b)
		return NULL;
	if (b->start.fn || b->state == SB_STARTING)
		return "it is being started";
	if (!words[b->state] || b->is_removing || !hk_list_is_empty(&b->stops) || !hk_list_is_empty(&b->shutdowns))
		return "it is being stopped";
	return b->oci ? oci_container_busy(b->oci) : NULL;
}

int sandbox_save(const struct sbx_podsandbox *b, struct hk_record *to, struct hk_err *err)
{
	int r = 0;

	hk_record_begin(to, "sandbox");
	hk_record_str(to, "id", b->id);
	hk_record_str(to, "bundle", b->bundle);
	hk_record_str(to, "state", words[b->state]);
	hk_record_str(to, "cgroup_parent", b->cgroup_parent);
	hk_record_str(to, "why", b->why);
	hk_record_bytes(to, "config", b->config, b->config_len);
	hk_record_bool(to, "has_process", b->has_process);
	hk_record_bool(to, "has_shm", b->has_shm);
	hk_record_fd(to, "userns", b->userns_fd);
	hk_record_str(to, "rootfs_uid", b->rootfs_owner[0]);
	hk_record_str(to, "rootfs_gid", b->rootfs_owner[1]);
	hk_record_num(to, "pid", b->pid);
	hk_record_num(to, "created_s", b->created_at.tv_sec);
	hk_record_num(to, "created_ns", b->created_at.tv_nsec);
	hk_record_bool(to, "is_told", b->is_told);
	carry_exit(to, &b->x);
	carry_child(to, &b->child);
	if (b->oci) {
		hk_record_begin(to, "engine");
		r = oci_container_save(b->oci, to, err);
		hk_record_end(to);
	}
	hk_record_end(to);
	return r;
}

static int load_strings(struct sbx_podsandbox *b, const struct hk_value *from)
{
	const char *config = hk_value_bytes(from, "config", &b->config_len);

	b->id = strdup(hk_value_str(from, "id"));
	b->bundle = strdup(hk_value_str(from, "bundle"));
	b->cgroup_parent = strdup(hk_value_str(from, "cgroup_parent"));
	b->why = strdup(hk_value_str(from, "why"));
	if (config) {
		b->config = calloc(1, b->config_len + 1);
		if (b->config)
			memcpy(b->config, config, b->config_len);
	}
	if (hk_fmt(b->rootfs_owner[0], sizeof(b->rootfs_owner[0]), "%s", hk_value_str(from, "rootfs_uid")) < 0 ||
	    hk_fmt(b->rootfs_owner[1], sizeof(b->rootfs_owner[1]), "%s", hk_value_str(from, "rootfs_gid")) < 0)
		hk_value_wrong(from, "rootfs_uid", "is too long");
	return b->id && b->bundle && b->cgroup_parent && b->why && (!config || b->config) ? 0 : -ENOMEM;
}

static void load_facts(struct sbx_podsandbox *b, const struct hk_value *from)
{
	const char *state = hk_value_str(from, "state");

	b->state = SB_N_STATES;
	for (int i = 0; i < SB_N_STATES; i++)
		if (words[i] && strcmp(words[i], state) == 0)
			b->state = (enum sb_state)i;
	if (b->state == SB_N_STATES)
		hk_value_wrong(from, "state", "is unknown");
	b->has_process = hk_value_bool(from, "has_process");
	b->has_shm = hk_value_bool(from, "has_shm");
	b->userns_fd = hk_value_fd_or(from, "userns");
	b->pid = (uint32_t)hk_value_num(from, "pid");
	b->created_at.tv_sec = (time_t)hk_value_num(from, "created_s");
	b->created_at.tv_nsec = (long)hk_value_num(from, "created_ns");
	b->is_told = hk_value_bool(from, "is_told");
	carry_read_exit(from, &b->x);
}

int sandbox_load(struct sbx_pod *p, const struct hk_value *from, struct hk_err *err)
{
	const struct hk_value *child = from ? hk_value_get(from, "child") : NULL, *engine = from ? hk_value_get(from, "engine") : NULL;
	struct sbx_podsandbox *b = from ? sandbox_blank(p) : NULL;
	int r = b ? load_strings(b, from) : -ENOMEM;

	if (!from)
		return 0;
	if (r == 0) {
		sandbox_set_rootfs(b);
		load_facts(b, from);
	}
	if (r == 0 && child)
		r = sandbox_take_over(b, child);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "take the sandbox over");
	r = hk_value_check(from, err);
	if (r == 0 && engine)
		r = oci_container_load(&p->engine, engine, &b->oci, err);
	p->sandbox = b;
	return r;
}
