/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/faults/faults.c — fault points. A shim of the tests alone is linked with --wrap for every call of the table below, so that the product's
 * sources know nothing of it and no installed program has it. HUSK_FAULT=WHAT:N[:ERRNO] fails the N-th call once, HUSK_FAULT=WHAT:N:delay=MS delays it;
 * WHAT is a name of the table, "call" (any of them) or "site" (the N-th place of the program that makes one: the call and who called the function
 * it is in). Counted over all processes of a pod: `start`, the server, its set-up children and helpers, `delete`; HUSK_FAULT_TABLE names the file
 * that they share, which is also where a test reads what was reached (tests/faults/test_faults.py).
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

/* name, errno, what it returns then. tests/faults/CMakeLists.txt reads this table too: one a line. */
#define FAULT_CALLS(X)                          \
	X(malloc, ENOMEM, 0)                    \
	X(calloc, ENOMEM, 0)                    \
	X(realloc, ENOMEM, 0)                   \
	X(reallocarray, ENOMEM, 0)              \
	X(strdup, ENOMEM, 0)                    \
	X(strndup, ENOMEM, 0)                   \
	X(mmap, ENOMEM, -1)                     \
	X(open, EMFILE, -1)                     \
	X(openat, EMFILE, -1)                   \
	X(__open_2, EMFILE, -1)                 \
	X(__openat_2, EMFILE, -1)               \
	X(opendir, EMFILE, 0)                   \
	X(fdopendir, ENOMEM, 0)                 \
	X(memfd_create, EMFILE, -1)             \
	X(read, EIO, -1)                        \
	X(pread, EIO, -1)                       \
	X(write, ENOSPC, -1)                    \
	X(sendfile, EIO, -1)                    \
	X(splice, EIO, -1)                      \
	X(fstat, EIO, -1)                       \
	X(stat, EIO, -1)                        \
	X(lstat, EIO, -1)                       \
	X(fstatat, EIO, -1)                     \
	X(statfs, EIO, -1)                      \
	X(fstatfs, EIO, -1)                     \
	X(readlink, EIO, -1)                    \
	X(readlinkat, EIO, -1)                  \
	X(getcwd, ENOENT, 0)                    \
	X(mkdir, ENOSPC, -1)                    \
	X(mkdirat, ENOSPC, -1)                  \
	X(mknodat, ENOSPC, -1)                  \
	X(symlinkat, ENOSPC, -1)                \
	X(renameat, ENOSPC, -1)                 \
	X(unlink, EIO, -1)                      \
	X(unlinkat, EIO, -1)                    \
	X(rmdir, EBUSY, -1)                     \
	X(chmod, EROFS, -1)                     \
	X(fchmod, EROFS, -1)                    \
	X(fchown, EROFS, -1)                    \
	X(fchownat, EROFS, -1)                  \
	X(flock, ENOLCK, -1)                    \
	X(fcntl, EMFILE, -1)                    \
	X(ioctl, EIO, -1)                       \
	X(dup2, EMFILE, -1)                     \
	X(dup3, EMFILE, -1)                     \
	X(pipe2, EMFILE, -1)                    \
	X(eventfd, EMFILE, -1)                  \
	X(signalfd, EMFILE, -1)                 \
	X(epoll_create1, EMFILE, -1)            \
	X(epoll_ctl, ENOSPC, -1)                \
	X(socket, EMFILE, -1)                   \
	X(socketpair, EMFILE, -1)               \
	X(connect, ENOMEM, -1)                  \
	X(bind, EACCES, -1)                     \
	X(listen, EADDRINUSE, -1)               \
	X(accept4, EMFILE, -1)                  \
	X(getsockopt, ENOBUFS, -1)              \
	X(send, ENOBUFS, -1)                    \
	X(sendmsg, ENOBUFS, -1)                 \
	X(recv, ENOMEM, -1)                     \
	X(recvmsg, ENOMEM, -1)                  \
	X(fork, EAGAIN, -1)                     \
	X(posix_spawn, EAGAIN, EAGAIN)          \
	X(execve, ENOMEM, -1)                   \
	X(prctl, EPERM, -1)                     \
	X(setsid, EPERM, -1)                    \
	X(setgroups, EPERM, -1)                 \
	X(setresuid, EAGAIN, -1)                \
	X(setresgid, EPERM, -1)                 \
	X(setrlimit, EPERM, -1)                 \
	X(prlimit64, EPERM, -1)                 \
	X(sethostname, EPERM, -1)               \
	X(unshare, ENOSPC, -1)                  \
	X(setns, EPERM, -1)                     \
	X(chdir, EACCES, -1)                    \
	X(fchdir, EACCES, -1)                   \
	X(chroot, EPERM, -1)                    \
	X(mount, EPERM, -1)                     \
	X(umount2, EBUSY, -1)                   \
	X(fsopen, EMFILE, -1)                   \
	X(fsconfig, EINVAL, -1)                 \
	X(fsmount, EMFILE, -1)                  \
	X(open_tree, EMFILE, -1)                \
	X(move_mount, EPERM, -1)                \
	X(mount_setattr, EPERM, -1)             \
	X(syscall, EAGAIN, -1)

