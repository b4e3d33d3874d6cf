/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/attack/attack.h — one row of README's security table is one attack on the real engine (through tests/oci/box.h). Run as
 * `test-attack-<file> <row>`: the attack must fail; with HUSK_BREAK=<the row's defence> in the environment it must succeed, which shows
 * that the attack is a real one and that this defence is what stops it. Include after cmocka.h.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "tests/oci/box.h"

#define SECRET "known-to-the-host-alone"

struct attack {
	const char *row, *defence;
	bool (*succeeds)(void); /* the attacker got what it wanted */
	/*
	 * What the engine says with the defence on, when it lets no container run. NULL: it must let one run at least,
	 * or the attack had no chance and its failure shows nothing.
	 */
	const char *refusal;
};
/* tests/attack/CMakeLists.txt reads these lines: two tests for each. */
#define ROW(row_, defence_, fn_) { .row = (row_), .defence = (defence_), .succeeds = (fn_) }
#define ROW_REFUSED(row_, defence_, fn_, says_) { .row = (row_), .defence = (defence_), .succeeds = (fn_), .refusal = (says_) }

struct plan { /* of a container: JSON fragments, all optional */
	const char *args;       /* default: the script /bin/attack of the image */
	const char *user;       /* the object; default root */
	const char *cwd;
	const char *mounts;     /* the elements; default proc alone */
	const char *namespaces; /* the elements, comma at the end */
	const char *linux_, *top; /* members, comma at the end */
};

/* The host's directory that attacks aim at, beside the image and outside of every container; one file in it, "secret". */
const char *victim(void);
/* A new file or directory is in it. */
bool is_victim_changed(void);
/* Absolute path of something below the bundles' directory, or below the image. Static memory for eight calls. */
const char *at_base(const char *name);
const char *at_image(const char *name);
/* What the container's program does: the shell script /bin/attack in the image. */
void image_script(const char *text);
void image_file(const char *name, const char *text);
void image_link(const char *target, const char *name);
void image_dir(const char *name);
/* Formatted; static memory for eight calls, or (plan_text) for good. */
const char *plan_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

struct box *plan_box(const struct plan *p);
/* Creates, starts and waits for the end: what the container printed, "" when it did not come to run. Frees the box. Static memory. */
const char *run_plan(const struct plan *p, bool terminal);
/* The same with one more process in a sleeping container. */
const char *exec_plan(const struct plan *p, const char *process_json);

/* Exchanges two names in a directory for ever, until swap_end. */
pid_t swap_begin(const char *dir, const char *a, const char *b);
void swap_end(pid_t pid);

int attack_main(int argc, char **argv, const struct attack *rows, size_t n);
