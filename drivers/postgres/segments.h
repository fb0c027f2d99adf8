/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds byte-identical WAL segment files from a physical stream: NAME.partial, written in place; when the
 * whole segment is there: fsync, rename to NAME, fsync of the directory, and only then `completed` (which
 * acknowledges). Pure: files come in through the vtable. Killed at any instruction it starts again from the
 * consumer's saved position (a segment start): a .partial is written over, a complete NAME is compared with
 * the stream and kept. One thread. One file is open at a time.
 */
#ifndef HG_POSTGRES_SEGMENTS_H
#define HG_POSTGRES_SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/postgres/lsn.h"

#define HG_SEGMENT_FILE_NAME_BYTES (HG_SEGMENT_NAME_BYTES + 8) /* NAME.partial */

struct hg_segment_done {
    const char *name;
    uint64_t lsn_first;
    uint64_t lsn_end;
    bool verified; /* it was there already and is the same */
};

/* Every function returns 0 or -errno. Names have no directory. */
struct hg_segment_files {
    void *context;
    /* Bytes of a file, -ENOENT when there is none. */
    int64_t (*size)(void *context, const char *name);
    /* Opens for reading and writing; with `allocate` creates it when absent and makes it exactly `bytes`
     * long, what is not written yet being zero and its space reserved. */
    int (*open)(void *context, const char *name, uint64_t bytes, bool allocate);
    int (*write)(void *context, uint64_t offset, const void *data, uint32_t bytes);
    int (*read)(void *context, uint64_t offset, void *data, uint32_t bytes);
    int (*sync)(void *context);
    void (*close)(void *context);
    /* Must fail with -EEXIST rather than replace. */
    int (*rename)(void *context, const char *from, const char *to);
    int (*sync_directory)(void *context);
    /* The segment is safe on disk under its name. */
    void (*completed)(void *context, const struct hg_segment_done *done);
};

enum hg_segments_outcome {
    HG_SEGMENTS_OK,
    HG_SEGMENTS_RETRY,     /* no space (or quota): nothing lost; push the same bytes again later */
    HG_SEGMENTS_RESTART,   /* no space at fsync: what was written since is unknown; read again from the saved
                              position */
    HG_SEGMENTS_GAP,       /* bytes are missing before these */
    HG_SEGMENTS_DIFFERENT, /* a complete segment in the directory has other bytes than the stream */
    HG_SEGMENTS_SIZE,      /* a complete segment in the directory has another size */
    HG_SEGMENTS_POSITION,  /* a position that overflows or is 0 */
    HG_SEGMENTS_FAILED,    /* error_number says why: the process ends, the saved position stands */
};
const char *hg_segments_outcome_name(enum hg_segments_outcome outcome);

enum hg_segments_step {
    HG_SEGMENTS_STEP_START, /* no byte seen yet */
    HG_SEGMENTS_STEP_OPEN,
    HG_SEGMENTS_STEP_WRITE,
    HG_SEGMENTS_STEP_COMPARE,
    HG_SEGMENTS_STEP_SYNC,
    HG_SEGMENTS_STEP_RENAME,
    HG_SEGMENTS_STEP_SYNC_DIRECTORY,
};

#define HG_SEGMENTS_COMPARE_BYTES 65536

struct hg_segments {
    struct hg_segment_files files;
    uint32_t segment_bytes;
    uint32_t timeline;
    uint64_t lsn_newest; /* end of the newest complete segment found in the directory; 0 = none */
    uint64_t lsn_next;   /* everything below (from lsn_start) is written or compared */
    uint64_t lsn_start;  /* where this run began: a segment start */
    uint64_t lsn_completed;
    enum hg_segments_step step;
    bool verifying;
    bool file_open;
    bool began_mid_segment; /* the log no longer had the beginning of the segment before lsn_start */
    int error_number;       /* of the last RETRY, RESTART or FAILED */
    const char *error_step; /* "write", "fsync", ... */
    char name[HG_SEGMENT_NAME_BYTES];      /* of the segment at work */
    char file[HG_SEGMENT_FILE_NAME_BYTES]; /* as it is opened */
    uint64_t lsn_error;                    /* GAP: first byte missing; DIFFERENT: first byte that differs */
    uint8_t compare[HG_SEGMENTS_COMPARE_BYTES];
};

void hg_segments_init(struct hg_segments *segments, const struct hg_segment_files *files, uint32_t timeline,
                      uint32_t segment_bytes, uint64_t lsn_newest);
void hg_segments_close(struct hg_segments *segments);

/* The bytes [lsn, lsn + bytes) of the WAL. Bytes that were pushed before are skipped. After RETRY push the
 * same again: it goes on at the step that failed. */
enum hg_segments_outcome hg_segments_push(struct hg_segments *segments, uint64_t lsn, const void *data,
                                          uint32_t bytes);

#endif
