/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/cmd_delete.c — `delete`: containerd runs it after a crash of the shim, and also at the end of every ordinary teardown while the shim and its
 * other containers live on. In: argv, the bundle (which may be empty or gone). Out: a DeleteResponse on stdout. What
 * belongs to the container is removed by sandbox/; here goes the socket of a dead shim.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "proto/bootstrap.h"
#include "sandbox/sandbox.h"
#include "shim/cmd.h"
#include "shim/socket.h"

enum { LOCK_TIMEOUT_MS = 1000 }; /* containerd kills us after 5 s */

/* -bundle, else the current directory; "" when that is gone. */
static void find_bundle(const struct shim_flags *f, char *ret, size_t size)
{
	if (f->bundle[0] == '/' && hk_fmt(ret, size, "%s", f->bundle) > 0)
		return;
	/* getcwd(3) answers "(unreachable)/..." outside of our root. */
	if (!getcwd(ret, size) || ret[0] != '/')
		ret[0] = '\0';
}

/* The address that `start` left in the bundle knows the socket directory; else the default one is looked into. */
static int find_socket(const struct shim_flags *f, const char *bundle, char ret[SHIM_SOCKET_PATH_MAX])
{
	char name[4200], text[SHIM_SOCKET_PATH_MAX + sizeof(SHIM_SOCKET_SCHEME)], group[SHIM_GROUP_MAX];
	const char *const names[3] = { f->address, f->ns, group };

	if (bundle[0] && hk_fmt(name, sizeof(name), "%s/address", bundle) > 0 &&
	    hk_read_file_at(AT_FDCWD, name, text, sizeof(text)) > 0 && hk_has_prefix(text, SHIM_SOCKET_SCHEME "/"))
		return hk_fmt(ret, SHIM_SOCKET_PATH_MAX, "%s", text + strlen(SHIM_SOCKET_SCHEME)) > 0 ? 0 : -ENAMETOOLONG;
	if (!bundle[0] || shim_group_read(bundle, f->id, group, NULL) < 0)
		(void)hk_fmt(group, sizeof(group), "%s", f->id);
	return shim_socket_path(NULL, names, ret, NULL);
}

/* All for the best: a socket that stays is told from a live one by the next `start`. */
static void remove_stale_socket(const char *path)
{
	hk_autofd lock = -1;

	if (access(path, F_OK) < 0 || hk_socket_look(path, NULL) != 0)
		return;
	/* A `start` may be at work right now: its socket listens before its lock is given back. */
	if (shim_socket_lock(path, LOCK_TIMEOUT_MS, &lock, NULL) < 0)
		return;
	if (hk_socket_look(path, NULL) == 0)
		(void)shim_socket_remove_stale(path, NULL);
	shim_socket_unlock(path, &lock);
}

static int print(const struct sbx_reply *reply, struct hk_err *err)
{
	const struct boot_exit x = { .pid = reply->pid, .exit_status = reply->exit_status,
		.exited_sec = reply->exited_at.tv_sec, .exited_nsec = (int32_t)reply->exited_at.tv_nsec };
	hk_autofree uint8_t *bytes = NULL;
	size_t len;
	int r;

	r = boot_delete_encode(&x, &bytes, &len);
	if (r == 0)
		r = hk_write_full(STDOUT_FILENO, bytes, len);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "answer on stdout") : 0;
}

int shim_cmd_delete(const struct shim_flags *f)
{
	struct sbx_reply reply = { 0 };
	struct hk_err err = { 0 };
	char bundle[4096], path[SHIM_SOCKET_PATH_MAX], state_dir[SHIM_STATE_DIR_SIZE];
	int r;

	if (!hk_is_valid_id(f->ns))
		r = hk_fail_text(&err, HK_INVALID, EINVAL, "namespace \"%s\" is not a valid name", f->ns);
	else if (!hk_is_valid_id(f->id))
		r = hk_fail_text(&err, HK_INVALID, EINVAL, "id \"%s\" is not a valid id", f->id);
	else {
		find_bundle(f, bundle, sizeof(bundle));
		shim_state_dir(f->address, state_dir);
		r = sbx_cleanup(state_dir, f->ns, f->id, bundle, &reply, &err);
		if (find_socket(f, bundle, path) == 0)
			remove_stale_socket(path);
	}
	if (r == 0)
		r = print(&reply, &err);
	return r < 0 ? shim_cmd_fail(&err) : 0;
}
