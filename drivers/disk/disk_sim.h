/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulated disk: memory, virtual time, one seed, faults on demand. The caller owns time: operations
 * complete in poll() once hg_disk_sim_time_set() has passed their completion time, those due together in an
 * order that the seed shuffles. Before the first hg_disk_sim_time_set the disk is instantaneous, so that
 * blocking tools (hg_log_format) work on it.
 *
 * What a crash does: every 512-byte sector written and not covered by a flush is by itself old, new, torn (a
 * prefix new, the rest old) or zero; operations in flight either vanish or land partly; then the disk is idle
 * and can be used again. With `is_dsync` a write takes its own time and a flush's, and no crash touches it
 * once its completion was reaped. The device also checks its callers: a buffer changed between submission and
 * completion is an assertion.
 */
#ifndef HG_DISK_SIM_H
#define HG_DISK_SIM_H

#include "drivers/disk/disk.h"

#define HG_DISK_SIM_SECTOR_BYTES 512u

struct hg_disk_sim_config {
    uint64_t size_bytes; /* multiple of HG_DISK_BLOCK_BYTES; memory is taken as it is touched, twice */
    uint32_t depth;      /* operations in flight, 1..1024 */
    uint64_t seed;
    /* Completion time of an operation: uniform in [min, max] after its submission. */
    uint64_t write_ns_min, write_ns_max;
    uint64_t read_ns_min, read_ns_max;
    uint64_t flush_ns_min, flush_ns_max;
};

struct hg_disk_sim_stats {
    uint64_t writes;
    uint64_t reads;
    uint64_t flushes;
    uint64_t crashes;
    uint64_t writes_lost; /* acknowledged, and not where they belong */
    uint64_t reads_wrong;
};

/* A zeroed disk, or NULL when there is no memory. Close it with disk->close(disk). */
struct hg_disk *hg_disk_sim_create(const struct hg_disk_sim_config *config);

/* The file got longer: zeros, durable. Only an idle disk. */
void hg_disk_sim_extend(struct hg_disk *disk, uint64_t size_bytes);

/* Virtual time; must not go back. */
void hg_disk_sim_time_set(struct hg_disk *disk, uint64_t now_ns);
/* When the next operation completes; HG_TIME_NEVER when none is in flight. */
uint64_t hg_disk_sim_next_ns(const struct hg_disk *disk);

/* Power loss. The caller's buffers are not touched and may be gone already. */
void hg_disk_sim_crash(struct hg_disk *disk);
/* The process died, the power stayed: what was handed over completes, nobody hears of it. */
void hg_disk_sim_kill(struct hg_disk *disk);
/* A copy of everything: content, cache, generator; only an idle disk (nothing in flight) can be cloned. */
struct hg_disk *hg_disk_sim_clone(const struct hg_disk *disk);

/* ---- faults; `nth` counts from now, 1 = the next submitted operation of the kind ---- */
/* It fails with -error. A failed write has written some of its sectors; after a failed flush later ones
 * succeed, but the data it should have made durable may be gone at the next crash, as with real kernels. */
void hg_disk_sim_fail(struct hg_disk *disk, enum hg_disk_op op, uint64_t nth, int error);
/* Every operation of the kind from now on fails with -error; 0 = stop that. */
void hg_disk_sim_fail_all(struct hg_disk *disk, enum hg_disk_op op, int error);
/* It writes only the first `bytes` and says so. */
void hg_disk_sim_short_write(struct hg_disk *disk, uint64_t nth, uint32_t bytes);
/* It is acknowledged and never done. */
void hg_disk_sim_lose_write(struct hg_disk *disk, uint64_t nth);
/* It is acknowledged, and done `blocks` blocks further on (beyond the end: from the beginning). */
void hg_disk_sim_misplace_write(struct hg_disk *disk, uint64_t nth, uint64_t blocks);
/* It gives what lies `blocks` blocks further on; 0 = what it should, but for one bit. */
void hg_disk_sim_wrong_read(struct hg_disk *disk, uint64_t nth, uint64_t blocks);
/* Bit rot, at rest. */
void hg_disk_sim_flip_bit(struct hg_disk *disk, uint64_t offset, uint32_t bit);

/* The block that has this byte can't be read, -EIO, until something is written to it. */
#define HG_DISK_SIM_BAD_BLOCKS_MAX 64u
void hg_disk_sim_bad_block(struct hg_disk *disk, uint64_t offset);
/* Other bytes, at rest. */
void hg_disk_sim_overwrite(struct hg_disk *disk, uint64_t offset, const void *from, uint32_t bytes);
/* What lies there. False: a read of it fails. */
bool hg_disk_sim_look(struct hg_disk *disk, uint64_t offset, void *to, uint32_t bytes);

/* The content as a read would see it, all of it in memory from then on; writes through it are at once durable
 * (call hg_disk_sim_settle after). */
uint8_t *hg_disk_sim_bytes(struct hg_disk *disk);
/* Makes all content durable, as a flush of everything would. */
void hg_disk_sim_settle(struct hg_disk *disk);

void hg_disk_sim_stats_get(const struct hg_disk *disk, struct hg_disk_sim_stats *stats);

#endif
