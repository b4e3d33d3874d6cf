/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sandbox/script_helpers.h — the fake engine's containers, which are shell scripts: made, run, killed, deleted. */
#pragma once
#include "tests/sandbox/fake_engine.h"
#include "tests/sandbox/pod_helpers.h"

static char script_path[128];

static inline const char *script(const char *id, const char *text)
{
	hk_autofd fd = -1;

	(void)snprintf(script_path, sizeof(script_path), "%s/%s.sh", world.top, id);
	fd = open(script_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, text, strlen(text)), 0);
	return script_path;
}

static inline void create(const char *id, const char *text, const char *out, struct answer *a)
{
	sbx_create(world.pod,
	    &(struct sbx_create){ .id = id, .bundle = script(id, text), .stdin_path = "", .stdout_path = out, .stderr_path = "" }, to(a));
}

static inline void run(const char *id, const char *text)
{
	struct answer a;

	create(id, text, "", &a);
	succeeded(&a);
	sbx_start(world.pod, id, "", to(&a));
	succeeded(&a);
}

static inline int add_exec(const char *id, const char *exec_id, const char *text, const char *out, struct hk_err *err)
{
	const struct sbx_exec e = { .id = id, .exec_id = exec_id, .stdin_path = "", .stdout_path = out, .stderr_path = "",
		.spec_json = text, .spec_json_len = strlen(text) };

	return sbx_exec(world.pod, &e, err);
}

static inline void delete(const char *id)
{
	struct answer a;

	sbx_delete(world.pod, id, "", to(&a));
	succeeded(&a);
}

static inline void kill_and_delete(const char *id)
{
	struct answer wait;
	struct hk_err err;

	sbx_wait(world.pod, id, "", -1, to(&wait));
	(void)sbx_kill(world.pod, id, "", SIGKILL, true, &err);
	succeeded(&wait);
	delete(id);
}
