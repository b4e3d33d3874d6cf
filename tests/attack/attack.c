/* SPDX-License-Identifier: Apache-2.0 */
/* tests/attack/attack.c — see attack.h: the image, the victim, the neighbour who swaps names, and what a row's outcome must be. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/prctl.h>

#include "tests/attack/attack.h"

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

static const struct attack *current;
static unsigned n_ran; /* containers and execs that came to their end */
static char said[1024]; /* by the engine, last */

const char *text(const char *fmt, ...)
{
	static char ring[8][1024];
	static unsigned turn;
	char *buf = ring[turn++ % 8];
	va_list ap;

	va_start(ap, fmt);
	assert_true(vsnprintf(buf, sizeof(ring[0]), fmt, ap) < (int)sizeof(ring[0]));
	va_end(ap);
	return buf;
}

const char *plan_text(const char *fmt, ...)
{
	static char pool[4][2048];
	static unsigned n;
	char *buf = pool[n++];
	va_list ap;

	assert_true(n <= HK_ARRAY_SIZE(pool));
	va_start(ap, fmt);
	assert_true(vsnprintf(buf, sizeof(pool[0]), fmt, ap) < (int)sizeof(pool[0]));
	va_end(ap);
	return buf;
}

const char *at_base(const char *name)
{
	return text("%s/%s", base, name);
}

const char *at_image(const char *name)
{
	return text("%s/rootfs/%s", base, name);
}

const char *victim(void)
{
	const char *dir = at_base("outside");

	if (mkdir(dir, 0755) == 0)
		write_text(dir, "secret", SECRET "\n");
	return dir;
}

bool is_victim_changed(void)
{
	DIR *d = opendir(victim());
	size_t n = 0;

	assert_non_null(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n++;
	assert_int_equal(closedir(d), 0);
	return n != 3; /* ".", ".." and the secret */
}

void image_file(const char *name, const char *what)
{
	write_text(at_image("."), name, what);
}

void image_script(const char *what)
{
	image_file("bin/attack", text("#!/bin/sh\n%s\n", what));
	assert_int_equal(chmod(at_image("bin/attack"), 0755), 0);
}

void image_link(const char *target, const char *name)
{
	assert_int_equal(symlink(target, at_image(name)), 0);
}

void image_dir(const char *name)
{
	assert_int_equal(mkdir(at_image(name), 0755), 0);
}

struct box *plan_box(const struct plan *p)
{
	static unsigned number;
	struct box *b = box_new(text("a%u", number++), &(struct config){ .args = "\"true\"" });
	char json[8192];

	assert_true(snprintf(json, sizeof(json),
			"{\"ociVersion\":\"1.2.0\",%s\"root\":{\"path\":\"%s\"},\"process\":{\"args\":[%s],\"cwd\":\"%s\","
			"\"env\":[\"PATH=/bin\"],\"user\":%s,\"capabilities\":{\"bounding\":" CAPS ",\"effective\":" CAPS
			",\"permitted\":" CAPS "}},\"mounts\":[%s],\"linux\":{%s\"cgroupsPath\":\"/husk-test-launch/%s\","
			"\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},\"namespaces\":[%s" NS_MOUNT "]}}",
			p->top ? p->top : "", at_image("."), p->args ? p->args : "\"/bin/attack\"", p->cwd ? p->cwd : "/",
			p->user ? p->user : "{\"uid\":0,\"gid\":0}",
			p->mounts ? p->mounts : "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}",
			p->linux_ ? p->linux_ : "", b->id, p->namespaces ? p->namespaces : NS_NEW) < (int)sizeof(json));
	write_text(b->dir, "config.json", json);
	return b;
}

static const char *end(struct box *b)
{
	static char printed[sizeof(b->text)];

	(void)snprintf(printed, sizeof(printed), "%s", box_text(b));
	if (b->err.code)
		(void)snprintf(said, sizeof(said), "%s", b->err.text);
	box_free(b);
	return printed;
}

const char *run_plan(const struct plan *p, bool terminal)
{
	struct box *b = plan_box(p);

	if (box_create(b, terminal) == 0 && box_start(b) == 0) {
		(void)box_wait(b);
		n_ran++;
	}
	return end(b);
}

const char *exec_plan(const struct plan *p, const char *process_json)
{
	struct plan sleeper = *p;
	struct box *b;

	sleeper.args = "\"sleep\",\"100\"";
	b = plan_box(&sleeper);
	assert_int_equal(box_create(b, false), 0);
	assert_int_equal(box_start(b), 0);
	if (box_exec(b, process_json, false) == 0) {
		(void)box_wait_extra(b);
		n_ran++;
	}
	return end(b);
}

pid_t swap_begin(const char *dir, const char *a, const char *b)
{
	pid_t pid = fork();
	int fd;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (;;)
		if (renameat2(fd, a, fd, b, RENAME_EXCHANGE) < 0)
			_exit(1);
}

void swap_end(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status)); /* it swapped to the last */
}

static void test_row(void **state)
{
	bool is_off = getenv("HUSK_BREAK") != NULL;
	bool has_succeeded = current->succeeds();

	(void)state;
	print_message("%s with the defence \"%s\" %s: the attack %s; %u came to run%s%s\n", current->row, current->defence,
	    is_off ? "off" : "on", has_succeeded ? "succeeds" : "fails", n_ran, said[0] ? ", the engine says: " : "", said);
	assert_int_equal(has_succeeded, is_off);
	if (!is_off && !current->refusal)
		assert_true(n_ran > 0);
	else if (!is_off)
		assert_non_null(strstr(said, current->refusal));
}

int attack_main(int argc, char **argv, const struct attack *rows, size_t n)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_row), cmocka_unit_test(nobody_is_left) };
	const char *off = getenv("HUSK_BREAK");

	if (geteuid() != 0) {
		(void)puts("needs root: skipped");
		return 77;
	}
	for (size_t i = 0; argc == 2 && i < n; i++)
		if (strcmp(argv[1], rows[i].row) == 0)
			current = &rows[i];
	if (!current || (off && strcmp(off, current->defence) != 0)) {
		(void)fprintf(stderr, "usage: [HUSK_BREAK=<its defence>] %s ROW\n", argv[0]);
		return 2;
	}
	(void)umask(022);
	return cmocka_run_group_tests(tests, launch_setup, launch_teardown);
}
