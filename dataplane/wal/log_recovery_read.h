/* SPDX-License-Identifier: Apache-2.0
 *
 * What recovery reads and writes: its operations in flight, and the piece of a segment that it has in memory.
 */
#ifndef HG_WAL_LOG_RECOVERY_READ_H
#define HG_WAL_LOG_RECOVERY_READ_H

#include "dataplane/wal/log_block.h"

struct hg_log_recovery_io {
    uint32_t pending; /* operations in flight */

    /* A piece of a segment in memory. */
    uint8_t *window;
    uint64_t window_bytes_max;
    uint64_t window_offset; /* in the file */
    uint64_t window_bytes;  /* 0 = none */
    uint64_t window_asked;  /* bytes whose reads were submitted */
};

/* Of the log's recovery (log_recovery.c). */
struct hg_log_recovery_io *hg_log_recovery_io_of(struct hg_log *log);

/* One operation. False: the disk takes none now. */
bool hg_log_recovery_read(struct hg_log *log, void *data, uint32_t bytes, uint64_t offset);
bool hg_log_recovery_write(struct hg_log *log, const void *data, uint32_t bytes, uint64_t offset);

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
