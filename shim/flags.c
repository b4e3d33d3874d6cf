/* SPDX-License-Identifier: Apache-2.0 */
/* shim/flags.c — argv to struct shim_flags by one table of names; nothing is printed and nothing ends here. */
#include "shim/flags.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"

const char shim_usage[] =
	"Usage: containerd-shim-husk-v2 [flags] start|delete\n"
	"\n"
	"A containerd shim (runtime io.containerd.husk.v2) and OCI runtime in one; containerd runs it.\n"
	"\n"
	"  -namespace NS        containerd namespace of the container\n"
	"  -id ID               container id\n"
	"  -address PATH        containerd's gRPC socket\n"
	"  -publish-binary PATH accepted for compatibility\n"
	"  -bundle DIR          bundle of the container, for delete\n"
	"  -socket PATH         accepted for compatibility\n"
	"  -debug-socket PATH   accepted for compatibility\n"
	"  -group ID            group that the server serves (set by start)\n"
	"  -resume FD           state of the server whose place is taken (set by an upgrade)\n"
	"  -rehearse FD         only try to, and say there whether it worked\n"
	"  -pod-cgroup          go into the pod's cgroup at CreateSandbox (set by start)\n"
	"  -debug               log at debug level\n"
	"  -info                print the runtime's features as containerd.types.RuntimeInfo\n"
	"  -v, -version         print the version\n";

/* One flag; exactly one of str and on is set. */
struct flag {
	const char *name;
	const char **str;
	bool *on;
};

/* The words of Go's strconv.ParseBool. */
static int parse_bool(const char *s, bool *ret)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };

	for (size_t i = 0; i < HK_ARRAY_SIZE(yes); i++)
		if (strcmp(s, yes[i]) == 0) {
			*ret = true;
			return 0;
		}
	for (size_t i = 0; i < HK_ARRAY_SIZE(no); i++)
		if (strcmp(s, no[i]) == 0) {
			*ret = false;
			return 0;
		}
	return -EINVAL;
}

static const struct flag *find(const struct flag *table, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return &table[i];
	return NULL;
}

/* Takes the flag at argv[*i] and its value; *i moves past both. */
static int take(const struct flag *table, size_t n, char *const *argv, int *i, struct hk_err *err)
{
	const char *word = argv[(*i)++];
	const char *name = word + (word[1] == '-' ? 2 : 1);
	const char *eq = strchr(name, '=');
	const char *value = eq ? eq + 1 : NULL;
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const struct flag *f;

	if (len == 0 || name[0] == '-')
		return hk_fail_text(err, HK_INVALID, EINVAL, "bad flag syntax: %s", word);
	f = find(table, n, name, len);
	if (!f)
		return hk_fail_text(err, HK_INVALID, EINVAL, "flag provided but not defined: -%.*s", (int)len, name);
	if (f->on) {
		if (parse_bool(value ? value : "true", f->on) < 0)
			return hk_fail_text(err, HK_INVALID, EINVAL, "invalid boolean value \"%s\" for -%s", value, f->name);
		return 0;
	}
	if (!value && argv[*i])
		value = argv[(*i)++];
	if (!value)
		return hk_fail_text(err, HK_INVALID, EINVAL, "flag needs an argument: -%s", f->name);
	*f->str = value;
	return 0;
}

int shim_flags_parse(int argc, char *const *argv, struct shim_flags *ret, struct hk_err *err)
{
	struct shim_flags f = { .ns = "", .id = "", .address = "", .bundle = "", .action = "", .group = "",
		.resume = "", .rehearse = "", .publish_binary = "", .socket = "", .debug_socket = "" };
	const struct flag table[] = {
		{ "namespace", &f.ns, NULL },
		{ "id", &f.id, NULL },
		{ "address", &f.address, NULL },
		{ "publish-binary", &f.publish_binary, NULL },
		{ "bundle", &f.bundle, NULL },
		{ "socket", &f.socket, NULL },
		{ "debug-socket", &f.debug_socket, NULL },
		{ "group", &f.group, NULL },
		{ "resume", &f.resume, NULL },
		{ "rehearse", &f.rehearse, NULL },
		{ "debug", NULL, &f.debug },
		{ "pod-cgroup", NULL, &f.pod_cgroup },
		{ "v", NULL, &f.version },
		{ "version", NULL, &f.version },
		{ "info", NULL, &f.info },
		{ "h", NULL, &f.help },
		{ "help", NULL, &f.help },
	};
	int i = 1;

	while (i < argc) {
		int r;

		if (argv[i][0] != '-' || argv[i][1] == '\0')
			break;
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		r = take(table, HK_ARRAY_SIZE(table), argv, &i, err);
		if (r < 0)
			return r;
	}
	if (i < argc)
		f.action = argv[i];
	*ret = f;
	return 0;
}
