/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/log.h — logrus lines (text) to containerd's log FIFO. One line is one non-blocking write; a full or reader-less
 * FIFO drops the line and counts it (`dropped=` on the next). Typed key/values, no printf: log_info("started", LOG_STR("id", id)).
 * The sink is the program's only mutable global. Logging is async-signal-safe.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum hk_level { HK_LOG_FATAL, HK_LOG_ERROR, HK_LOG_WARN, HK_LOG_INFO, HK_LOG_DEBUG };
enum hk_kv_type { HK_KV_STR, HK_KV_INT, HK_KV_HEX };
struct hk_kv {
	const char *key;
	enum hk_kv_type type;
	const char *s;
	int64_t i;
};
#define LOG_STR(k, v) ((struct hk_kv){ .key = (k), .type = HK_KV_STR, .s = (v) })
#define LOG_INT(k, v) ((struct hk_kv){ .key = (k), .type = HK_KV_INT, .i = (int64_t)(v) })
#define LOG_HEX(k, v) ((struct hk_kv){ .key = (k), .type = HK_KV_HEX, .i = (int64_t)(v) })

/* fd is borrowed, should be O_NONBLOCK; -1 = discard. */
void hk_log_init(int fd, enum hk_level max_level);
/* `namespace=` of every line, borrowed; NULL = none. */
void hk_log_namespace(const char *ns);
int hk_log_fd(void);
/* Lines lost since the last that got through. */
uint64_t hk_log_dropped(void);
void hk_log(enum hk_level level, const char *msg, const struct hk_kv *kv, int n);
bool hk_log_enabled(enum hk_level level);


#define HK_LOG_(lvl, msg, ...)                                                                             \
	hk_log(lvl, msg, (const struct hk_kv[]){ { .key = NULL }, ##__VA_ARGS__ } + 1,                     \
	    (int)(sizeof((const struct hk_kv[]){ { .key = NULL }, ##__VA_ARGS__ }) / sizeof(struct hk_kv)) - 1)
#define log_fatal(msg, ...) HK_LOG_(HK_LOG_FATAL, msg, ##__VA_ARGS__)
#define log_error(msg, ...) HK_LOG_(HK_LOG_ERROR, msg, ##__VA_ARGS__)
#define log_warn(msg, ...) HK_LOG_(HK_LOG_WARN, msg, ##__VA_ARGS__)
#define log_info(msg, ...) HK_LOG_(HK_LOG_INFO, msg, ##__VA_ARGS__)
#define log_debug(msg, ...) HK_LOG_(HK_LOG_DEBUG, msg, ##__VA_ARGS__)
