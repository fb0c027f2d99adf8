/* SPDX-License-Identifier: Apache-2.0
 *
 * What recovery reads and writes: its operations in flight, and the piece of a segment that it has in memory.
 * A read that fails, or is cut short, is done again block by block, and a block that fails by itself once
 * more: then it can't be read. It is remembered, and what is in memory for it is nothing that any check takes
 * for right; so of everything else that was read the same is known as if that block were bad.
 */
#ifndef HG_WAL_LOG_RECOVERY_READ_H
#define HG_WAL_LOG_RECOVERY_READ_H

#include "dataplane/wal/log_block.h"

#define HG_LOG_UNREADABLE_MAX  64u /* blocks; of a device with more nothing is believed */
#define HG_LOG_READ_DOUBTS_MAX 16u
#define HG_LOG_READABLE        UINT64_MAX /* no block can't be read */

/* A read that failed: what is left of it to be read block by block. */
struct hg_log_read_doubt {
    uint64_t offset;
    uint32_t bytes;
};

struct hg_log_recovery_io {
    uint32_t pending; /* operations in flight */

    struct hg_log_read_doubt doubts[HG_LOG_READ_DOUBTS_MAX];
    uint32_t doubt_count;
    bool is_doubting;                           /* the one in flight is a block of the newest of them */
    bool is_again;                              /* ... for the second time */
    uint64_t unreadable[HG_LOG_UNREADABLE_MAX]; /* in the file */
    uint32_t unreadable_count;
    int error; /* of the newest of these; 0: it was cut short */

    /* A piece of a segment in memory. */
    uint8_t *window;
    uint64_t window_bytes_max;
    uint64_t window_offset; /* in the file */
    uint64_t window_bytes;  /* 0 = none */
    uint64_t window_asked;  /* bytes whose reads were submitted */
};

/* Of the log's recovery (log_recovery.c). */
struct hg_log_recovery_io *hg_log_recovery_io_of(const struct hg_log *log);

/* One operation. False: the disk takes none now. What is read goes where it belongs by its offset: to the
 * superblocks' buffers, the mirror of the ring, or the window. */
bool hg_log_recovery_read(struct hg_log *log, uint32_t bytes, uint64_t offset);
bool hg_log_recovery_write(struct hg_log *log, const void *data, uint32_t bytes, uint64_t offset);

/* Nothing is in flight: on with the reads that failed. True: it did something. */
bool hg_log_recovery_doubt_step(struct hg_log *log);
/* The first block of [offset, offset + bytes) that can't be read, as far as they were; HG_LOG_READABLE. */
uint64_t hg_log_recovery_unreadable_in(const struct hg_log *log, uint64_t offset, uint64_t bytes);
/* Why not: for a message. */
const char *hg_log_recovery_error_text(const struct hg_log *log);

/* Once the geometry is known: what memory there is for the window. */
void hg_log_recovery_window_prepare(struct hg_log *log);
/* Bytes from there to the next hole of the superblock's table in this segment, or to the segment's end. A
 * hole is passed unread: a write that was moved because it can't be read must not end the recovery. */
uint64_t hg_log_recovery_bytes_to_hole(const struct hg_log *log, uint64_t segment, uint64_t offset);
/* The window is to be from there up to the next hole. */
void hg_log_recovery_window_start(struct hg_log *log, uint64_t segment, uint64_t offset);
/* Submits the reads of the window. True when all of it is there. */
bool hg_log_recovery_window_is_ready(struct hg_log *log);

#endif
