/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/test_root_files_ns.c — the file tree where namespaces matter: propagation between host and container,
 * terminal, sysctl, devices, user namespaces with id-mapped mounts, cgroup mounts. (with: files_helpers.c)
 */
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include "tests/oci/files_helpers.h"

/* ---- propagation ---- */

static void check_propagation(struct scene *sc)
{
	static const char *const want[] = { "", "", "", "shared:", "unbindable" };
	char line[4096];

	CHECK(find_mount(sc, "/", line, sizeof(line)));
	if (want[sc->spec.rootfs_propagation][0])
		CHECK(strstr(line, want[sc->spec.rootfs_propagation]));
	else
		CHECK(!strstr(line, "shared:"));
	CHECK(!strstr(line, "master:"));
	CHECK(find_mount(sc, "/private", line, sizeof(line)) && !strstr(line, "shared:") && !strstr(line, "master:"));
	CHECK(find_mount(sc, "/shared", line, sizeof(line)) && strstr(line, "shared:"));
}

static void test_propagation(void **state)
{
	struct oci_mount mounts[] = {
		{ .destination = "/private", .type = "bind", .source = "vol", .options = WORDS("rbind", "rprivate") },
		{ .destination = "/shared", .type = "bind", .source = "vol", .options = WORDS("rbind", "rshared") },
	};
	static const enum oci_propagation flags[] = { OCI_PROP_NONE, OCI_PROP_PRIVATE, OCI_PROP_SLAVE, OCI_PROP_SHARED,
		OCI_PROP_UNBINDABLE };
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

/*
 * Kubernetes' Bidirectional: what the container mounts in the volume is seen where the volume came from, and only
 * there.
 */
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
	int master = -1, slave = -1;
	struct hk_err err;
	struct winsize ws;
	struct stat st;
	char text[64];

	CHECK(sc->s.console_master >= 0 && sc->s.console_slave >= 0);
	CHECK(ioctl(sc->s.console_master, TIOCGWINSZ, &ws) == 0 && ws.ws_row == 33 && ws.ws_col == 77);
	CHECK(stat("/dev/console", &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == 136 && st.st_uid == 1000 && st.st_gid == 5);
	CHECK(fs_type("/dev/console") == DEVPTS_SUPER_MAGIC);
	CHECK(write(sc->s.console_slave, "hi", 2) == 2 && read(sc->s.console_master, text, 2) == 2);
	CHECK(oci_tty_open(sc->s.rootfs_fd, &master, &slave, &err) == 0); /* an exec's */
	CHECK(setsid() >= 0 && oci_tty_adopt(slave, 5, 6, &err) == 0);
	CHECK(ioctl(master, TIOCGWINSZ, &ws) == 0 && ws.ws_row == 5 && ws.ws_col == 6 && isatty(0) && isatty(2));
	CHECK(open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0); /* it controls us */
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

/* A directory whose ids can be mapped: a tmpfs since Linux 6.3; before, /tmp is taken to be on one of the file systems of a disk. */
static void volume(struct scene *sc)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2);
	CHECK(chdir(sc->w->bundle) == 0);
	if (major > 6 || (major == 6 && minor >= 3))
		CHECK(mount("v", "vol", "tmpfs", 0, NULL) == 0);
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
	CHECK(pid > 0 && oci_ns_settle_maps(pid, &sc->spec, &err) == 0);
	CHECK(write(go[1], &byte, 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid);
	_exit(status != 0);
}

static void test_userns(void **state)
{
	static struct oci_idmap map = { .container_id = 0, .host_id = 100000, .size = 1000 };
	static struct oci_mount mounts[N_DEFAULT_MOUNTS + 2];
	struct scene sc = { .w = *state, .check = check_userns, .before = volume };
	struct world *w = *state;
	pid_t pid;

	add_default(&sc);
	memcpy(mounts, default_mounts, sizeof(default_mounts));
	mounts[N_DEFAULT_MOUNTS] = (struct oci_mount){ .destination = "/mapped", .type = "bind", .source = "vol",
		.options = WORDS("rbind", "idmap") };
	mounts[N_DEFAULT_MOUNTS + 1] = (struct oci_mount){ .destination = "/plain", .type = "bind", .source = "vol",
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
	struct scene sc = { .w = w, .check = check_idmap, .before = volume };

	make_dir(w->bundle, "vol");
	sc.spec.mounts = &m;
	sc.spec.n_mounts = 1;
	run_scene(&sc);
}

/* ---- cgroup ---- */

static void check_cgroup(struct scene *sc)
{
	char line[4096];

	CHECK(find_mount(sc, "/sys/fs/cgroup", line, sizeof(line)) && !strstr(line, "master:"));
	CHECK(has_flags(sc, "/sys/fs/cgroup", "ro,nosuid,noexec,nodev"));
	CHECK(mkdir("/sys/fs/cgroup/x", 0755) < 0 && errno == EROFS);
	if (oci_cgroup_host_mode() == OCI_CGROUP_UNIFIED) {
		/* Only a cgroup that is not the root of all has a type: the host's own mount without a namespace, ours with one. */
		CHECK((access("/sys/fs/cgroup/cgroup.type", F_OK) == 0) == sc->spec.ns[OCI_NS_CGROUP].is_set);
		return;
	}
	CHECK(find_mount(sc, "/sys/fs/cgroup/memory", line, sizeof(line)));
	CHECK(strstr(line, sc->spec.ns[OCI_NS_CGROUP].is_set ? "|/" : "|/husk-files-test"));
	CHECK(has_flags(sc, "/sys/fs/cgroup/memory", "ro"));
	CHECK(access("/sys/fs/cgroup/cpu/cpu.shares", F_OK) == 0 && access("/sys/fs/cgroup/cpuacct/cpuacct.usage", F_OK) == 0);
	CHECK(mkdir("/sys/fs/cgroup/memory/x", 0755) < 0 && errno == EROFS);
}

static void own_cgroupns(struct scene *sc)
{
	struct hk_err err;

	CHECK(oci_cgroup_enter(sc->s.cgroup, 0, false, &err) == 0);
	CHECK(unshare(CLONE_NEWCGROUP) == 0);
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
	run_scene(&sc); /* in the host's namespace; that the host's superblock keeps its options is seen by the tear-down */
	sc.before = own_cgroupns;
	sc.spec.ns[OCI_NS_CGROUP].is_set = true;
	run_scene(&sc);
	assert_int_equal(oci_cgroup_remove(sc.s.cgroup, &err), 0);
	oci_cgroup_free(sc.s.cgroup);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
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