#define ENUM(name, code, ret) CALL_##name,
#define NAME(name, code, ret) [CALL_##name] = #name,
#define CODE(name, code, ret) [CALL_##name] = code,
enum call { FAULT_CALLS(ENUM) N_CALLS };
static const char *const names[N_CALLS] = { FAULT_CALLS(NAME) };
static const int codes[N_CALLS] = { FAULT_CALLS(CODE) };

enum { N_SITES = 4096, DEPTH = 12 };
struct site {
	uint64_t at, from; /* return addresses, from the program's first byte */
	uint32_t call, number; /* of syscall(2) */
	uint32_t count, pid;   /* pid: of the process that came first */
};
struct table {
	uint32_t lock, n_sites, n_total, fired; /* fired: site + 1 */
	struct site sites[N_SITES];
	uint32_t n_calls[N_CALLS];
};
static struct {
	struct table *table;
	bool by_site, by_call, is_busy;
	uint32_t call, nth;
	int code;
	long delay_ms;
} fault;

extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
#define DECLARE_REAL(name, code, ret) long __real_##name(long, long, long, long, long, long);
FAULT_CALLS(DECLARE_REAL)

static void parse(const char *text)
{
	char what[32] = "";
	char rest[32] = "";

	if (sscanf(text, "%31[a-z0-9_]:%u:%31s", what, &fault.nth, rest) < 2)
		abort();
	fault.call = N_CALLS;
	fault.by_site = strcmp(what, "site") == 0;
	fault.by_call = strcmp(what, "call") == 0;
	for (uint32_t i = 0; i < N_CALLS; i++)
		if (strcmp(names[i], what) == 0)
			fault.call = i;
	if (!fault.by_site && !fault.by_call && fault.call == N_CALLS)
		abort();
	if (strncmp(rest, "delay=", 6) == 0)
		fault.delay_ms = strtol(rest + 6, NULL, 10);
	else
		fault.code = (int)strtol(rest, NULL, 10);
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("HUSK_FAULT_TABLE"), *what = getenv("HUSK_FAULT");
	long fd, p;

	if (!path)
		return;
	if (what && *what)
		parse(what);
	fd = __real_open((long)path, O_RDWR | O_CREAT | O_CLOEXEC, 0600, 0, 0, 0);
	if ((int)fd < 0 || ftruncate((int)fd, sizeof(struct table)) < 0)
		abort();
	p = __real_mmap(0, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == -1)
		abort();
	fault.table = (struct table *)p;
	(void)close((int)fd);
}

struct walk {
	uintptr_t at, from;
	int left;
};

