/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/attack/test_process.c — what a container's process may get of the engine's own: descriptors, a directory of the host, groups,
 * capabilities, memory by /proc or by a core file, another user's id, a library loaded into it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "tests/attack/attack.h"

#define EXEC_OF(cwd, user, more) \
	"{\"args\":[\"/bin/attack\"],\"cwd\":\"" cwd "\",\"env\":[\"PATH=/bin\"],\"user\":" user more "}"
#define ROOT "{\"uid\":0,\"gid\":0}"
#define USER "{\"uid\":1000,\"gid\":1000}"
#define WITH_CAPS ",\"capabilities\":{\"bounding\":" CAPS ",\"effective\":" CAPS ",\"permitted\":" CAPS "}"

enum { LEAKED_FD = 60, GROUP = 4242, EXECS = 400 };

static bool has(const char *printed, const char *what)
{
	return strstr(printed, what) != NULL;
}

/* A directory of the host is open in the engine. */
static void leak(int flags)
{
	int fd = open(victim(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(dup3(fd, LEAKED_FD, flags), LEAKED_FD);
	(void)hk_close(fd);
}

/* CVE-2024-21626: a descriptor that the engine, or the daemon that started it, forgot to mark. */
static bool leaked_fd_create(void)
{
	bool got;

	leak(0);
	image_script("cat /proc/self/fd/60/secret");
	got = has(run_plan(&(struct plan){ 0 }, false), SECRET);
	(void)hk_close(LEAKED_FD);
	return got;
}

static bool leaked_fd_exec(void)
{
	bool got;

	leak(0);
	image_script("cat /proc/self/fd/60/secret");
	got = has(exec_plan(&(struct plan){ 0 }, EXEC_OF("/", ROOT, "")), SECRET);
	(void)hk_close(LEAKED_FD);
	return got;
}

/* CVE-2024-21626: the working directory is one that the engine has open until execve. */
static bool cwd_by_fd_create(void)
{
	bool got;

	leak(O_CLOEXEC);
	image_script("cat ./secret");
	got = has(run_plan(&(struct plan){ .cwd = "/proc/self/fd/60" }, false), SECRET);
	(void)hk_close(LEAKED_FD);
	return got;
}

static bool cwd_by_fd_exec(void)
{
	bool got;

	leak(O_CLOEXEC);
	image_script("cat ./secret");
	got = has(exec_plan(&(struct plan){ 0 }, EXEC_OF("/proc/self/fd/60", ROOT, "")), SECRET);
	(void)hk_close(LEAKED_FD);
	return got;
}

/* CVE-2022-2989: the engine's supplementary groups open files to a user without any. */
static bool inherited_groups(void)
{
	static const gid_t group = GROUP;

	assert_int_equal(setgroups(1, &group), 0);
	image_script("cat /etc/of-the-group");
	image_file("etc/of-the-group", SECRET "\n");
	assert_int_equal(chown(at_image("etc/of-the-group"), 0, GROUP), 0);
	assert_int_equal(chmod(at_image("etc/of-the-group"), 0640), 0);
	return has(run_plan(&(struct plan){ .user = USER }, false), SECRET) ||
	       has(exec_plan(&(struct plan){ .user = USER }, EXEC_OF("/", USER, "")), SECRET);
}

static void inherit_chown(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	assert_int_equal(syscall(SYS_capget, &head, data), 0);
	data[0].inheritable |= 1U << CAP_CHOWN;
	assert_int_equal(syscall(SYS_capset, &head, data), 0);
	assert_int_equal(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0), 0);
}

/* CVE-2022-24769, CVE-2022-29162: an inheritable capability becomes a real one by a program whose file says so. */
static bool inherited_capabilities(void)
{
	const struct vfs_cap_data chown_caps = { .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
		.data = { { .inheritable = 1U << CAP_CHOWN } } };

	inherit_chown();
	image_script("/bin/chown 0 /tmp/mine && echo " SECRET);
	image_file("tmp/mine", "");
	assert_int_equal(chown(at_image("tmp/mine"), 1000, 1000), 0);
	image_link("chown-itself", "bin/chown");
	assert_int_equal(rename(at_image("bin/busybox"), at_image("bin/chown-itself")), 0);
	assert_int_equal(setxattr(at_image("bin/chown-itself"), "security.capability", &chown_caps, XATTR_CAPS_SZ_2, 0), 0);
	image_link("chown-itself", "bin/busybox");
	return has(run_plan(&(struct plan){ .user = USER }, false), SECRET) ||
	       has(exec_plan(&(struct plan){ .user = USER }, EXEC_OF("/", USER, WITH_CAPS)), SECRET);
}

/* CVE-2026-30892: a user that is no number is read as one, and that is root. */
static bool user_is_no_number(void)
{
	image_script("[ $(id -u) = 0 ] && echo " SECRET);
	return has(exec_plan(&(struct plan){ .user = USER }, EXEC_OF("/", "{\"uid\":\"nobody\",\"gid\":1000}", "")), SECRET) ||
	       has(exec_plan(&(struct plan){ .user = USER }, EXEC_OF("/", "{\"uid\":4294967296,\"gid\":1000}", "")), SECRET);
}

/* Tries every process in its pid namespace that is the engine's: its exe, its descriptors, its directory, its memory. */
static const char thief[] = "for p in /proc/[0-9]*; do\n"
			    "read -r name <$p/comm\n"
			    "case $name in husk:init|test-attack*)\n"
			    "for f in exe cwd root fd/0 fd/3; do [ -e $p/$f ] && echo \"stolen $f\"; done\n"
			    "for f in environ maps mem; do (: <$p/$f) && echo \"stolen $f\"; done\n"
			    "/bin/tracer ${p#/proc/};;\n"
			    "esac; done 2>/dev/null\n";

/* A file of the build, as an executable of the image. */
static void image_program(const char *from, const char *name)
{
	char *bytes = NULL;
	size_t len;
	int fd = open(at_image(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(hk_read_file_alloc(AT_FDCWD, from, 1 << 24, &bytes, &len), 0);
	assert_int_equal(hk_write_full(fd, bytes, len), 0);
	(void)hk_close(fd);
	free(bytes);
}

/* CVE-2016-9962: a container that waits for its start is visible in the pid namespace it joined, and is a copy of the engine. */
static bool setup_child_created(void)
{
	struct box *a, *b;
	bool got;

	image_script(thief);
	image_program(TRACER, "bin/tracer");
	a = plan_box(&(struct plan){ .args = "\"sleep\",\"100\"" });
	assert_int_equal(box_create(a, false), 0);
	assert_int_equal(box_start(a), 0);
	b = plan_box(&(struct plan){ .args = "\"true\"",
	    .namespaces = plan_text("{\"type\":\"pid\",\"path\":\"/proc/%d/ns/pid\"},", a->init.pid) });
	assert_int_equal(box_create(b, false), 0);
	assert_int_equal(box_exec(a, EXEC_OF("/", ROOT, ""), false), 0);
	(void)box_wait_extra(a);
	got = has(box_text(a), "stolen");
	print_message("%s", a->text);
	assert_true(has(a->text, "tried")); /* it was seen */
	box_free(b);
	box_free(a);
	return got;
}

/* The same between the change of rights and execve, over and over. */
static bool setup_child_exec(void)
{
	struct box *b;
	bool got = false;

	/* What is open stays what it was, while the process may have become the container's program by the next look. */
	image_script("while :; do for p in /proc/[0-9]*; do\n"
		     "read -r name <$p/comm\n"
		     "case $name in test-attack*)\n"
		     "{ case $(readlink /proc/self/fd/9) in ''|*busybox) ;; *) echo stolen;; esac; } 9<$p/exe;;\n"
		     "esac; done; done 2>/dev/null");
	b = plan_box(&(struct plan){ 0 });
	assert_int_equal(box_create(b, false), 0);
	assert_int_equal(box_start(b), 0);
	for (int i = 0; i < EXECS && !got; i++) {
		assert_int_equal(
		    box_exec(b, "{\"args\":[\"true\"],\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"user\":" ROOT "}", false), 0);
		assert_int_equal(box_wait_extra(b), 0);
		got = has(box_text(b), "stolen");
	}
	box_free(b);
	return got;
}

/* A core file of a set-up child is a copy of the engine's memory, in the container. */
static bool core_of_setup_child(void)
{
	const struct rlimit all = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	siginfo_t si = { 0 };
	char pattern[128] = "";
	struct box *b;

	/* Another pattern would hand the engine's memory to a program of the host: not for a test. */
	assert_true(hk_read_file_at(AT_FDCWD, "/proc/sys/kernel/core_pattern", pattern, sizeof(pattern)) > 0);
	if (getenv("HUSK_BREAK") && strcmp(pattern, "core\n") != 0 && strcmp(pattern, "core") != 0) {
		print_message("SKIP: kernel.core_pattern is %s\n", pattern);
		skip();
	}
	assert_int_equal(setrlimit(RLIMIT_CORE, &all), 0);
	b = plan_box(&(struct plan){ .args = "\"true\"", .namespaces = "{\"type\":\"ipc\"}," }); /* no PID 1, which would ignore it */
	assert_int_equal(box_create(b, false), 0);
	assert_int_equal(hk_child_kill(&b->init, SIGSEGV), 0);
	assert_int_equal(waitid(P_PID, (id_t)b->init.pid, &si, WEXITED | WNOWAIT), 0);
	(void)box_wait(b);
	box_free(b);
	return si.si_code == CLD_DUMPED;
}

/* CVE-2019-14271: a lookup of the user's home loads a library of the image into the engine. */
static bool library_of_the_image(void)
{
	image_dir("lib");
	image_file("etc/nsswitch.conf", "passwd: attack\n");
	image_program(NSS_ATTACK, "lib/libnss_attack.so.2");
	(void)run_plan(&(struct plan){ .args = "\"true\"", .user = USER }, false);
	return access(at_image("tmp/loaded"), F_OK) == 0;
}

static const struct attack rows[] = {
	ROW("leaked-fd-create", "close-fds", leaked_fd_create),
	ROW("leaked-fd-exec", "close-fds", leaked_fd_exec),
	ROW_REFUSED("cwd-by-fd-create", "cwd-inside", cwd_by_fd_create, "make working directory /proc/self/fd/60"),
	ROW_REFUSED("cwd-by-fd-exec", "cwd-inside", cwd_by_fd_exec, "is outside of the container's root"),
	ROW("inherited-groups", "groups", inherited_groups),
	ROW("inherited-capabilities", "inheritable", inherited_capabilities),
	ROW_REFUSED("user-is-no-number", "strict-id", user_is_no_number, "user.uid"),
	ROW_REFUSED("setup-child-created", "non-dumpable", setup_child_created, ""),
	ROW_REFUSED("setup-child-exec", "non-dumpable", setup_child_exec, ""),
	ROW_REFUSED("core-of-setup-child", "non-dumpable", core_of_setup_child, ""),
	ROW("library-of-the-image", "own-passwd", library_of_the_image),
};

int main(int argc, char **argv)
{
	return attack_main(argc, argv, rows, HK_ARRAY_SIZE(rows));
}
