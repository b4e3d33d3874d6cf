/* SPDX-License-Identifier: Apache-2.0 */
/* tests/oci/files_helpers.c — see the header: the bundle, the child and what the checks ask. */
#include "tests/oci/files_helpers.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <cmocka.h>

char *read_all(const char *path)
{
	char *text = NULL;
	size_t len;

	if (hk_read_file_alloc(AT_FDCWD, path, 4 << 20, &text, &len) < 0)
		return NULL;
	return text;
}

void make_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

void make_dir(const char *dir, const char *name)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

int world_set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/husk-files-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chmod(w->dir, 0755), 0);
	make_dir(w->dir, "bundle");
	(void)snprintf(w->bundle, sizeof(w->bundle), "%s/bundle", w->dir);
	make_dir(w->bundle, "rootfs");
	(void)snprintf(w->rootfs, sizeof(w->rootfs), "%s/rootfs", w->bundle);
	make_dir(w->rootfs, "etc");
	make_file(w->rootfs, "etc/image", "image");
	w->mountinfo = read_all("/proc/self/mountinfo");
	assert_non_null(w->mountinfo);
	*state = w;
	return 0;
}

int world_tear_down(void **state)
{
	struct world *w = *state;
	hk_autofree char *now = read_all("/proc/self/mountinfo");
	int r;

	assert_non_null(now);
	r = strcmp(now, w->mountinfo); /* nothing reached the host, nothing is left */
	if (r != 0)
		print_error("mounts of the host before:\n%s\nafter:\n%s\n", w->mountinfo, now);
	free(w->mountinfo);
	assert_int_equal(hk_rm_rf(AT_FDCWD, w->dir), 0);
	free(w);
	return r;
}

/* An old kernel, or a filter around us: the calls answer ENOSYS. */
static void forbid(const int *calls)
{
	struct sock_filter code[32] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0) };
	struct sock_fprog prog = { .filter = code };
	unsigned short n = 1;

	if (!calls)
		return;
	for (; *calls >= 0; calls++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)*calls, 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = n;
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) == 0);
}

step_fn *const prepare_steps[N_PREPARE] = { oci_rootfs_prepare, oci_mounts_prepare };
step_fn *const attach_steps[N_ATTACH] = {
	oci_rootfs_attach,   oci_procfs_open,  oci_mounts_attach, oci_devices_create, oci_console_create,
	oci_rootfs_make_cwd, oci_rootfs_pivot, oci_sysctl_write,  oci_masks_apply,    oci_rootfs_finish,
};

void init_setup(struct scene *sc)
{
	struct oci_setup *s = &sc->s;

	s->spec = &sc->spec;
	s->id = "t1";
	s->bundle = sc->w->bundle;
	if (!s->rootfs)
		s->rootfs = sc->w->rootfs;
	s->rootfs_fd = s->proc_fd = s->devnull_fd = s->console_master = s->console_slave = -1;
	(void)umask(0);
	CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0); /* as the set-up child is */
}

void run_steps(struct scene *sc, step_fn *const *steps, size_t n)
{
	struct hk_err err = { .text = "" };

	for (size_t i = 0; i < n; i++) {
		int r = steps[i](&sc->s, &err);

		if (r >= 0)
			continue;
		if (r == sc->expect && (!sc->expect_text || strstr(err.text, sc->expect_text)))
			_exit(0);
		(void)fprintf(stderr, "step %zu: %d: %s\n", i, r, err.text);
		_exit(1);
	}
}

void finish_scene(struct scene *sc)
{
	if (sc->expect != 0) {
		(void)fprintf(stderr, "no step failed, with %s expected\n", sc->expect_text ? sc->expect_text : "an error");
		_exit(1);
	}
	if (sc->check)
		sc->check(sc);
	_exit(0);
}

void assert_child_ok(pid_t pid)
{
	int status;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("the child ended with status %#x", (unsigned)status);
}

void run_scene(struct scene *sc)
{
	struct oci_clone c = { .flags = NEW_ALL, .cgroup_fd = -1, .exit_signal = SIGCHLD };
	pid_t pid = oci_clone(&c);

	if (pid == 0) {
		init_setup(sc);
		if (sc->before)
			sc->before(sc);
		forbid(sc->absent);
		run_steps(sc, prepare_steps, HK_ARRAY_SIZE(prepare_steps));
		run_steps(sc, attach_steps, HK_ARRAY_SIZE(attach_steps));
		finish_scene(sc);
	}
	assert_child_ok(pid);
}

bool find_mount(const struct scene *sc, const char *point, char *ret, size_t size)
{
	static char text[256 * 1024];
	ssize_t n = hk_read_file_at(sc->s.proc_fd, "self/mountinfo", text, sizeof(text));
	bool found = false;
	char *save = NULL;

	CHECK(n > 0);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char root[1024], at[1024], opts[512], rest[1024], *dash;

		if (sscanf(line, "%*d %*d %*s %1023s %1023s %511s %1023[^\n]", root, at, opts, rest) != 4 || strcmp(at, point) != 0)
			continue;
		dash = strstr(rest, "- ");
		CHECK(dash != NULL);
		(void)snprintf(ret, size, "%s|%.*s|%s|%s", opts, (int)(dash - rest), rest, dash + 2, root);
		found = true;
	}
	return found;
}

