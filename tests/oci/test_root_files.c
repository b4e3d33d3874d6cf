/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/test_root_files.c — the file tree that containerd's ordinary container gets, made by the real steps and read back from the
 * kernel from inside; again with the newer calls answering ENOSYS; rootfs mounts; propagation; user namespaces. The attacks are in
 * test_root_files_attack.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "tests/oci/files_helpers.h"

static struct oci_mount default_mounts[] = {
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

static void add_default(struct scene *sc)
{
	sc->spec.mounts = default_mounts;
	sc->spec.n_mounts = HK_ARRAY_SIZE(default_mounts);
	sc->spec.masked_paths = masked;
	sc->spec.readonly_paths = readonly;
	sc->spec.root_readonly = true;
	sc->spec.has_process = true;
	sc->spec.process.cwd = "/srv/work";
	for (int i = 0; i < OCI_N_NS; i++)
		sc->spec.ns[i].is_set = i != OCI_NS_USER && i != OCI_NS_TIME && i != OCI_NS_CGROUP;
}

static unsigned long fs_type(const char *path)
{
	struct statfs sfs;

	return statfs(path, &sfs) == 0 ? (unsigned long)sfs.f_type : 0;
}

static bool is_char(const char *path, unsigned major, unsigned minor, mode_t mode)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(major, minor) && (st.st_mode & 07777) == mode;
}

static bool is_link(const char *path, const char *target)
{
	char buf[256];
	ssize_t n = readlink(path, buf, sizeof(buf) - 1);

	return n >= 0 && (buf[n] = '\0', strcmp(buf, target) == 0);
}

static void check_devices(void)
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

static void check_masks(const struct scene *sc)
{
	struct stat st;

	CHECK(is_char("/proc/timer_list", 1, 3, 0666) || access("/proc/timer_list", F_OK) < 0);
	CHECK(is_char("/etc/image", 1, 3, 0666));
	CHECK(is_char("/proc/keys", 1, 3, 0666) || access("/proc/keys", F_OK) < 0);
	CHECK(stat("/sys/firmware", &st) < 0 || (mkdir("/sys/firmware/x", 0755) < 0 && errno == EROFS));
	CHECK(stat("/sys/firmware", &st) < 0 || st.st_nlink == 2);
	CHECK(has_flags(sc, "/proc/sys", "ro"));
	CHECK(open("/proc/sys/kernel/hostname", O_WRONLY | O_CLOEXEC) < 0 && (errno == EROFS || errno == EACCES));
	CHECK(open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC) < 0 && (errno == EROFS || errno == ENOENT));
}

static void check_default(struct scene *sc)
{
	struct stat st;
	char cwd[64];

	CHECK(fs_type("/proc") == PROC_SUPER_MAGIC && has_flags(sc, "/proc", "nosuid,noexec,nodev,rw"));
	CHECK(fs_type("/dev") == TMPFS_MAGIC && has_flags(sc, "/dev", "nosuid,!noexec,!nodev,!relatime,!noatime"));
	CHECK(mount_text_has(sc, "/dev", "size=65536k,mode=755"));
	CHECK(fs_type("/dev/pts") == DEVPTS_SUPER_MAGIC && mount_text_has(sc, "/dev/pts", "gid=5,mode=620,ptmxmode=666"));
	CHECK(fs_type("/dev/shm") == TMPFS_MAGIC && has_flags(sc, "/dev/shm", "nosuid,noexec,nodev,relatime"));
	CHECK(stat("/dev/shm", &st) == 0 && (st.st_mode & 07777) == 01777);
	CHECK(mount_text_has(sc, "/dev/mqueue", "|mqueue mqueue"));
	CHECK(fs_type("/sys") == SYSFS_MAGIC && has_flags(sc, "/sys", "ro,nosuid,noexec,nodev"));
	CHECK(fs_type("/run") == TMPFS_MAGIC);
	CHECK(is_link("/proc/self", "1")); /* of our own pid namespace */
	check_devices();
	check_masks(sc);
	CHECK(has_flags(sc, "/", "ro"));
	CHECK(mkdir("/new", 0755) < 0 && errno == EROFS);
	CHECK(stat("/srv/work", &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0755);
	CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, "/") == 0);
	CHECK(stat("/tmp", &st) < 0); /* the host's names are gone */
	CHECK(!strstr(read_all("/proc/self/mountinfo"), "shared:"));
}

