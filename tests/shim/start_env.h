/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/shim/start_env.h — runs the built program in a bundle of its own and asks the servers it starts; every server seen by start_server_pid is
 * ended in the teardown. HUSK_SHIM names another program to test.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { START_MAX_SERVERS = 8 };

struct start_env {
	char shim[PATH_MAX], dir[64], bundle[96], address[96];
	pid_t servers[START_MAX_SERVERS];
	size_t n_servers;
};

enum start_input { INPUT_BYTES, INPUT_CLOSED, INPUT_OPEN }; /* OPEN: a pipe that nobody writes to nor closes */
struct start_command {
	const char *id, *action, *cwd;
	const char *extra;  /* one more flag, or NULL */
	const char *script; /* for sh -c instead of the program itself, or NULL */
	enum start_input input;
	const void *bytes;
	size_t len;
	/* results */
	int status;
	char out[4096], err[4096];
	ssize_t n_out, n_err;
};
struct start_running {
	pid_t pid;
	int in, out, err; /* our ends */
};

/* cmocka fixtures: *state is a struct start_env. */
int start_setup(void **state);
int start_teardown(void **state);

struct start_running start_launch(const struct start_env *e, const struct start_command *c);
void start_finish(struct start_command *c, struct start_running *r);
void start_run(const struct start_env *e, struct start_command *c);

/* Task.Connect of the server at the address: its pid, remembered for the teardown. 0 when nobody serves there. */
pid_t start_server_pid(struct start_env *e, const char *address, const char *service);
bool start_is_gone(pid_t pid);
void start_end_server(pid_t pid, int sig);
/* Live processes whose command line has -group <group>. */
int start_count_servers(const char *group);

void start_write_config(const char *bundle, const char *key, const char *value);
void start_expected_address(const struct start_env *e, const char *dir, const char *group, char *ret, size_t size);
/* The answer is the bare address of the group, and nothing else was printed. */
void start_assert_bare(const struct start_env *e, const struct start_command *c, const char *group);
/* Encodes BootstrapParams for this env. */
size_t start_params(const struct start_env *e, const char *id, const char *socket_dir, const char *ttrpc, uint8_t buf[1024]);
