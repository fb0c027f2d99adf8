/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads sealed segments over and over at a bounded rate and checks every block of them, so that rot is found
 * while somebody else still has what rotted, and not when a reader needs it. Driven by hg_log_turn; takes
 * what the device has left: it reads when nothing else of the log is on its way, or when it has waited for
 * that for a second. Inside of a log, shared by its sources only.
 */
#ifndef HG_WAL_LOG_SCRUB_H
#define HG_WAL_LOG_SCRUB_H

#include "drivers/platform/platform.h"

#define HG_LOG_SCRUB_READ_BYTES (256u << 10)       /* of one read, or one write if that is larger */
#define HG_LOG_SCRUB_WAIT_NS    HG_NS_PER_S        /* for an idle device, then it reads all the same */
#define HG_LOG_SCRUB_PAUSE_NS   (10 * HG_NS_PER_S) /* between two passes at least */

struct hg_log;

struct hg_log_scrub {
    uint64_t bytes_per_s; /* 0 = off */
    uint8_t *buffer;
    uint32_t buffer_bytes;

    uint64_t sequence; /* next to read */
    uint64_t first;    /* of the read under way: these writes */
    uint64_t end;      /* exclusive */
    uint32_t bytes;
    bool is_reading;
    uint32_t failures; /* of reads of write `sequence` in a row */
    uint64_t due_ns;
    bool has_previous; /* the write before `sequence` was whole: */
    uint32_t previous_crc32c;

    uint64_t pass_bytes; /* read in this pass */
    uint64_t bytes_read; /* in all */
    uint64_t passes;     /* that were completed */
    uint64_t pass_end_ns;
    uint64_t corrupt;          /* writes found, in each pass anew */
    uint64_t corrupt_sequence; /* the newest of them */
};

/* Once the geometry is known: takes its buffer. */
void hg_log_scrub_prepare(struct hg_log *log);
void hg_log_scrub_free(struct hg_log *log);
bool hg_log_scrub_advance(struct hg_log *log);
void hg_log_scrub_completed(struct hg_log *log, int32_t result);
uint64_t hg_log_scrub_deadline_ns(const struct hg_log *log);
/* 0..100 of the pass under way. */
uint32_t hg_log_scrub_percent(const struct hg_log *log);

#endif