static void test_default(void **state)
{
	struct scene sc = { .w = *state, .check = check_default };

	add_default(&sc);
	run_scene(&sc);
}

/* The same tree, by other ways. */
static void test_default_without_new_calls(void **state)
{
	static const int sets[][8] = {
		{ SYS_openat2, -1 },
		{ SYS_mount_setattr, -1 },
		{ SYS_fsopen, -1 },
		{ SYS_open_tree, -1 },
		{ SYS_move_mount, -1 },
		{ SYS_openat2, SYS_mount_setattr, SYS_fsopen, SYS_open_tree, SYS_move_mount, SYS_fsmount, -1 },
	};

	for (size_t i = 0; i < HK_ARRAY_SIZE(sets); i++) {
		struct scene sc = { .w = *state, .check = check_default, .absent = sets[i] };

		add_default(&sc);
		run_scene(&sc);
	}
}

/* ---- binds ---- */

static struct oci_mount bind_mounts[] = {
	{ .destination = "/proc", .type = "proc", .source = "proc", .options = WORDS("nosuid", "noexec", "nodev") },
	{ .destination = "/vol/dir", .type = "bind", .source = "vol", .options = WORDS("rbind", "rw", "nosuid") },
	{ .destination = "/vol/ro", .type = "bind", .source = "vol", .options = WORDS("rbind", "rprivate", "ro") },
	{ .destination = "/vol/file", .type = "none", .source = "vol/file", .options = WORDS("bind", "ro", "noexec") },
	{ .destination = "/vol/null", .type = "bind", .source = "/dev/null", .options = WORDS("bind") },
	{ .destination = "/vol/again", .type = "bind", .source = "vol", .options = WORDS("bind") },
	{ .destination = "/vol/again", .type = "bind", .source = "", .options = WORDS("remount", "bind", "ro", "nodev") },
	{ .destination = "/ro", .type = "tmpfs", .source = "tmpfs", .options = WORDS("ro", "nosuid", "size=1m") },
	{ .destination = "/ro/in", .type = "bind", .source = "vol", .options = WORDS("bind") },
	{ .destination = "/etc", .type = "tmpfs", .source = "tmpfs", .options = WORDS("tmpcopyup", "nodev") },
};

static void check_binds(struct scene *sc)
{
	hk_autofree char *text = NULL;
	struct stat st;

	CHECK(has_flags(sc, "/vol/dir", "rw,nosuid"));
	CHECK(mkdir("/vol/dir/made", 0755) == 0 && rmdir("/vol/dir/made") == 0);
	CHECK(has_flags(sc, "/vol/ro", "ro"));
	CHECK(mkdir("/vol/ro/made", 0755) < 0 && errno == EROFS);
	CHECK(has_flags(sc, "/vol/file", "ro,noexec"));
	CHECK((text = read_all("/vol/file")) && strcmp(text, "volume") == 0);
	CHECK(is_char("/vol/null", 1, 3, 0666));
	CHECK(has_flags(sc, "/vol/again", "ro,nodev"));
	CHECK(has_flags(sc, "/ro", "ro,nosuid"));
	CHECK(access("/ro/in/file", F_OK) == 0); /* its place was made while the tmpfs was still writable */
	CHECK(fs_type("/etc") == TMPFS_MAGIC && has_flags(sc, "/etc", "nodev"));
	CHECK(stat("/etc/image", &st) == 0 && st.st_size == 5 && (st.st_mode & 07777) == 0640 && st.st_uid == 7);
	CHECK(stat("/etc", &st) == 0 && (st.st_mode & 07777) == 0711); /* a tmpfs takes the mode of what it covers */
	CHECK(is_link("/etc/link", "image"));
}

