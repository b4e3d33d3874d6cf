/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_main.c — `husk`: argv to one command. Exit status 2 is a wrong command line, 1 a failure told on stderr. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "husk_version.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "shim/cmd.h"
#include "shim/tool.h"

static const char usage[] = "usage: husk COMMAND [OPTION...]\n"
			    "  ps                   pods, containers, execs: pids, states, ages, memory\n"
			    "  top [--once]         containers by CPU\n"
			    "  why POD|CONTAINER    what it waits for, and what happened to it\n"
			    "  events [-f] [POD]    the last events of all pods, and (-f) those to come\n"
			    "  doctor               what this node lets husk do, and how to mend the rest\n"
			    "  install              puts husk into this node's containerd\n"
			    "      [--dry-run] [--uninstall] [--restart] [--root DIR] [--prefix DIR]\n"
			    "  version\n"
			    "options: --json (ps, top, why, events, doctor)  --run-dir DIR (of the state files, " SHIM_RUN_DIR ")\n";

struct command {
	const char *name;
	int (*fn)(const struct tool_options *o);
};
static const struct command commands[] = {
	{ "ps", tool_ps },
	{ "top", tool_top },
	{ "why", tool_why },
	{ "events", tool_events },
	{ "doctor", tool_doctor },
	{ "install", tool_install },
};

int tool_fail(const struct hk_err *err)
{
	(void)fflush(stdout);
	(void)fprintf(stderr, "husk: %s\n", err->text);
	return 1;
}

enum { OPT_JSON = 256, OPT_ONCE, OPT_ALL, OPT_DRY_RUN, OPT_UNINSTALL, OPT_RESTART, OPT_ROOT, OPT_PREFIX, OPT_RUN_DIR };

static int parse(int argc, char **argv, struct tool_options *o)
{
	static const struct option options[] = { { "json", no_argument, NULL, OPT_JSON }, { "follow", no_argument, NULL, 'f' },
		{ "once", no_argument, NULL, OPT_ONCE }, { "all", no_argument, NULL, OPT_ALL }, { "dry-run", no_argument, NULL, OPT_DRY_RUN },
		{ "uninstall", no_argument, NULL, OPT_UNINSTALL }, { "restart", no_argument, NULL, OPT_RESTART },
		{ "root", required_argument, NULL, OPT_ROOT }, { "prefix", required_argument, NULL, OPT_PREFIX },
		{ "run-dir", required_argument, NULL, OPT_RUN_DIR }, { "help", no_argument, NULL, 'h' }, { 0 } };

	for (int c; (c = getopt_long(argc, argv, "fh", options, NULL)) != -1;) {
		switch (c) {
		case OPT_JSON: o->json = true; break;
		case 'f': o->follow = true; break;
		case OPT_ONCE: o->once = true; break;
		case OPT_ALL: o->all = true; break;
		case OPT_DRY_RUN: o->dry_run = true; break;
		case OPT_UNINSTALL: o->uninstall = true; break;
		case OPT_RESTART: o->restart = true; break;
		case OPT_ROOT: o->root = optarg; break;
		case OPT_PREFIX: o->prefix = optarg; break;
		case OPT_RUN_DIR: o->run_dir = optarg; break;
		case 'h': return 1;
		default: return -1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct tool_options o = { .run_dir = SHIM_RUN_DIR, .root = "", .prefix = "/usr/local", .what = "", .self = argv[0] };
	const int r = parse(argc, argv, &o);
	const char *name = optind < argc ? argv[optind] : "";

	if (r == 1 || hk_streq(name, "help")) {
		(void)fputs(usage, stdout);
		return 0;
	}
	if (r == 0 && hk_streq(name, "version")) {
		(void)printf("husk %s (%s)\n", HUSK_VERSION, HUSK_REVISION);
		return 0;
	}
	if (optind + 1 < argc)
		o.what = argv[optind + 1];
	for (size_t i = 0; r == 0 && optind + 2 >= argc && i < HK_ARRAY_SIZE(commands); i++)
		if (hk_streq(commands[i].name, name)) {
			const int status = commands[i].fn(&o);

			return fflush(stdout) == 0 || status != 0 ? status : 1;
		}
	if (r == 0)
		(void)fprintf(stderr, name[0] ? "husk: no command \"%s\"\n" : "husk: no command given\n", name);
	(void)fputs(usage, stderr);
	return 2;
}
