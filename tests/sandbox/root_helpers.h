/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sandbox/root_helpers.h — bundles of busybox for the real engine, and the requests that bring them to life and end them. */
#pragma once
#include "tests/sandbox/pod_helpers.h"

#include <dirent.h>

struct bundle {
	const char *id, *args; /* args: JSON strings */
	const char *namespaces, *resources; /* JSON */
	bool terminal;
	char path[128];
};

#define PRIVATE_NS "{\"type\":\"mount\"},{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"network\"}"
#define SHARED_PID_NS "{\"type\":\"mount\"},{\"type\":\"ipc\"},{\"type\":\"uts\"}"
#define SH(script) "\"sh\",\"-c\",\"" script "\""
#define SLEEP "\"sleep\",\"1000\""

static inline void copy_busybox(const char *rootfs)
{
	char path[256];
	hk_autofree char *bytes = NULL;
	hk_autofd fd = -1;
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/bin", rootfs);
	assert_int_equal(hk_mkdir_p(AT_FDCWD, path, 0755), 0);
	assert_int_equal(hk_read_file_alloc(AT_FDCWD, "/bin/busybox", 8 << 20, &bytes, &len), 0);
	(void)snprintf(path, sizeof(path), "%s/bin/busybox", rootfs);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, bytes, len), 0);
	for (size_t i = 0; i < 12; i++) {
		static const char *const names[] = { "sh", "sleep", "cat", "echo", "true", "kill", "ls", "tr", "dd", "stty", "readlink", "yes" };

		(void)snprintf(path, sizeof(path), "%s/bin/%s", rootfs, names[i]);
		assert_int_equal(symlink("busybox", path), 0);
	}
}

static inline void bundle_make(struct bundle *b)
{
	static const char format[] =
	    "{\"ociVersion\":\"1.1.0\",\"process\":{\"terminal\":%s,\"user\":{\"uid\":0,\"gid\":0},\"args\":[%s],"
	    "\"env\":[\"PATH=/bin\"],\"cwd\":\"/\"},\"root\":{\"path\":\"%s/rootfs\"},\"mounts\":["
	    "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
	    "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\",\"mode=755\"]},"
	    "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"newinstance\",\"ptmxmode=0666\"]}],"
	    "\"linux\":{\"cgroupsPath\":\"/husk-test-pod/%s\",\"resources\":{%s},\"namespaces\":[%s]}}";
	char text[4096], path[160];
	hk_autofd fd = -1;
	int n;

	(void)snprintf(b->path, sizeof(b->path), "%s/%s", world.top, b->id);
	assert_int_equal(hk_mkdir_p(AT_FDCWD, b->path, 0711), 0);
	n = snprintf(text, sizeof(text), format, b->terminal ? "true" : "false", b->args, world.top, b->id,
	    b->resources ? b->resources : "", b->namespaces ? b->namespaces : PRIVATE_NS);
	assert_true(n > 0 && (size_t)n < sizeof(text));
	(void)snprintf(path, sizeof(path), "%s/config.json", b->path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(hk_write_full(fd, text, (size_t)n), 0);
}

static inline void create(struct bundle *b, const char *in, const char *out, const char *err, struct answer *a)
{
	bundle_make(b);
	sbx_create(world.pod,
	    &(struct sbx_create){ .id = b->id, .bundle = b->path, .terminal = b->terminal, .stdin_path = in, .stdout_path = out,
		.stderr_path = err, .checkpoint = "" },
	    to(a));
}

static inline uint32_t run(struct bundle *b, const char *out)
{
	struct answer a;

	create(b, "", out, "", &a);
	succeeded(&a);
	sbx_start(world.pod, b->id, "", to(&a));
	succeeded(&a);
	return a.reply.pid;
}

static inline void kill_and_delete(const char *id)
{
	struct answer wait, del;
	struct hk_err err;

	sbx_wait(world.pod, id, "", -1, to(&wait));
	(void)sbx_kill(world.pod, id, "", SIGKILL, true, &err);
	succeeded(&wait);
	sbx_delete(world.pod, id, "", to(&del));
	succeeded(&del);
}

#define EXEC(args) "{\"user\":{\"uid\":0,\"gid\":0},\"args\":[" args "],\"env\":[\"PATH=/bin\"],\"cwd\":\"/\"}"

static inline void add_exec(const char *id, const char *exec_id, const char *json, const char *in, const char *out)
{
	struct hk_err err = { 0 };
	const struct sbx_exec e = { .id = id, .exec_id = exec_id, .stdin_path = in, .stdout_path = out, .stderr_path = "",
		.spec_json = json, .spec_json_len = strlen(json) };

	if (sbx_exec(world.pod, &e, &err) < 0)
		fail_msg("%s", err.text);
}

static inline enum sbx_status status_of(const char *id, const char *exec_id)
{
	struct sbx_state s;
	struct hk_err err;

	assert_int_equal(sbx_state(world.pod, id, exec_id, &s, &err), 0);
	return s.status;
}

static inline size_t count_fds(void)
{
	hk_autodir d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d))
		n++;
	return n;
}

static inline void assert_no_cgroup(const char *id)
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified",
		"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/systemd" };
	char path[256];

	for (size_t i = 0; i < HK_ARRAY_SIZE(roots); i++) {
		(void)snprintf(path, sizeof(path), "%s/husk-test-pod/%s", roots[i], id);
		assert_int_equal(access(path, F_OK), -1);
	}
}