bool has_flags(const struct scene *sc, const char *point, const char *words)
{
	char line[4096], copy[256], opts[600], want[80], *save = NULL;

	if (!find_mount(sc, point, line, sizeof(line)))
		return false;
	(void)snprintf(opts, sizeof(opts), ",%.*s,", (int)strcspn(line, "|"), line);
	(void)snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		bool want_it = w[0] != '!';

		(void)snprintf(want, sizeof(want), ",%s,", want_it ? w : w + 1);
		if (!!strstr(opts, want) != want_it) {
			(void)fprintf(stderr, "%s: %s\n", point, line);
			return false;
		}
	}
	return true;
}

bool mount_text_has(const struct scene *sc, const char *point, const char *text)
{
	char line[4096] = "";
	bool ok = find_mount(sc, point, line, sizeof(line)) && strstr(line, text);

	if (!ok)
		(void)fprintf(stderr, "%s: %s\n", point, line);
	return ok;
}

struct oci_mount default_mounts[N_DEFAULT_MOUNTS] = {
	{ .destination = "/proc", .type = "proc", .source = "proc", .options = WORDS("nosuid", "noexec", "nodev") },
	{ .destination = "/dev", .type = "tmpfs", .source = "tmpfs",
	    .options = WORDS("nosuid", "strictatime", "mode=755", "size=65536k") },
	{ .destination = "/dev/pts", .type = "devpts", .source = "devpts",
	    .options = WORDS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5") },
	{ .destination = "/dev/shm", .type = "tmpfs", .source = "shm",
	    .options = WORDS("nosuid", "noexec", "nodev", "mode=1777", "size=65536k") },
	{ .destination = "/dev/mqueue", .type = "mqueue", .source = "mqueue", .options = WORDS("nosuid", "noexec", "nodev") },
	{ .destination = "/sys", .type = "sysfs", .source = "sysfs", .options = WORDS("nosuid", "noexec", "nodev", "ro") },
	{ .destination = "/run", .type = "tmpfs", .source = "tmpfs",
	    .options = WORDS("nosuid", "strictatime", "mode=755", "size=65536k") },
};

static const struct oci_strv masked = WORDS("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi", "/etc/image", "/nowhere");
static const struct oci_strv readonly = WORDS("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger");

void add_default(struct scene *sc)
{
	sc->spec.mounts = default_mounts;
	sc->spec.n_mounts = N_DEFAULT_MOUNTS;
	sc->spec.masked_paths = masked;
	sc->spec.readonly_paths = readonly;
	sc->spec.root_readonly = true;
	sc->spec.has_process = true;
	sc->spec.process.cwd = "/srv/work";
	for (int i = 0; i < OCI_N_NS; i++)
		sc->spec.ns[i].is_set = i != OCI_NS_USER && i != OCI_NS_TIME && i != OCI_NS_CGROUP;
}

unsigned long fs_type(const char *path)
{
	struct statfs sfs;

	return statfs(path, &sfs) == 0 ? (unsigned long)sfs.f_type : 0;
}

bool is_char(const char *path, unsigned major, unsigned minor, mode_t mode)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(major, minor) && (st.st_mode & 07777) == mode;
}

bool is_link(const char *path, const char *target)
{
	char buf[256];
	ssize_t n = readlink(path, buf, sizeof(buf) - 1);

	return n >= 0 && (buf[n] = '\0', strcmp(buf, target) == 0);
}

void check_devices(void)
{
	CHECK(is_char("/dev/null", 1, 3, 0666));
	CHECK(is_char("/dev/zero", 1, 5, 0666));
	CHECK(is_char("/dev/full", 1, 7, 0666));
	CHECK(is_char("/dev/random", 1, 8, 0666));
	CHECK(is_char("/dev/urandom", 1, 9, 0666));
	CHECK(is_char("/dev/tty", 5, 0, 0666));
	CHECK(is_link("/dev/fd", "/proc/self/fd"));
	CHECK(is_link("/dev/stdin", "/proc/self/fd/0"));
	CHECK(is_link("/dev/stdout", "/proc/self/fd/1"));
	CHECK(is_link("/dev/stderr", "/proc/self/fd/2"));
	CHECK(is_link("/dev/ptmx", "pts/ptmx"));
}

void check_masks(const struct scene *sc)
{
	char line[4096];
	struct stat st;

	CHECK(find_mount(sc, "/etc/image", line, sizeof(line)) && !strstr(line, "master:"));
	CHECK(is_char("/proc/timer_list", 1, 3, 0666) || access("/proc/timer_list", F_OK) < 0);
	CHECK(is_char("/etc/image", 1, 3, 0666));
	CHECK(is_char("/proc/keys", 1, 3, 0666) || access("/proc/keys", F_OK) < 0);
	CHECK(stat("/sys/firmware", &st) < 0 || (mkdir("/sys/firmware/x", 0755) < 0 && errno == EROFS));
	CHECK(stat("/sys/firmware", &st) < 0 || st.st_nlink == 2);
	CHECK(has_flags(sc, "/proc/sys", "ro"));
	CHECK(open("/proc/sys/kernel/hostname", O_WRONLY | O_CLOEXEC) < 0 && (errno == EROFS || errno == EACCES));
	/* EACCES: in a user namespace nobody owns it. */
	CHECK(open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC) < 0 && (errno == EROFS || errno == ENOENT || errno == EACCES));
}
