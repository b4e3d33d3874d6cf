/* SPDX-License-Identifier: Apache-2.0 */
/* oci/timing.c — see timing.h. Read by contrib/bench.sh --profile. */
#include "oci/timing.h"

#include "oci/base/log.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "oci/launch.h"
#include "oci/sync.h"

enum { NS_PER_US = 1000 };

void oci_timing_mark(struct oci_times *t, enum oci_mark mark)
{
	if (hk_log_enabled(HK_LOG_DEBUG))
		t->at_ns[mark] = hk_now_ns();
}

void oci_timing_step(struct oci_page *page, unsigned step)
{
	uint64_t now;

	if (page->step_from_ns == 0)
		return;
	now = hk_now_ns();
	page->step_ns[step] += (uint32_t)(now - page->step_from_ns);
	page->step_from_ns = now;
}

/* "enter cgroup=240; mounts=201; ...": in microseconds, steps without any left out. */
static void steps_text(const struct oci_page *page, char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < OCI_N_STEPS; i++) {
		int n;

		if (page->step_ns[i] < NS_PER_US)
			continue;
		n = hk_fmt(
		    buf + at, size - at, "%s%s=%u", at ? "; " : "", oci_step_name(i), page->step_ns[i] / NS_PER_US);
		if (n < 0)
			return;
		at += (size_t)n;
	}
}

static int64_t between_us(const struct oci_times *t, enum oci_mark from, enum oci_mark to)
{
	if (t->at_ns[from] == 0 || t->at_ns[to] == 0)
		return 0;
	return (int64_t)(t->at_ns[to] - t->at_ns[from]) / NS_PER_US;
}

void oci_timing_tell(const struct oci_launch *l)
{
	const struct oci_times *t = &l->times;
	char steps[1024];

	if (t->at_ns[OCI_MARK_BEGIN] == 0 || !l->page)
		return;
	steps_text(l->page, steps, sizeof(steps));
	log_debug(l->is_exec ? "exec timed" : "create timed", LOG_STR("id", l->c->id),
	    LOG_INT("parse_us", between_us(t, OCI_MARK_BEGIN, OCI_MARK_PARSED)),
	    LOG_INT("cgroup_us", between_us(t, OCI_MARK_PARSED, OCI_MARK_CGROUP)),
	    LOG_INT("clone_us", between_us(t, l->is_exec ? OCI_MARK_PARSED : OCI_MARK_CGROUP, OCI_MARK_CLONED)),
	    LOG_INT("child_us", between_us(t, OCI_MARK_CLONED, OCI_MARK_CREATED)),
	    LOG_INT("start_us", between_us(t, OCI_MARK_GO, OCI_MARK_RUNS)), LOG_STR("steps", steps));
}
