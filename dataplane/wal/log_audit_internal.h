/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of an audit, shared by its sources only: log_audit.c (the walk), log_audit_blocks.c
 * (superblocks, header ring, reading), log_audit_streams.c (what is in a write).
 */
#ifndef HG_WAL_LOG_AUDIT_INTERNAL_H
#define HG_WAL_LOG_AUDIT_INTERNAL_H

#include "dataplane/wal/log_audit.h"
#include "dataplane/wal/log_growth.h"
#include "dataplane/wal/log_recovery.h"

#define HG_LOG_AUDIT_TRIES                                                                                   \
    4u /* before what looks damaged is called so, where it may be written meanwhile                          \
        */
#define HG_LOG_AUDIT_STREAMS                                                                                 \
    (2u << 14) /* places of the table of streams: a power of two above HG_STREAMS_MAX */

#define HG_LOG_AUDIT_WINDOW_BYTES (8u << 20) /* holds the largest write, and the ring */

/* A stream as the writes so far leave it. */
struct hg_log_audit_stream {
    uint64_t stream;
    uint64_t lsn; /* end; 0 = not known */
    uint8_t chain[16];
    uint64_t sequence; /* of the last write that says so */
};

struct hg_log_audit {
    const struct hg_log_audit_config *config;
    struct hg_log_audit_result *result;
    struct hg_log_geometry geometry;
    struct hg_log_superblock *superblocks;
    struct hg_log_write_header *ring;
    struct hg_log_write_header *extent; /* of the damaged write at hand: the window it lay in may go */
    uint64_t ring_sequence[HG_LOG_RING_BLOCKS]; /* 0 = no valid copy */
    uint64_t durable_begin;                     /* D when reading began */
    uint64_t bytes_total;

    uint8_t *window;
    uint64_t window_offset;
    uint64_t window_bytes;

    struct hg_log_walk walk;
    uint64_t tail_segment;
    uint64_t doubt_sequence; /* the write that is read again, and how often it was */
    uint32_t doubt_tries;
    uint64_t damaged_sequence; /* newest write that is not whole: explains a gap in a stream */
    uint64_t lost_sequence;    /* newest write in a loss that was accepted: explains one too */
    uint64_t live_looked_segment;

    struct hg_log_audit_stream *streams;
    uint32_t stream_count;
    uint8_t *raw; /* of one batch */
};

/* log_audit.c */
void hg_log_audit_report(struct hg_log_audit *audit, const struct hg_log_finding *finding);
/* A start refuses the log for this. */
void hg_log_audit_refuse(struct hg_log_audit *audit, enum hg_log_outcome outcome);
/* A finding about the expected write, to be completed. */
struct hg_log_finding hg_log_audit_finding_here(const struct hg_log_audit *audit,
                                                enum hg_log_finding_kind kind);

/* log_audit_blocks.c */
/* False: no superblock to work with; said why. */
bool hg_log_audit_superblocks(struct hg_log_audit *audit);
void hg_log_audit_ring(struct hg_log_audit *audit);
/* Looks at the superblock anew: true when the tail moved beyond the expected write. */
bool hg_log_audit_tail_moved(struct hg_log_audit *audit);
/* The newest write that the ring speaks of now. */
uint64_t hg_log_audit_ring_newest(struct hg_log_audit *audit);
uint64_t hg_log_audit_file_offset(const struct hg_log_audit *audit, uint64_t segment, uint32_t offset);
/* `bytes` of a segment in memory, fewer where it ends before. NULL: *error is -errno. */
const uint8_t *hg_log_audit_at(struct hg_log_audit *audit, uint64_t segment, uint32_t offset, uint32_t bytes,
                               int *error);
void hg_log_audit_window_drop(struct hg_log_audit *audit);
void hg_log_audit_pause(struct hg_log_audit *audit);

/* log_audit_streams.c */
void hg_log_audit_streams_forget(struct hg_log_audit *audit);
/* The batches of the expected write, which is whole. */
void hg_log_audit_batches(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                          const uint8_t *payload);
/* The batches of the expected write that can still be told, which is not whole: those that are lost are
 * named, the others count for their streams. */
void hg_log_audit_batches_left(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                               const uint8_t *payload);

#endif