static void test_binds(void **state)
{
	static const int no_tree[] = { SYS_open_tree, SYS_mount_setattr, -1 };
	struct world *w = *state;
	char path[160];

	make_dir(w->bundle, "vol");
	make_file(w->bundle, "vol/file", "volume");
	(void)snprintf(path, sizeof(path), "%s/etc", w->rootfs);
	assert_int_equal(chmod(path, 0711), 0);
	(void)snprintf(path, sizeof(path), "%s/etc/link", w->rootfs);
	assert_int_equal(symlink("image", path), 0);
	(void)snprintf(path, sizeof(path), "%s/etc/image", w->rootfs);
	assert_int_equal(chown(path, 7, 8), 0);
	assert_int_equal(chmod(path, 0640), 0);
	for (int i = 0; i < 2; i++) {
		struct scene sc = { .w = w, .check = check_binds, .absent = i ? no_tree : NULL };

		sc.spec.mounts = bind_mounts;
		sc.spec.n_mounts = HK_ARRAY_SIZE(bind_mounts);
		run_scene(&sc);
	}
}

static void submount(struct scene *sc)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/vol/sub", sc->w->bundle);
	CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
	CHECK(mount("sub", path, "tmpfs", 0, NULL) == 0);
}

static void check_recursive(struct scene *sc)
{
	CHECK(has_flags(sc, "/a", "ro,nosuid") && has_flags(sc, "/a/sub", "ro,nosuid"));
	CHECK(has_flags(sc, "/b", "ro") && has_flags(sc, "/b/sub", "rw"));
	CHECK(access("/c/sub", F_OK) == 0 && !has_flags(sc, "/c/sub", ""));
}

static void test_recursive_flags(void **state)
{
	struct oci_mount mounts[] = {
		{ .destination = "/a", .type = "bind", .source = "vol", .options = WORDS("rbind", "rro", "rnosuid") },
		{ .destination = "/b", .type = "bind", .source = "vol", .options = WORDS("rbind", "ro") },
		{ .destination = "/c", .type = "bind", .source = "vol", .options = WORDS("bind") },
	};
	static const int no_setattr[] = { SYS_mount_setattr, -1 };
	struct world *w = *state;
	struct scene sc = { .w = w, .check = check_recursive, .before = submount };
	struct scene old = { .w = w, .before = submount, .absent = no_setattr, .expect = -ENOSYS, .expect_text = "on /a" };

	make_dir(w->bundle, "vol");
	sc.spec.mounts = old.spec.mounts = mounts;
	sc.spec.n_mounts = old.spec.n_mounts = HK_ARRAY_SIZE(mounts);
	run_scene(&sc);
	run_scene(&old);
}

static void test_bad_mounts(void **state)
{
	struct {
		struct oci_mount m;
		int error;
		const char *text;
	} cases[] = {
		{ { .destination = "/data", .type = "bind", .source = "/no/such/source", .options = WORDS("rbind") }, -ENOENT,
		    "mount bind /no/such/source on /data: ENOENT" },
		{ { .destination = "/x", .type = "nosuchfs", .source = "x" }, -ENODEV, "mount nosuchfs on /x: ENODEV" },
		{ { .destination = "/t", .type = "tmpfs", .source = "t", .options = WORDS("nonsense=1") }, -EINVAL, "nonsense" },
		{ { .destination = "//.", .type = "tmpfs", .source = "t" }, -EINVAL, "mount on /" },
		{ { .destination = "/x" }, -EINVAL, "no type" },
		{ { .destination = "/etc/image/x", .type = "tmpfs", .source = "t" }, -ENOTDIR, "/etc/image/x" },
		{ { .destination = "/etc/image", .type = "bind", .source = "/etc", .options = WORDS("bind") }, -ENOTDIR,
		    "mount bind /etc on /etc/image" },
		{ { .destination = "/i", .type = "bind", .source = "/etc", .options = WORDS("bind", "idmap") }, -EINVAL, "user namespace" },
	};

	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		struct scene sc = { .w = *state, .expect = cases[i].error, .expect_text = cases[i].text };

		sc.spec.mounts = &cases[i].m;
		sc.spec.n_mounts = 1;
		run_scene(&sc);
	}
}

/* ---- rootfs ---- */

