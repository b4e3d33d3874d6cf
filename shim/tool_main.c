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
			    "  upgrade POD|--all    puts the installed program in the place of running shims\n"
			    "      [--binary PATH]\n"
			    "  version\n"
			    "options: --json (ps, top, why, events, doctor, upgrade)  --run-dir DIR (of the state files, " SHIM_RUN_DIR ")\n";

enum option_bit { JSON, FOLLOW, ONCE, ALL, DRY_RUN, UNINSTALL, RESTART, ROOT, PREFIX, BINARY, RUN_DIR };
#define BIT(o) (1U << (o))

struct command {
	const char *name;
	int (*fn)(const struct tool_options *o);
	unsigned int options; /* that it takes, besides --run-dir; another is refused: who types it expects something of it */
	int n_words;          /* at most, after its name */
};
static const struct command commands[] = {
	{ "ps", tool_ps, BIT(JSON), 0 },
	{ "top", tool_top, BIT(JSON) | BIT(ONCE), 0 },
	{ "why", tool_why, BIT(JSON), 1 },
	{ "events", tool_events, BIT(JSON) | BIT(FOLLOW), 1 },
	{ "doctor", tool_doctor, BIT(JSON), 0 },
	{ "install", tool_install, BIT(DRY_RUN) | BIT(UNINSTALL) | BIT(RESTART) | BIT(ROOT) | BIT(PREFIX), 0 },
	{ "upgrade", tool_upgrade, BIT(JSON) | BIT(ALL) | BIT(BINARY), 1 },
};

int tool_fail(const struct hk_err *err)
{
	(void)fflush(stdout);
	(void)fprintf(stderr, "husk: %s\n", err->text);
	return 1;
}

static const struct option options[] = { { "json", no_argument, NULL, JSON }, { "follow", no_argument, NULL, 'f' },
	{ "once", no_argument, NULL, ONCE }, { "all", no_argument, NULL, ALL }, { "dry-run", no_argument, NULL, DRY_RUN },
	{ "uninstall", no_argument, NULL, UNINSTALL }, { "restart", no_argument, NULL, RESTART }, { "root", required_argument, NULL, ROOT },
	{ "prefix", required_argument, NULL, PREFIX }, { "binary", required_argument, NULL, BINARY }, { "run-dir", required_argument, NULL, RUN_DIR }, { "help", no_argument, NULL, 'h' },
	{ 0 } };

static const char *option_name(enum option_bit o)
{
	for (const struct option *p = options; p->name; p++)
		if (p->val == (int)o || (p->val == 'f' && o == FOLLOW))
			return p->name;
	return "";
}

/* Which options there were, as bits, and their values; 1 for a call for help, -1 for nonsense, told. */
static int parse(int argc, char **argv, struct tool_options *o, unsigned int *seen)
{
	*seen = 0;
	for (int c; (c = getopt_long(argc, argv, "fh", options, NULL)) != -1;) {
		switch (c) {
		case JSON: o->json = true; break;
		case 'f': o->follow = true, c = FOLLOW; break;
		case ONCE: o->once = true; break;
		case ALL: o->all = true; break;
		case DRY_RUN: o->dry_run = true; break;
		case UNINSTALL: o->uninstall = true; break;
		case RESTART: o->restart = true; break;
		case ROOT: o->root = optarg; break;
		case PREFIX: o->prefix = optarg; break;
		case BINARY: o->binary = optarg; break;
		case RUN_DIR: o->run_dir = optarg; break;
		case 'h': return 1;
		default: return -1;
		}
		if (c != RUN_DIR)
			*seen |= BIT(c);
	}
	return 0;
}

static int wrong(void)
{
	(void)fputs(usage, stderr);
	return 2;
}

static int run(const struct command *c, const struct tool_options *o, unsigned int seen, int n_words)
{
	int status;

	for (enum option_bit b = JSON; b < RUN_DIR; b++)
		if (seen & ~c->options & BIT(b)) {
			(void)fprintf(stderr, "husk: %s takes no --%s\n", c->name, option_name(b));
			return wrong();
		}
	if (n_words > c->n_words) {
		(void)fprintf(stderr, "husk: %s takes no more than %d word%s\n", c->name, c->n_words, c->n_words == 1 ? "" : "s");
		return wrong();
	}
	status = c->fn(o);
	return fflush(stdout) == 0 || status != 0 ? status : 1;
}

int main(int argc, char **argv)
{
	static char program[] = "husk"; /* as getopt names us */
	struct tool_options o = { .run_dir = SHIM_RUN_DIR, .root = "", .prefix = "/usr/local", .what = "", .self = argv[0] };
	unsigned int seen;
	const char *name;
	int r;

	if (argc > 0)
		argv[0] = program;
	r = parse(argc, argv, &o, &seen);
	name = optind < argc ? argv[optind] : "";
	if (r == 1 || hk_streq(name, "help")) {
		(void)fputs(usage, stdout);
		return 0;
	}
	if (r < 0)
		return wrong();
	if (hk_streq(name, "version") && !seen && optind + 1 == argc) {
		(void)printf("husk %s (%s)\n", HUSK_VERSION, HUSK_REVISION);
		return 0;
	}
	if (optind + 1 < argc)
		o.what = argv[optind + 1];
	for (size_t i = 0; i < HK_ARRAY_SIZE(commands); i++)
		if (hk_streq(commands[i].name, name))
			return run(&commands[i], &o, seen, argc - optind - 1);
	(void)fprintf(stderr, name[0] ? "husk: no command \"%s\"\n" : "husk: no command given\n", name);
	return wrong();
}
