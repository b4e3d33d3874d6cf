/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_calc.h — OCI's resource numbers into what the kernel's cgroup files take. Pure: no file is touched.
 * The formulas are the ones runc and crun agree on, so that a pod gets the same shares under each of them.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "oci/spec_resources.h"

/* cpu.shares (2..262144) -> cpu.weight (1..10000) by the logarithmic formula: 2 -> 1, 1024 -> 100, 262144 -> 10000; 0 -> 0 (unset). */
uint64_t cg_cpu_weight(uint64_t shares);
/* blkio weight (10..1000) -> io.weight (1..10000); 0 -> 0. */
uint64_t cg_io_weight(uint64_t blkio_weight);

enum { CG_NUM_MAX = 48 };
/* "max" for a negative value. */
void cg_limit_text(int64_t v, char buf[CG_NUM_MAX]);
/* One line for cpu.max: "Q P", "Q" (keeps the period the file has), "max P"; `current` is the file's text, used when only the period is named. */
int cg_cpu_max(const struct oci_opt_i64 *quota, const struct oci_opt_u64 *period, const char *current, char buf[CG_NUM_MAX]);

enum cg_swap { CG_SWAP_UNSET, CG_SWAP_SET, CG_SWAP_NO_LIMIT, CG_SWAP_BELOW_LIMIT };
/* OCI's swap counts memory + swap, v2's swap alone. CG_SWAP_SET fills *ret_swap (-1 = max); the later ones are errors. */
enum cg_swap cg_swap_max(const struct oci_opt_i64 *limit, const struct oci_opt_i64 *swap, int64_t *ret_swap);

/* "hugetlb.2MB.<what>"; -EINVAL when the size is not <digits>[KMG]B. */
int cg_hugetlb_file(const char *page_size, const char *what, char *buf, size_t size);
/* 2048 -> "2MB": the kernel's name of a huge page size given in kB. */
int cg_hugetlb_name(uint64_t kb, char *buf, size_t size);
/* "8:0 rbps=N"; rate 0 takes the limit away ("max"). */
int cg_io_max_line(const struct oci_dev_rate *d, const char *key, char *buf, size_t size);
/* "8:0 N" for the v1 files and for per-device weights. */
int cg_dev_line(const struct oci_dev_rate *d, uint64_t value, char *buf, size_t size);
/* "mlx5_1 hca_handle=3 hca_object=7": what is not named keeps its value. */
int cg_rdma_line(const struct oci_rdma *r, char *buf, size_t size);

/*
 * The device list a container ends up with: deny all, the spec's rules in order, the runtime's defaults. A list that ends with
 * "allow all" is kept as such. *ret is heap (caller frees). -EINVAL: *ret_bad tells which rule of the spec is no rule.
 */
int cg_device_rules(const struct oci_dev_rule *v, size_t n, struct oci_dev_rule **ret, size_t *ret_n, size_t *ret_bad);
/* devices.allow's line: "c 1:3 rwm", "a" for everything; a type 'a' rule that is not everything is asked twice, as 'b' and as 'c'. */
int cg_device_line(const struct oci_dev_rule *r, char type, char *buf, size_t size);
int cg_device_is_all(const struct oci_dev_rule *r); /* every device, every access */
/*
 * v1 keeps a list of exceptions and cannot take a part out of a wider one. Index of the first deny rule that would be void, or -1.
 */
long cg_device_v1_conflict(const struct oci_dev_rule *v, size_t n);