static void test_missing_rootfs(void **state)
{
	struct world *w = *state;
	struct scene sc = { .w = w, .expect = -ENOENT, .expect_text = "/no/such/rootfs" };
	struct scene file = { .w = w, .expect = -ENOTDIR, .expect_text = "etc/image" };
	char path[160];

	sc.s.rootfs = "/no/such/rootfs";
	run_scene(&sc);
	(void)snprintf(path, sizeof(path), "%s/etc/image", w->rootfs);
	file.s.rootfs = path;
	run_scene(&file);
}

enum { N_LAYERS = 80 }; /* more than a page of options, and less than that relative to their directory */

/* A tmpfs that only the child has, for an overlay's directories (an overlay on an overlay may be refused). */
static void overlay_dirs(struct scene *sc)
{
	char path[160];

	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	(void)snprintf(path, sizeof(path), "%s/ov", sc->w->dir);
	CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
	CHECK(mount("ov", path, "tmpfs", 0, NULL) == 0 && chdir(path) == 0);
	CHECK(mkdir("up", 0755) == 0 && mkdir("work", 0755) == 0 && mkdir("extra", 0755) == 0);
	for (int i = 0; i < N_LAYERS; i++) {
		(void)snprintf(path, sizeof(path), "layer-as-long-as-a-snapshotter-has-%02d", i);
		CHECK(mkdir(path, 0755) == 0 && chdir(path) == 0);
		(void)snprintf(path, sizeof(path), "file%d", i);
		CHECK(mkdir(path, 0755) == 0 && chdir("..") == 0);
	}
}

static void check_overlay(struct scene *sc)
{
	struct stat st;

	CHECK(mount_text_has(sc, "/", "|overlay overlay"));
	CHECK(stat("/file0", &st) == 0 && stat("/file79", &st) == 0);
	CHECK(mkdir("/written", 0755) == 0);
	if (sc->s.n_rootfs_mounts > 1)
		CHECK(fs_type("/extra/dir") == TMPFS_MAGIC && has_flags(sc, "/extra/dir", "ro"));
}

static void test_overlay(void **state)
{
	static const int no_fsopen[] = { SYS_fsopen, -1 };
	static const int none[] = { SYS_fsopen, SYS_open_tree, SYS_move_mount, -1 };
	static const int *const absent[] = { NULL, no_fsopen, none };
	struct world *w = *state;
	char lower[8192] = "lowerdir=", upper[200], work[200], extra[200];
	struct oci_rootfs_mount mounts[] = {
		{ .type = "overlay", .source = "overlay", .options = WORDS(lower, upper, work, "index=off") },
		{ .type = "bind", .source = extra, .target = "/extra/dir", .options = WORDS("rbind", "ro") },
	};

	for (size_t i = 0; i < N_LAYERS; i++) {
		size_t len = strlen(lower);

		(void)snprintf(lower + len, sizeof(lower) - len, "%s%s/ov/layer-as-long-as-a-snapshotter-has-%02d",
		    i ? ":" : "", w->dir, (int)i);
	}
	(void)snprintf(upper, sizeof(upper), "upperdir=%s/ov/up", w->dir);
	(void)snprintf(work, sizeof(work), "workdir=%s/ov/work", w->dir);
	(void)snprintf(extra, sizeof(extra), "%s/ov/extra", w->dir);
	for (size_t i = 0; i < HK_ARRAY_SIZE(absent); i++) {
		for (size_t n = 1; n <= 2; n++) {
			struct scene sc = { .w = w, .before = overlay_dirs, .check = check_overlay, .absent = absent[i] };

			if (n == 2 && absent[i] == none)
				continue; /* a bind's flags need its tree */
			sc.s.rootfs_mounts = mounts;
			sc.s.n_rootfs_mounts = n;
			run_scene(&sc);
		}
	}
}

static void check_bind_root(struct scene *sc)
{
	CHECK(has_flags(sc, "/", "ro"));
	CHECK(access("/inner", F_OK) == 0 && access("/etc/image", F_OK) < 0);
}

