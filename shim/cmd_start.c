/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/cmd_start.c — `start`: from the bundle in the current directory and the options on stdin to the address of the shim that
 * serves the container's group, which is spawned unless it is there. In: argv, config.json's annotations, stdin in any of
 * containerd's dialects. Out: the answer in the same dialect on stdout, the file `address` in the bundle for containerd 1.x, and
 * not one byte more, since containerd reads stdout and stderr as one. Shim-protocol section 2.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "proto/bootstrap.h"
#include "proto/options.h"
#include "sandbox/sandbox.h"
#include "shim/cmd.h"
#include "shim/input.h"
#include "shim/probe.h"
#include "shim/socket.h"
#include "shim/spawn.h"

enum { LOCK_TIMEOUT_MS = 30000, VERSION_NEW = 3 };

struct start {
	const struct shim_flags *flags;
	struct boot_input in;
	struct rt_options options;
	char bundle[4096];
	char group[SHIM_GROUP_MAX];
	char path[SHIM_SOCKET_PATH_MAX];
	char address[SHIM_SOCKET_PATH_MAX + sizeof(SHIM_SOCKET_SCHEME)];
	int32_t version; /* that the shim of the group speaks */
	bool has_address; /* the file is written */
};

static void start_done(struct start *s)
{
	rt_options_done(&s->options);
	boot_input_done(&s->in);
}

static const char *grpc_address(const struct start *s)
{
	return s->in.grpc_address[0] ? s->in.grpc_address : s->flags->address;
}

static int read_stdin(struct start *s, struct hk_err *err)
{
	struct rt_options_reason reason;
	hk_autofree uint8_t *bytes = NULL;
	size_t len;
	int r;

	r = shim_input_read(STDIN_FILENO, &bytes, &len);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "read stdin");
	r = boot_input_parse(&s->in, bytes, len, s->flags->id);
	if (r < 0)
		return hk_fail_text(err, HK_INVALID, -r, "stdin is neither BootstrapParams nor runtime options");
	/* Options of a kind we do not know are Create's to refuse: there the user sees the text. */
	r = rt_options_decode(&s->options, s->in.options_type_url, s->in.options_value, s->in.options_len, &reason);
	if (r < 0)
		s->options = (struct rt_options){ 0 };
	if (r == -EBADMSG)
		return hk_fail_text(err, HK_INVALID, -r, "runtime options: %s", reason.text);
	return 0;
}

static int locate(struct start *s, struct hk_err *err)
{
	const char *const names[3] = { grpc_address(s), s->flags->ns, s->group };
	int r;

	if (!getcwd(s->bundle, sizeof(s->bundle)) || s->bundle[0] != '/')
		return hk_fail_text(err, HK_INVALID, ENOENT, "the current directory, which must be the bundle, is gone");
	r = shim_group_read(s->bundle, s->flags->id, s->group, err);
	if (r < 0)
		return r;
	r = shim_socket_path(s->in.socket_dir, names, s->path, err);
	if (r < 0)
		return r;
	return hk_fmt(s->address, sizeof(s->address), SHIM_SOCKET_SCHEME "%s", s->path) < 0 ? -ENAMETOOLONG : 0;
}

static int make_socket_dir(const struct start *s, struct hk_err *err)
{
	char dir[SHIM_SOCKET_PATH_MAX];
	int r;

	(void)hk_fmt(dir, sizeof(dir), "%s", s->path);
	*strrchr(dir, '/') = '\0';
	r = hk_mkdir_p(AT_FDCWD, dir, 0700);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "make socket directory %s", dir) : 0;
}

/* containerd 1.x finds the shim again by this file, also that of a container which joins a running group. */
static int write_address(struct start *s)
{
	int r = s->has_address ? 0 : hk_write_file_atomic(AT_FDCWD, "address", s->address, strlen(s->address), 0600);

	s->has_address = r == 0;
	return r;
}

