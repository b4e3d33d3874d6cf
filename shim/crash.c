/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/crash.c — see crash.h. The handler calls only what is async-signal-safe, which hk_log is. `addr2line -e PROGRAM pc` names the place in the
 * program whose build id is in the line. A set-up child is a copy of us and has its own way of telling (oci/sync.h): it dies silently.
 */
#include "shim/crash.h"

#include <assert.h>
#include <link.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/log.h"
#include "shim/history.h"

enum { STACK_BYTES = 16 << 10, BUILD_ID_MAX = 20, RECENT = 12 };

/* A handler has no argument of ours. */
static struct {
	pid_t pid; /* of the shim itself */
	const struct shim_history *history;
} crash;
static const struct {
	int number;
	const char *name;
} fatal[] = { { SIGSEGV, "SIGSEGV" }, { SIGBUS, "SIGBUS" }, { SIGABRT, "SIGABRT" }, { SIGILL, "SIGILL" }, { SIGFPE, "SIGFPE" },
	{ SIGTRAP, "SIGTRAP" } };

/* The program's own first byte: the linker knows. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

static size_t align4(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

static bool find_note(const char *at, size_t len, char hex[2 * BUILD_ID_MAX + 1])
{
	static const char digits[] = "0123456789abcdef";

	while (len >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)at;
		const size_t size = sizeof(*note) + align4(note->n_namesz) + align4(note->n_descsz);
		const uint8_t *id = (const uint8_t *)at + sizeof(*note) + align4(note->n_namesz);

		if (size > len)
			return false;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == sizeof("GNU") && note->n_descsz <= BUILD_ID_MAX) {
			for (size_t i = 0; i < note->n_descsz; i++) {
				hex[2 * i] = digits[id[i] >> 4];
				hex[2 * i + 1] = digits[id[i] & 15];
			}
			hex[2 * note->n_descsz] = '\0';
			return true;
		}
		at += size;
		len -= size;
	}
	return false;
}

static void build_id(char hex[2 * BUILD_ID_MAX + 1])
{
	const char *base = (const char *)&__ehdr_start;
	const ElfW(Phdr) *h = (const void *)(base + __ehdr_start.e_phoff);

	hex[0] = '\0';
	for (int i = 0; i < __ehdr_start.e_phnum; i++)
		if (h[i].p_type == PT_NOTE && find_note(base + h[i].p_vaddr, h[i].p_memsz, hex))
			return;
}

static uintptr_t pc_of(const void *context)
{
	const ucontext_t *u = context;

#if defined(__x86_64__)
	return (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (uintptr_t)u->uc_mcontext.pc;
#else
	(void)u;
	return 0;
#endif
}

struct recent {
	size_t len;
	char text[600];
};

static void put(struct recent *r, const char *s)
{
	while (*s && r->len < sizeof(r->text) - 1)
		r->text[r->len++] = *s++;
	r->text[r->len] = '\0';
}

static void on_history(void *arg, const struct history_event *ev, const struct history_error *e)
{
	const struct history_head *h = ev ? &ev->head : &e->head;
	struct recent *r = arg;

	put(r, r->len ? "; " : "");
	put(r, ev ? shim_history_name(h->type) : "failed ");
	put(r, ev ? "" : e->method);
	put(r, " ");
	put(r, h->id);
	put(r, h->exec_id[0] ? "/" : "");
	put(r, h->exec_id);
}

static void tell(int sig, const siginfo_t *si, const void *context)
{
	const uintptr_t pc = pc_of(context);
	char id[2 * BUILD_ID_MAX + 1];
	const uint32_t last = crash.history ? crash.history->last_seq : 0;
	struct recent recent = { 0 };
	const char *name = "";

	if (crash.history)
		shim_history_each(crash.history, last > RECENT ? last - RECENT : 0, on_history, &recent);
	for (size_t i = 0; i < HK_ARRAY_SIZE(fatal); i++)
		if (fatal[i].number == sig)
			name = fatal[i].name;
	build_id(id);
	log_fatal("shim crashed", LOG_STR("signal", name), LOG_HEX("addr", si->si_code > 0 ? (uintptr_t)si->si_addr : 0),
	    LOG_HEX("pc", pc - (uintptr_t)&__ehdr_start), LOG_INT("sender", si->si_code > 0 ? 0 : si->si_pid), LOG_STR("build_id", id),
	    LOG_INT("pid", crash.pid),
	    LOG_STR("recent", recent.text));
}

static void on_fatal(int sig, siginfo_t *si, void *context)
{
	if (getpid() == crash.pid)
		tell(sig, si, context);
	/* By that signal, so that whoever waits for us sees the truth. */
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

void shim_crash_init(const struct shim_history *h)
{
	static char stack[STACK_BYTES]; /* no page of it is real before the crash */
	const stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction act = { .sa_sigaction = on_fatal,
		.sa_flags = (int)(SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESETHAND) };

	crash.pid = getpid();
	crash.history = h;
	(void)sigaltstack(&alt, NULL);
#ifndef __SANITIZE_ADDRESS__ /* which has handlers of its own, and more to tell */
	for (size_t i = 0; i < HK_ARRAY_SIZE(fatal); i++)
		(void)sigaction(fatal[i].number, &act, NULL);
#endif
	(void)act;
}

/* assert(3) writes to stderr, which nobody reads. This takes the place of the C library's. */
void __assert_fail(const char *what, const char *file, unsigned line, const char *function)
{
	log_fatal("assertion failed", LOG_STR("what", what), LOG_STR("file", file), LOG_INT("line", line));
	(void)fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", file, line, function, what);
	abort();
}