static void test_bind_root(void **state)
{
	struct world *w = *state;
	char source[160];
	struct oci_rootfs_mount m = { .type = "bind", .source = source, .options = WORDS("rbind", "ro") };
	struct scene sc = { .w = w, .check = check_bind_root };
	struct scene bad = { .w = w, .expect = -ENOENT, .expect_text = "mount rootfs bind /no/such" };

	make_dir(w->dir, "other");
	make_dir(w->dir, "other/inner");
	make_dir(w->dir, "other/dev");
	(void)snprintf(source, sizeof(source), "%s/other", w->dir);
	sc.spec.mounts = &default_mounts[1]; /* /dev */
	sc.spec.n_mounts = 1;
	sc.s.rootfs_mounts = bad.s.rootfs_mounts = &m;
	sc.s.n_rootfs_mounts = bad.s.n_rootfs_mounts = 1;
	run_scene(&sc);
	m.source = "/no/such";
	run_scene(&bad);
}

static void check_no_pivot(struct scene *sc)
{
	hk_autofree char *info = NULL;

	(void)sc;
	CHECK(access("/etc/image", F_OK) == 0 && access("/tmp", F_OK) < 0);
	CHECK((info = read_all("/proc/self/mountinfo")) && strstr(info, " / /proc "));
}

static void test_no_pivot(void **state)
{
	struct scene sc = { .w = *state, .check = check_no_pivot };

	sc.spec.mounts = default_mounts;
	sc.spec.n_mounts = 2;
	sc.s.no_pivot = true;
	run_scene(&sc);
}

/* ---- propagation ---- */

static void check_propagation(struct scene *sc)
{
	static const char *const want[] = { "", "", "shared:", "shared:", "unbindable" };
	char line[4096];

	CHECK(find_mount(sc, "/", line, sizeof(line)));
	if (want[sc->spec.rootfs_propagation][0])
		CHECK(strstr(line, want[sc->spec.rootfs_propagation]));
	else
		CHECK(!strstr(line, "shared:"));
	CHECK(find_mount(sc, "/private", line, sizeof(line)) && !strstr(line, "shared:") && !strstr(line, "master:"));
	CHECK(find_mount(sc, "/shared", line, sizeof(line)) && strstr(line, "shared:"));
}

static void test_propagation(void **state)
{
	struct oci_mount mounts[] = {
		{ .destination = "/private", .type = "bind", .source = "vol", .options = WORDS("rbind", "rprivate") },
		{ .destination = "/shared", .type = "bind", .source = "vol", .options = WORDS("rbind", "rshared") },
	};
	static const enum oci_propagation flags[] = { OCI_PROP_NONE, OCI_PROP_PRIVATE, OCI_PROP_SHARED, OCI_PROP_UNBINDABLE };
	struct world *w = *state;

	make_dir(w->bundle, "vol");
	for (size_t i = 0; i < HK_ARRAY_SIZE(flags) * 2; i++) {
		struct scene sc = { .w = w };

		sc.check = check_propagation;
		sc.spec.rootfs_propagation = flags[i / 2];
		sc.spec.rootfs_propagation_recursive = i % 2;
		sc.spec.mounts = mounts;
		sc.spec.n_mounts = HK_ARRAY_SIZE(mounts);
		run_scene(&sc);
	}
}

static void check_peer(struct scene *sc)
{
	(void)sc;
	CHECK(mount("in", "/peer/in", "tmpfs", 0, NULL) == 0);
	CHECK(mount("in", "/slave/in", "tmpfs", 0, NULL) == 0);
}