/* Under the lock: nobody serves the group. */
static int spawn(struct start *s, struct hk_err *err)
{
	char state_dir[SHIM_STATE_DIR_SIZE];
	const bool has_cgroup = s->options.shim_cgroup && s->options.shim_cgroup[0]; /* which only the server can tell */
	const struct sbx_pod_opts pod = { .state_dir = state_dir, .ns = s->flags->ns, .group = s->group, .socket = s->path };
	struct shim_birth birth;
	struct shim_spawn spec = { .ns = s->flags->ns, .id = s->flags->id, .address = grpc_address(s), .group = s->group,
		.bundle = s->bundle, .debug = s->flags->debug, .shim_cgroup = s->options.shim_cgroup };
	hk_autofd listener = -1;
	int r;

	if (s->in.form == BOOT_PARAMS && s->in.log_level <= BOOT_LEVEL_DEBUG)
		spec.debug = true;
	/* The server finds it in its environment, as with every older containerd. */
	if (s->in.ttrpc_address[0] && setenv("TTRPC_ADDRESS", s->in.ttrpc_address, 1) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set TTRPC_ADDRESS");
	r = shim_socket_remove_stale(s->path, err);
	if (r < 0)
		return r;
	r = shim_socket_listen(s->path, &listener, err);
	if (r < 0)
		return r;
	spec.listener = listener;
	r = shim_spawn(&spec, &birth, err);
	if (r == 0) { /* while the server begins; what cannot be it does itself, or reply(), which say why */
		shim_state_dir(grpc_address(s), state_dir);
		if (!has_cgroup)
			sbx_pod_record(&pod, birth.pid);
		(void)write_address(s);
		r = shim_spawn_await(&birth, err);
		if (r < 0)
			sbx_pod_unrecord(&pod, birth.pid);
	}
	if (r < 0) {
		(void)unlink(s->path);
		if (s->has_address)
			(void)unlink("address");
	}
	return r;
}

static int find_or_spawn(struct start *s, struct hk_err *err)
{
	hk_autofd lock = -1, conn = -1;
	int r;

	r = make_socket_dir(s, err);
	if (r < 0)
		return r;
	r = shim_socket_lock(s->path, LOCK_TIMEOUT_MS, &lock, err);
	if (r < 0)
		return r;
	s->version = VERSION_NEW;
	r = hk_socket_look(s->path, &conn);
	if (r < 0)
		r = hk_fail(err, HK_INTERNAL, -r, "look who serves %s", s->path);
	else
		r = r ? 0 : spawn(s, err);
	shim_socket_unlock(s->path, &lock);
	/* The bare address means version 2 whatever we know, and every shim that speaks 3 speaks 2 too or says so here. */
	if (r == 0 && conn >= 0 && s->in.form == BOOT_PARAMS)
		s->version = shim_probe_version(conn);
	return r;
}

static int reply(struct start *s, struct hk_err *err)
{
	hk_autofree uint8_t *bytes = NULL;
	size_t len = 0;
	int r;

	r = write_address(s);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "write %s/address", s->bundle);
	if (s->in.form == BOOT_PARAMS)
		r = boot_result_encode(s->version, s->address, "ttrpc", &bytes, &len);
	if (r == 0)
		r = bytes ? hk_write_full(STDOUT_FILENO, bytes, len)
			  : hk_write_full(STDOUT_FILENO, s->address, strlen(s->address));
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "answer on stdout") : 0;
}

int shim_cmd_start(const struct shim_flags *f)
{
	hk_auto(start_done) struct start s = { .flags = f };
	struct hk_err err = { 0 };
	int r;

	if (!hk_is_valid_id(f->ns))
		r = hk_fail_text(&err, HK_INVALID, EINVAL, "namespace \"%s\" is not a valid name", f->ns);
	else if (!hk_is_valid_id(f->id))
		r = hk_fail_text(&err, HK_INVALID, EINVAL, "id \"%s\" is not a valid id", f->id);
	else
		r = read_stdin(&s, &err);
	if (r == 0)
		r = locate(&s, &err);
	if (r == 0)
		r = find_or_spawn(&s, &err);
	if (r == 0)
		r = reply(&s, &err);
	return r < 0 ? shim_cmd_fail(&err) : 0;
}
