/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_props_v1.c — what systemd is told about a container's unit on a host with v1 hierarchies: fewer properties than on v2
 * (cgroup_props.c), by older names, and the devices, which systemd knows there only by its own list. Until systemd 255.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/cgroup_calc.h"
#include "oci/cgroup_unit.h"

enum { MIN_SHARES = 2, MAX_SHARES = 262144 }; /* the kernel cuts, systemd refuses */

static int oom(struct hk_err *err)
{
	return hk_fail(err, HK_INTERNAL, ENOMEM, "properties of the systemd unit");
}

static unsigned long long limit(int64_t v)
{
	return v < 0 ? UINT64_MAX : (unsigned long long)v;
}

static uint64_t shares(uint64_t v)
{
	return v < MIN_SHARES ? MIN_SHARES : v > MAX_SHARES ? MAX_SHARES : v;
}

int cg_props_resources_v1(struct cg_props *p, const struct oci_resources *r, struct hk_err *err)
{
	int rc = 0;

	if (r->memory.limit.is_set && r->memory.limit.v != 0)
		rc |= cg_props_add(p, "MemoryLimit t %llu", limit(r->memory.limit.v));
	if (r->cpu.shares.is_set && r->cpu.shares.v != 0)
		rc |= cg_props_add(p, "CPUShares t %llu", (unsigned long long)shares(r->cpu.shares.v));
	if (r->cpu.quota.is_set && r->cpu.period.is_set && r->cpu.period.v != 0)
		rc |= cg_props_add_quota(p, r->cpu.quota.v, r->cpu.period.v);
	if (r->block_io.weight.is_set && r->block_io.weight.v != 0)
		rc |= cg_props_add(p, "BlockIOWeight t %llu", (unsigned long long)r->block_io.weight.v);
	if (r->pids_limit.is_set)
		rc |= cg_props_add(p, "TasksMax t %llu", limit(r->pids_limit.v == 0 ? 1 : r->pids_limit.v));
	return rc ? oom(err) : 0;
}

/* "/dev/char/1:3 rwm", "char-136 rw", "block-* m"; *list grows. A minor of every major has no such name. */
static int append_device(char **list, const struct oci_dev_rule *d, bool is_block)
{
	const char *word = is_block ? "block" : "char";
	char device[64], *longer;
	int r = 0;

	if (d->major >= 0 && d->minor >= 0)
		r = hk_fmt(device, sizeof(device), "/dev/%s/%lld:%lld", word, (long long)d->major, (long long)d->minor);
	else if (d->major >= 0)
		r = hk_fmt(device, sizeof(device), "%s-%lld", word, (long long)d->major);
	else if (d->minor < 0)
		r = hk_fmt(device, sizeof(device), "%s-*", word);
	else
		return 0;
	if (r < 0)
		return r;
	if (asprintf(&longer, "%s %s %s%s%s", *list, device, d->read ? "r" : "", d->write ? "w" : "", d->mknod ? "m" : "") < 0)
		return -ENOMEM;
	free(*list);
	*list = longer;
	return 0;
}

int cg_props_devices_v1(struct cg_props *p, const struct oci_resources *r, struct hk_err *err)
{
	hk_autofree struct oci_dev_rule *rules = NULL;
	hk_autofree char *list = strdup("");
	size_t n = 0, bad = 0;
	int rc = list ? cg_device_rules(r->devices, r->n_devices, &rules, &n, &bad) : -ENOMEM;

	if (rc == -EINVAL)
		return hk_fail_text(err, HK_INVALID, EINVAL, "linux.resources.devices[%zu] is not a valid rule", bad);
	if (rc < 0)
		return oom(err);
	if (n == 1 && rules[0].allow)
		return cg_props_add(p, "DevicePolicy s auto") ? oom(err) : 0;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		const struct oci_dev_rule *d = &rules[i];

		if (!d->allow || !(d->read || d->write || d->mknod))
			continue;
		if (d->type != 'b')
			rc = append_device(&list, d, false);
		if (rc == 0 && d->type != 'c')
			rc = append_device(&list, d, true);
	}
	if (rc == 0)
		rc = cg_props_add(p, "DevicePolicy s strict") | cg_props_add(p, "DeviceAllow a(ss)%s", list);
	return rc ? oom(err) : 0;
}
