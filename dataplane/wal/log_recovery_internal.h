/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of a recovery, for the files that it is made of: log_recovery_begin.c has its first phases,
 * log_recovery.c the walk and the end, log_recovery_read.c its reads.
 */
#ifndef HG_WAL_LOG_RECOVERY_INTERNAL_H
#define HG_WAL_LOG_RECOVERY_INTERNAL_H

#include "dataplane/wal/log_internal.h"
#include "dataplane/wal/log_recovery.h"
#include "dataplane/wal/log_recovery_read.h"

enum hg_log_recovery_phase {
    HG_RECOVERY_START,
    HG_RECOVERY_SUPERBLOCKS,
    HG_RECOVERY_RING,
    HG_RECOVERY_SCAN,
    HG_RECOVERY_EVIDENCE,
    HG_RECOVERY_RESTORE,
    HG_RECOVERY_SETTLE,
    HG_RECOVERY_SETTLING,
    HG_RECOVERY_REPAIR,
    HG_RECOVERY_REPAIRING,
    HG_RECOVERY_FINISHING
};

struct hg_log_recovery {
    enum hg_log_recovery_phase phase;
    struct hg_log_recovery_io io;

    /* The next write: expected at (segment, offset). */
    uint64_t sequence;
    uint64_t segment;
    uint32_t offset;
    bool has_previous;
    uint32_t previous_crc32c;
    uint32_t previous_restarts;
    uint64_t head_segment;
    bool hole_is_open; /* no table of streams came since the last hole: what they had in it may be anything */

    uint64_t durable; /* D */
    uint32_t restarts_max;
    uint32_t numbers_unread; /* generations and restarts that a superblock copy which can't be read may have
                                used beyond all others */
    uint64_t hlc_ceiling;
    uint64_t ring_sequence[HG_LOG_RING_BLOCKS]; /* of the valid copy in this slot of the mirror, 0 = none */
    bool ring_is_dirty[HG_LOG_RING_BLOCKS];
    bool ring_is_unread[HG_LOG_RING_BLOCKS]; /* it can't be read: this slot may have been any write's */
    uint32_t ring_slot;                      /* next to look at for repair */
    uint64_t restore_sequence;
    bool restore_is_read;

    /* The search behind a bad write for headers that prove it had been durable. */
    enum hg_log_write_found found;
    enum hg_log_copy_found copy;
    uint64_t evidence_segment;
    uint64_t evidence_offset;
    uint64_t evidence_left;
    bool evidence_is_done;

    /* Blocks that can't be read, and that decide; HG_LOG_READABLE: there is none. */
    uint64_t superblock_unread; /* its pair may have been in force, and an older one is */
    uint64_t write_unread;      /* of the next write, as far as it was judged */
    uint64_t evidence_unread;   /* behind it, or of the ring: it may have proved that it was durable */

    bool torn_is_told;
    uint64_t marked[HG_LOG_HEAL_WRITES_MAX];
    uint32_t marked_count;
    bool wants_evidence;
    enum hg_log_verdict verdict;
};

/* What every valid header tells, wherever it was found. */
static inline void hg_log_recovery_learn(struct hg_log_recovery *r, const struct hg_log_write_header *header)
{
    r->durable = hg_max_u64(r->durable, header->durable_sequence);
    r->restarts_max = (uint32_t)hg_max_u64(r->restarts_max, header->restarts);
}

/* HG_RECOVERY_START: asks for the superblocks. False: the disk takes nothing now, or it failed. */
bool hg_log_recovery_superblocks_read(struct hg_log *log);
/* They are here: takes the one in force, and asks for the ring. False: likewise. */
bool hg_log_recovery_superblocks_take(struct hg_log *log);
/* It is here: learns what its headers prove. */
bool hg_log_recovery_ring_take(struct hg_log *log);
/* If it has just failed: starting again does not help, an operator has to look. */
void hg_log_recovery_refuse(struct hg_log *log);

#endif