/* Kubernetes' Bidirectional: what the container mounts in the volume is seen where the volume came from, and only there. */
static void test_peer(void **state)
{
	struct oci_mount mounts[] = {
		{ .destination = "/peer", .type = "bind", .source = "peer", .options = WORDS("rbind", "rshared") },
		{ .destination = "/slave", .type = "bind", .source = "slave", .options = WORDS("rbind", "rslave") },
	};
	struct world *w = *state;
	pid_t pid;

	make_dir(w->bundle, "peer");
	make_dir(w->bundle, "slave");
	pid = fork();
	if (pid == 0) { /* the "host": a namespace between the machine's and the container's */
		struct scene sc = { .w = w, .check = check_peer };
		char peer[160], slave[160];
		hk_autofree char *info = NULL;
		int status;

		(void)snprintf(peer, sizeof(peer), "%s/peer", w->bundle);
		(void)snprintf(slave, sizeof(slave), "%s/slave", w->bundle);
		CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
		CHECK(mount("p", peer, "tmpfs", 0, NULL) == 0 && mount(NULL, peer, NULL, MS_SHARED, NULL) == 0);
		CHECK(mount("s", slave, "tmpfs", 0, NULL) == 0 && mount(NULL, slave, NULL, MS_SHARED, NULL) == 0);
		CHECK(chdir(w->bundle) == 0 && mkdir("peer/in", 0755) == 0 && mkdir("slave/in", 0755) == 0);
		sc.spec.mounts = mounts;
		sc.spec.n_mounts = HK_ARRAY_SIZE(mounts);
		sc.spec.rootfs_propagation = OCI_PROP_SHARED;
		sc.spec.rootfs_propagation_recursive = true;
		if (fork() == 0) {
			CHECK(unshare(CLONE_NEWNS) == 0); /* as clone3 gives it: peers of the host's mounts */
			init_setup(&sc);
			run_steps(&sc, prepare_steps, HK_ARRAY_SIZE(prepare_steps));
			run_steps(&sc, attach_steps, HK_ARRAY_SIZE(attach_steps));
			finish_scene(&sc);
		}
		CHECK(wait(&status) > 0 && status == 0);
		CHECK((info = read_all("/proc/self/mountinfo")) && strstr(info, "/peer/in ") && !strstr(info, "/slave/in "));
		CHECK(!strstr(info, "/rootfs"));
		_exit(0);
	}
	assert_child_ok(pid);
}

/* ---- terminal, sysctl, devices ---- */

static void check_more(struct scene *sc)
{
	struct winsize ws;
	struct stat st;
	char text[64];

	CHECK(sc->s.console_master >= 0 && sc->s.console_slave >= 0);
	CHECK(ioctl(sc->s.console_master, TIOCGWINSZ, &ws) == 0 && ws.ws_row == 33 && ws.ws_col == 77);
	CHECK(stat("/dev/console", &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == 136 && st.st_uid == 1000 && st.st_gid == 5);
	CHECK(fs_type("/dev/console") == DEVPTS_SUPER_MAGIC);
	CHECK(write(sc->s.console_slave, "hi", 2) == 2 && read(sc->s.console_master, text, 2) == 2);
	CHECK(hk_read_file_at(AT_FDCWD, "/proc/sys/net/ipv4/ip_unprivileged_port_start", text, sizeof(text)) > 0 && strcmp(text, "0") == 0);
	CHECK(hk_read_file_at(AT_FDCWD, "/proc/sys/kernel/shm_rmid_forced", text, sizeof(text)) > 0 && strcmp(text, "1") == 0);
	CHECK(is_char("/dev/fuse", 10, 229, 0600));
	CHECK(lstat("/dev/fuse", &st) == 0 && st.st_uid == 3 && st.st_gid == 4);
	CHECK(is_char("/else/where/null", 1, 3, 0640));
	CHECK(lstat("/else/pipe", &st) == 0 && S_ISFIFO(st.st_mode));
	CHECK(is_char("/dev/null", 1, 3, 0666));
}

static void test_terminal_sysctl_devices(void **state)
{
	static struct oci_kv sysctls[] = {
		{ "net.ipv4.ip_unprivileged_port_start", "0" },
		{ "kernel/shm_rmid_forced", "1" },
	};
	static struct oci_device devices[] = {
		{ .type = 'c', .path = "/dev/fuse", .major = 10, .minor = 229, .has_mode = true, .mode = S_IFCHR | 0600, .uid = 3, .gid = 4 },
		{ .type = 'c', .path = "/dev/null", .major = 1, .minor = 3 },
		{ .type = 'c', .path = "/else/where/null", .major = 1, .minor = 3, .has_mode = true, .mode = 0640 },
		{ .type = 'p', .path = "/else/pipe" },
	};
	static struct oci_device wrong = { .type = 'c', .path = "/dev/zero", .major = 1, .minor = 3 };
	static struct oci_kv bad[] = {
		{ "kernel.hostname", "x" }, { "vm.swappiness", "1" }, { "net/../kernel/shmmax", "1" }, { "fs.mqueue.msg_max", "no number" },
		{ "net..ipv4", "1" },
	};
	struct scene sc = { .w = *state, .check = check_more };

	add_default(&sc);
	sc.spec.root_readonly = false;
	sc.spec.process.uid = 1000;
	sc.spec.process.console_rows = 33;
	sc.spec.process.console_cols = 77;
	sc.s.terminal = true;
	sc.spec.devices = devices;
	sc.spec.n_devices = HK_ARRAY_SIZE(devices);
	sc.spec.sysctl = (struct oci_kvs){ sysctls, HK_ARRAY_SIZE(sysctls) };
	run_scene(&sc);

	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++) {
		struct scene refused = { .w = *state, .expect_text = "sysctl" };

		add_default(&refused);
		refused.spec.sysctl = (struct oci_kvs){ &bad[i], 1 };
		refused.expect = i < 2 ? -EPERM : -EINVAL;
		run_scene(&refused);
	}
	sc = (struct scene){ .w = *state, .expect = -EEXIST, .expect_text = "make device /dev/zero" };
	add_default(&sc);
	sc.spec.devices = &wrong;
	sc.spec.n_devices = 1;
	run_scene(&sc);
}