/* The function that called the one which made the call. */
static _Unwind_Reason_Code on_frame(struct _Unwind_Context *c, void *arg)
{
	struct walk *w = arg;
	const uintptr_t ip = _Unwind_GetIP(c);

	if (w->from == 1) {
		w->from = ip;
		return _URC_END_OF_STACK;
	}
	if (ip == w->at)
		w->from = 1;
	return --w->left > 0 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static struct site *find(struct table *t, const struct site *key, bool *is_new)
{
	for (uint32_t i = 0; i < t->n_sites; i++) {
		struct site *s = &t->sites[i];

		if (s->at == key->at && s->from == key->from && s->call == key->call && s->number == key->number)
			return s;
	}
	*is_new = true;
	if (t->n_sites == N_SITES)
		abort();
	t->sites[t->n_sites] = *key;
	return &t->sites[t->n_sites++];
}

/* One writer at a time; it may be killed in between, so nobody waits for ever. */
static void lock(struct table *t)
{
	uint32_t zero = 0;

	for (int i = 0; i < 100000 && !__atomic_compare_exchange_n(&t->lock, &zero, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED); i++)
		zero = 0;
}

static bool count(enum call call, uintptr_t at, long number)
{
	const uintptr_t base = (uintptr_t)&__ehdr_start;
	struct walk w = { .at = at, .left = DEPTH };
	struct table *t = fault.table;
	struct site key, *s;
	bool is_new = false, hit;

	(void)_Unwind_Backtrace(on_frame, &w);
	key = (struct site){ .at = at - base, .from = w.from > base ? w.from - base : 0, .call = call,
		.number = call == CALL_syscall ? (uint32_t)number : 0, .pid = (uint32_t)getpid() };
	lock(t);
	s = find(t, &key, &is_new);
	s->count++;
	t->n_total++;
	t->n_calls[call]++;
	hit = fault.by_site ? is_new && t->n_sites == fault.nth
	      : fault.by_call ? t->n_total == fault.nth
			      : call == fault.call && t->n_calls[call] == fault.nth;
	if (hit)
		t->fired = (uint32_t)(s - t->sites) + 1;
	__atomic_store_n(&t->lock, 0, __ATOMIC_RELEASE);
	return hit;
}

/* Nobody can be refused to end one's own child or to hear the loop's events: such calls are not in the table, nor may these fail. */
static bool is_exempt(enum call call, long number)
{
	return call == CALL_syscall && number == SYS_pidfd_send_signal;
}

static bool is_hit(enum call call, void *at, long number)
{
	const int saved = errno;
	bool hit;

	if (!fault.table || fault.is_busy || is_exempt(call, number))
		return false;
	fault.is_busy = true; /* the unwinder may call what is wrapped */
	hit = count(call, (uintptr_t)at, number);
	fault.is_busy = false;
	errno = saved;
	if (hit && fault.delay_ms) {
		const struct timespec pause = { fault.delay_ms / 1000, fault.delay_ms % 1000 * 1000000 };

		(void)nanosleep(&pause, NULL);
		return false;
	}
	if (hit)
		errno = fault.code ? fault.code : codes[call];
	return hit;
}

/*
 * Every argument of these calls is a word in a register, and so is the result: what is not used is handed on
 * as it is. That holds for x86-64 and arm64. (No caller hands syscall(2) a sixth argument of a system call.)
 */
#define WRAP(name, code, ret)                                                   \
	long __wrap_##name(long a, long b, long c, long d, long e, long f);     \
	long __wrap_##name(long a, long b, long c, long d, long e, long f)      \
	{                                                                       \
		if (is_hit(CALL_##name, __builtin_return_address(0), a))        \
			return ret;                                             \
		return __real_##name(a, b, c, d, e, f);                         \
	}
FAULT_CALLS(WRAP)

/* These take any number of arguments, and so a list. */
int __wrap_asprintf(char **ret, const char *fmt, ...);
int __wrap_asprintf(char **ret, const char *fmt, ...)
{
	va_list ap;
	int r;

	if (is_hit(CALL_malloc, __builtin_return_address(0), 0))
		return -1;
	va_start(ap, fmt);
	r = vasprintf(ret, fmt, ap);
	va_end(ap);
	return r;
}

int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...);
int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...)
{
	va_list ap;
	int r;

	(void)flag;
	if (is_hit(CALL_malloc, __builtin_return_address(0), 0))
		return -1;
	va_start(ap, fmt);
	r = vasprintf(ret, fmt, ap);
	va_end(ap);
	return r;
}
