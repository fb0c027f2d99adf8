/* SPDX-License-Identifier: Apache-2.0
 *
 * How recovery decides about one write: what lies there, what the header ring has of it, and the decision
 * table (docs/disk-format.md). Pure functions, so that whoever reads a log judges it as recovery does.
 */
#ifndef HG_WAL_LOG_RECOVERY_H
#define HG_WAL_LOG_RECOVERY_H

#include "dataplane/wal/log_block.h"

/* What lies where write n should be. */
enum hg_log_write_found {
    HG_LOG_FOUND_CHAINED,   /* write n, all of it, and it names its predecessor's header */
    HG_LOG_FOUND_UNCHAINED, /* write n, all of it, of a life not older than its predecessor's, naming another
                               one */
    HG_LOG_FOUND_STALE,     /* a valid header, but of another sequence or place, or of a life before its
                               predecessor's */
    HG_LOG_FOUND_ROTTEN,    /* its header, which names its predecessor's; of the batches, all headers and all
                               local records are there, not all bytes (hg_log_payload_is_listed) */
    HG_LOG_FOUND_BAD,       /* anything else: zeros, torn, rotten */
    HG_LOG_FOUND_COUNT,
};

/* What the header ring has of write n. */
enum hg_log_copy_found {
    HG_LOG_COPY_ABSENT,     /* nothing, or another write */
    HG_LOG_COPY_UNREADABLE, /* it can't be read: any of the others */
    HG_LOG_COPY_ONLY,   /* a header of write n, but the payload on disk or the predecessor does not fit it */
    HG_LOG_COPY_ROTTEN, /* a header of write n that the predecessor fits, and the payload as above */
    HG_LOG_COPY_FITS,   /* a header of write n that payload and predecessor fit */
    HG_LOG_COPY_COUNT,
};

/* How far write n is from D, the newest write known to have been durable. */
enum hg_log_reach {
    HG_LOG_REACH_SETTLED, /* further below D than unflushed writes can be, and other nodes may have its
                             batches */
    HG_LOG_REACH_DURABLE, /* n <= D else */
    HG_LOG_REACH_BEYOND,  /* n > D */
    HG_LOG_REACH_COUNT,
};

enum hg_log_verdict {
    HG_LOG_VERDICT_PRESENT,      /* take it; the ring copy is rewritten if it is bad or missing */
    HG_LOG_VERDICT_PRESENT_COPY, /* take it under the header from the ring; the header block is rewritten */
    HG_LOG_VERDICT_MARKED,       /* corrupt, and it is known what it has: the walk goes on, nothing of it is
                                    served, and peers are asked for what is missing (log_heal.h) */
    HG_LOG_VERDICT_MARKED_COPY,  /* likewise under the header from the ring; the header block is rewritten */
    HG_LOG_VERDICT_FORK,         /* fault: stop, people must decide */
    HG_LOG_VERDICT_CORRUPT,      /* fault: was durable; repair from peers, never truncate */
    HG_LOG_VERDICT_TORN,         /* ends the log; valid writes after it are discarded */
    HG_LOG_VERDICT_END,          /* ends the log: a block of an earlier cycle, or of an earlier life's tail */
    HG_LOG_VERDICT_UNREADABLE,   /* fault: not known, for a block that decides can't be read; no end, and not
                                    corrupt: another try may succeed */
};

/* The superblock has numbers that no log reaches. `restarts_max`: of all its copies. */
bool hg_log_superblock_is_absurd(const struct hg_log_superblock *superblock, uint32_t restarts_max);

enum hg_log_verdict hg_log_recovery_verdict(enum hg_log_write_found write, enum hg_log_copy_found copy,
                                            enum hg_log_reach reach);
/* What of a verdict stands where blocks of the write can't be read, and so were judged as bad ones: that it
 * is there, or that it is known what it has. */
enum hg_log_verdict hg_log_verdict_unread(enum hg_log_verdict verdict);
enum hg_log_reach hg_log_recovery_reach(uint64_t sequence, uint64_t durable, bool may_mark);
/* Of a payload that is not as `header` says: every batch's header is whole, and its chain covers that; and
 * all blocks that local records lie in are as they were written. So it is known what the write has. */
bool hg_log_payload_is_listed(const struct hg_log_write_header *header, const uint8_t *payload);

/* Where a walk from the tail expects the next write, and what that write must follow. */
struct hg_log_walk {
    const uint8_t *log_uuid; /* 16 bytes, the caller's */
    uint64_t segment_bytes;
    uint32_t write_bytes_max;
    uint32_t offset; /* in its segment */
    uint64_t sequence;
    uint64_t segment;  /* absolute number */
    bool has_previous; /* false for the first of a walk and behind a hole: what it follows is not known,
                          unless it is write 1 */
    uint32_t previous_crc32c;
    uint32_t previous_restarts; /* of the newest before it that is known; 0 = none */
};

/* Bytes of the expected write that must be in memory to judge it: by its own header, which lies at `at`, and
 * by the ring's copy (NULL = none). They never reach beyond the segment. */
uint32_t hg_log_walk_bytes(const struct hg_log_walk *walk, const uint8_t *at,
                           const struct hg_log_write_header *copy);
/* `at`: as many bytes as hg_log_walk_bytes says. */
enum hg_log_write_found hg_log_walk_judge(const struct hg_log_walk *walk, const uint8_t *at);
/* `copy`: a valid header of this log and of the expected sequence, or NULL. */
enum hg_log_copy_found hg_log_walk_judge_copy(const struct hg_log_walk *walk,
                                              const struct hg_log_write_header *copy, const uint8_t *at);
/* Goes on behind the expected write, which has this header. */
void hg_log_walk_take(struct hg_log_walk *walk, const struct hg_log_write_header *header);
/* Goes on behind a hole that begins with the expected write. */
void hg_log_walk_pass(struct hg_log_walk *walk, const struct hg_log_hole *hole);

#endif