/* ---- user namespace, id-mapped mounts ---- */

static void check_userns(struct scene *sc)
{
	struct stat st;

	(void)sc;
	CHECK(fs_type("/proc") == PROC_SUPER_MAGIC && fs_type("/sys") == SYSFS_MAGIC && fs_type("/dev/pts") == DEVPTS_SUPER_MAGIC);
	check_devices();
	check_masks(sc);
	CHECK(has_flags(sc, "/", "ro"));
	CHECK(is_link("/proc/self", "1"));
	CHECK(stat("/mapped/file", &st) == 0 && st.st_uid == 0 && st.st_gid == 0); /* host root's, seen as our root's */
	CHECK(stat("/plain/file", &st) == 0 && st.st_uid == 65534);
	CHECK(has_flags(sc, "/plain", "ro,nosuid"));
}

static void tmpfs_volume(struct scene *sc)
{
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(chdir(sc->w->bundle) == 0 && mount("v", "vol", "tmpfs", 0, NULL) == 0);
	CHECK(mknod("vol/file", S_IFREG | 0644, 0) == 0 && chdir("/") == 0);
}

static void run_userns(struct scene *sc)
{
	struct oci_clone c = { .flags = NEW_ALL | CLONE_NEWUSER, .cgroup_fd = -1, .exit_signal = SIGCHLD };
	struct hk_err err;
	int go[2], status;
	char byte = 0;
	pid_t pid;

	CHECK(unshare(CLONE_NEWNS) == 0);
	init_setup(sc);
	sc->before(sc);
	sc->s.in_userns = true;
	run_steps(sc, prepare_steps, HK_ARRAY_SIZE(prepare_steps));
	CHECK(pipe2(go, O_CLOEXEC) == 0);
	pid = oci_clone(&c);
	if (pid == 0) {
		CHECK(read(go[0], &byte, 1) == 1);
		CHECK(setgroups(0, NULL) == 0 && setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0);
		run_steps(sc, attach_steps, HK_ARRAY_SIZE(attach_steps));
		finish_scene(sc);
	}
	CHECK(pid > 0 && oci_ns_write_maps(pid, &sc->spec, &err) == 0);
	CHECK(write(go[1], &byte, 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid);
	_exit(status != 0);
}

static void test_userns(void **state)
{
	static struct oci_idmap map = { .container_id = 0, .host_id = 100000, .size = 1000 };
	static struct oci_mount mounts[HK_ARRAY_SIZE(default_mounts) + 2];
	struct scene sc = { .w = *state, .check = check_userns, .before = tmpfs_volume };
	struct world *w = *state;
	pid_t pid;

	add_default(&sc);
	memcpy(mounts, default_mounts, sizeof(default_mounts));
	mounts[HK_ARRAY_SIZE(default_mounts)] = (struct oci_mount){ .destination = "/mapped", .type = "bind", .source = "vol",
		.options = WORDS("rbind", "idmap") };
	mounts[HK_ARRAY_SIZE(default_mounts) + 1] = (struct oci_mount){ .destination = "/plain", .type = "bind", .source = "vol",
		.options = WORDS("rbind", "ro", "nosuid") };
	sc.spec.mounts = mounts;
	sc.spec.n_mounts = HK_ARRAY_SIZE(mounts);
	sc.spec.ns[OCI_NS_USER].is_set = true;
	sc.spec.uid_mappings = sc.spec.gid_mappings = (struct oci_idmaps){ &map, 1 };
	make_dir(w->bundle, "vol");
	assert_int_equal(chown(w->rootfs, 100000, 100000), 0);
	pid = fork();
	if (pid == 0)
		run_userns(&sc);
	assert_child_ok(pid);
}

static void check_idmap(struct scene *sc)
{
	struct stat st;

	(void)sc;
	CHECK(stat("/v/file", &st) == 0 && st.st_uid == 5000 && st.st_gid == 6000);
}

static void test_idmap(void **state)
{
	static struct oci_idmap uid = { 0, 5000, 10 }, gid = { 0, 6000, 10 };
	struct oci_mount m = { .destination = "/v", .type = "bind", .source = "vol", .options = WORDS("rbind"),
		.uid_mappings = { &uid, 1 }, .gid_mappings = { &gid, 1 } };
	struct world *w = *state;
	struct scene sc = { .w = w, .check = check_idmap, .before = tmpfs_volume };

	make_dir(w->bundle, "vol");
	sc.spec.mounts = &m;
	sc.spec.n_mounts = 1;
	run_scene(&sc);
}

/* ---- cgroup ---- */

static void check_cgroup(struct scene *sc)
{
	hk_autofree char *mine = NULL;
	char line[4096];

	CHECK(find_mount(sc, "/sys/fs/cgroup", line, sizeof(line)));
	CHECK(has_flags(sc, "/sys/fs/cgroup", "ro,nosuid,noexec,nodev"));
	if (oci_cgroup_host_mode() == OCI_CGROUP_UNIFIED)
		return;
	CHECK(find_mount(sc, "/sys/fs/cgroup/memory", line, sizeof(line)) && strstr(line, "|/husk-files-test"));
	CHECK(has_flags(sc, "/sys/fs/cgroup/memory", "ro"));
	CHECK(access("/sys/fs/cgroup/cpu/cpu.shares", F_OK) == 0 && access("/sys/fs/cgroup/cpuacct/cpuacct.usage", F_OK) == 0);
	CHECK(mkdir("/sys/fs/cgroup/memory/x", 0755) < 0 && errno == EROFS);
	CHECK(mkdir("/sys/fs/cgroup/x", 0755) < 0 && errno == EROFS);
}

static void test_cgroup(void **state)
{
	struct oci_mount mounts[] = {
		{ .destination = "/proc", .type = "proc", .source = "proc" },
		{ .destination = "/sys", .type = "sysfs", .source = "sysfs", .options = WORDS("ro") },
		{ .destination = "/sys/fs/cgroup", .type = "cgroup", .source = "cgroup",
		    .options = WORDS("nosuid", "noexec", "nodev", "relatime", "ro") },
	};
	const struct oci_resources none = { 0 };
	struct scene sc = { .w = *state, .check = check_cgroup };
	struct hk_err err = { .text = "" };

	assert_int_equal(oci_cgroup_open("/husk-files-test", "t1", &sc.s.cgroup, &err), 0);
	if (oci_cgroup_create(sc.s.cgroup, &none, &err) < 0)
		fail_msg("%s", err.text);
	sc.spec.mounts = mounts;
	sc.spec.n_mounts = HK_ARRAY_SIZE(mounts);
	run_scene(&sc);
	assert_int_equal(oci_cgroup_remove(sc.s.cgroup, &err), 0);
	oci_cgroup_free(sc.s.cgroup);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_default, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_default_without_new_calls, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_binds, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_recursive_flags, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_bad_mounts, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_missing_rootfs, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_overlay, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_bind_root, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_no_pivot, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_propagation, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_peer, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_terminal_sysctl_devices, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_userns, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_idmap, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_cgroup, world_set_up, world_tear_down),
	};

	if (geteuid() != 0) {
		(void)puts("needs root: skipped");
		return 77;
	}
	(void)umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
