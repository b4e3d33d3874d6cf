/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/attack/test_files.c — images and neighbours that try to have the engine mount, make, mask or write something where it should not.
 * Where an attack is a race it is run in a loop against renameat2(RENAME_EXCHANGE); where the moment is known (after the mounts, before
 * the masks) a createRuntime hook stands for the neighbour who was quick enough.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <sys/mount.h>

#include "oci/files.h"
#include "oci/lsm.h"
#include "oci/setup.h"
#include "tests/attack/attack.h"

#define PROC "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}"

/* With the defence off the loop ends as soon as the race is won; how long that takes is the scheduler's business. */
enum { RACES = 100, RACES_UNTIL_WON = 3000 };

static int races(void)
{
	return getenv("HUSK_BREAK") ? RACES_UNTIL_WON : RACES;
}

/* A hook that runs after the mounts and before the pivot, in the image's directory on the host. */
static const char *hook(const char *script)
{
	return plan_text("\"hooks\":{\"createRuntime\":[{\"path\":\"/bin/busybox\",\"args\":[\"busybox\",\"sh\",\"-c\",\"cd %s && %s\"]}]},",
	    at_image("."), script);
}

static bool has(const char *printed, const char *what)
{
	return strstr(printed, what) != NULL;
}

/* CVE-2021-30465: the destination was a directory of the image when looked at, and a link to the host when mounted on. */
static bool mount_destination_race(void)
{
	const struct plan p = { .mounts = PROC ",{\"destination\":\"/volume\",\"type\":\"tmpfs\",\"source\":\"raced\"}" };
	bool escaped = false;
	pid_t swapper;

	image_script("busybox grep -q ' raced ' /proc/self/mountinfo && echo inside || echo mounted-elsewhere");
	image_dir("volume");
	image_link(victim(), "evil");
	swapper = swap_begin(at_image("."), "volume", "evil");
	for (int i = 0; i < races() && !escaped; i++)
		escaped = has(run_plan(&p, false), "mounted-elsewhere");
	swap_end(swapper);
	return escaped;
}

/* CVE-2024-45310: the directories made for a destination come to be on the host. */
static bool mount_mkdir_race(void)
{
	const struct plan p = { .args = "\"true\"",
		.mounts = PROC ",{\"destination\":\"/volume/made/here\",\"type\":\"tmpfs\",\"source\":\"t\"}" };
	pid_t swapper;

	image_dir("volume");
	image_link(victim(), "evil");
	swapper = swap_begin(at_image("."), "volume", "evil");
	for (int i = 0; i < races() && !is_victim_changed(); i++)
		(void)run_plan(&p, false);
	swap_end(swapper);
	return is_victim_changed();
}

/* The same of a bind's source: a procfs when it was judged fit for /proc, and the attacker's directory when mounted. */
static bool bind_source_race(void)
{
	const struct plan p = { .mounts = plan_text("{\"destination\":\"/proc\",\"type\":\"bind\",\"source\":\"%s\",\"options\":[\"rbind\"]}",
				    at_base("source")) };
	bool is_covered = false;
	pid_t swapper;

	image_script("[ -e /proc/self/status ] && echo proc || echo proc-is-the-attackers");
	assert_int_equal(mkdir(at_base("fake"), 0755), 0);
	assert_int_equal(symlink("/proc", at_base("source")), 0);
	assert_int_equal(symlink("fake", at_base("other")), 0);
	swapper = swap_begin(base, "source", "other");
	for (int i = 0; i < races() && !is_covered; i++)
		is_covered = has(run_plan(&p, false), "proc-is-the-attackers");
	swap_end(swapper);
	return is_covered;
}

/* CVE-2026-41579: device nodes and links are made where the image's /dev leads to. */
static bool dev_is_a_link(void)
{
	const struct plan p = { .args = "\"true\"" };

	assert_int_equal(rmdir(at_image("dev")), 0);
	image_link(victim(), "dev");
	(void)run_plan(&p, false);
	return is_victim_changed();
}

/*
 * CVE-2019-19921, CVE-2023-27561: /proc is a link into a volume; once procfs is mounted where it leads, a neighbour swaps the volume's
 * directories, and the masks find nothing to cover.
 */
static bool proc_is_a_link(void)
{
	const struct plan p = { .top = hook("mv x z && mv y x"), .linux_ = "\"maskedPaths\":[\"/proc/meminfo\"]," };

	image_script("busybox grep -q MemTotal /z/p/meminfo && echo unmasked");
	assert_int_equal(rmdir(at_image("proc")), 0);
	image_link("x/p", "proc");
	image_dir("x");
	image_dir("x/p");
	image_dir("y");
	image_dir("y/p");
	return has(run_plan(&p, false), "unmasked");
}

/* CVE-2025-31133: /dev/null of the container is a link to what the mask should hide. */
static bool mask_by_false_null(void)
{
	const struct plan p = { .top = hook("ln -sf /etc/hidden dev/null"), .linux_ = "\"maskedPaths\":[\"/etc/hidden\"]," };

	image_script("cat /etc/hidden");
	image_file("etc/hidden", SECRET "\n");
	return has(run_plan(&p, false), SECRET);
}

/* CVE-2025-52565: /dev/pts/0, swapped by a neighbour that shares /dev, comes to be on /dev/console before anything is masked. */
static bool console_swap(void)
{
	const struct plan p = { .mounts = plan_text(PROC ",{\"destination\":\"/dev\",\"type\":\"bind\",\"source\":\"%s\",\"options\":[\"rbind\"]},"
		"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"newinstance\",\"ptmxmode=0666\"]}",
		at_base("shared")) };
	bool is_swapped = false;
	pid_t swapper;

	image_script("[ -f /dev/console ] && cat /dev/console >/tmp/found");
	assert_int_equal(mkdir(at_base("shared"), 0755), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mkdir(at_base(i ? "shared/evil" : "shared/pts"), 0755), 0);
		assert_int_equal(symlink(text("%s/secret", victim()), at_base(i ? "shared/evil/0" : "shared/pts/0")), 0);
	}
	swapper = swap_begin(at_base("shared"), "pts", "evil");
	for (int i = 0; i < races() && !is_swapped; i++) {
		(void)run_plan(&p, true);
		is_swapped = access(at_image("tmp/found"), F_OK) == 0;
	}
	swap_end(swapper);
	return is_swapped;
}

/* CVE-2025-52881: the write of a sysctl goes to whatever is at /proc/sys in the container. */
static bool sysctl_redirected(void)
{
	const struct plan p = { .args = "\"true\"", .mounts = "",
		.linux_ = "\"sysctl\":{\"kernel.domainname\":\"" SECRET "\"}," };
	char found[64] = "";

	image_dir("proc/sys");
	image_dir("proc/sys/kernel");
	image_file("proc/sys/kernel/domainname", "of the image");
	(void)run_plan(&p, false);
	assert_true(hk_read_file_at(AT_FDCWD, at_image("proc/sys/kernel/domainname"), found, sizeof(found)) > 0);
	return has(found, SECRET);
}

/* The child of lsm_redirected: a neighbour has mounted over /proc after the engine opened its own. */
static int apply_profile(void)
{
	struct oci_setup s = { .proc_fd = -1 };
	struct hk_err err = { 0 };
	char found[64] = "";

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || oci_procfs_open(&s, &err) < 0 ||
	    mount("fake", "/proc", "tmpfs", 0, NULL) < 0 || mkdir("/proc/thread-self", 0755) < 0 ||
	    mkdir("/proc/thread-self/attr", 0755) < 0)
		return 2;
	write_text("/proc/thread-self/attr", "exec", "nothing yet");
	(void)oci_lsm_apply(s.proc_fd, "a-profile", NULL, &err);
	if (hk_read_file_at(AT_FDCWD, "/proc/thread-self/attr/exec", found, sizeof(found)) <= 0)
		return 2;
	return has(found, "exec a-profile");
}

/* CVE-2019-16884, CVE-2025-52881: the profile is written to a file that only looks like attr/exec, and the program runs unconfined. */
static bool lsm_redirected(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(apply_profile());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 1;
}

/* CVE-2019-16884: the image declares a VOLUME over /proc, by a name that only it knows to lead there. */
static bool volume_over_proc(void)
{
	const struct plan p = { .mounts = PROC ",{\"destination\":\"/data\",\"type\":\"tmpfs\",\"source\":\"volume\"}" };

	image_script("[ -e /proc/self/attr ] || echo covered");
	image_link("proc", "data");
	return has(run_plan(&p, false), "covered");
}

static const struct attack rows[] = {
	ROW("mount-destination-race", "mount-dest", mount_destination_race),
	ROW("mount-mkdir-race", "mkdir-inside", mount_mkdir_race),
	ROW("bind-source-race", "bind-source", bind_source_race),
	ROW("dev-is-a-link", "dev-inside", dev_is_a_link),
	ROW_REFUSED("proc-is-a-link", "proc-real-dir", proc_is_a_link, "/proc: it must be a directory, not a link"),
	ROW_REFUSED("volume-over-proc", "proc-guard", volume_over_proc, "mount on /data: /proc must not be covered"),
	ROW("mask-by-false-null", "mask-null", mask_by_false_null),
	ROW("console-swap", "console-peer", console_swap),
	ROW("sysctl-redirected", "own-procfs", sysctl_redirected),
	ROW_REFUSED("lsm-redirected", "own-procfs", lsm_redirected, ""),
};

int main(int argc, char **argv)
{
	return attack_main(argc, argv, rows, HK_ARRAY_SIZE(rows));
}
