/* SPDX-License-Identifier: Apache-2.0
 *
 * The decision table of recovery (docs/disk-format.md), as a pure function.
 */
#ifndef HG_WAL_LOG_RECOVERY_H
#define HG_WAL_LOG_RECOVERY_H

#include "drivers/platform/platform.h"

/* What lies where write n should be. */
enum hg_log_write_found {
    HG_LOG_FOUND_CHAINED,   /* write n, all of it, and it names its predecessor's header */
    HG_LOG_FOUND_UNCHAINED, /* write n, all of it, of a life not older than its predecessor's, naming another
                               one */
    HG_LOG_FOUND_STALE,     /* a valid header, but of another sequence or place, or of a life before its
                               predecessor's */
    HG_LOG_FOUND_BAD,       /* anything else: zeros, torn, rotten */
    HG_LOG_FOUND_COUNT,
};

/* What the header ring has of write n. */
enum hg_log_copy_found {
    HG_LOG_COPY_ABSENT, /* nothing, or another write */
    HG_LOG_COPY_ONLY,   /* a header of write n, but the payload on disk or the predecessor does not fit it */
    HG_LOG_COPY_FITS,   /* a header of write n that payload and predecessor fit */
    HG_LOG_COPY_COUNT,
};

enum hg_log_verdict {
    HG_LOG_VERDICT_PRESENT,      /* take it; the ring copy is rewritten if it is bad or missing */
    HG_LOG_VERDICT_PRESENT_COPY, /* take it under the header from the ring; the header block is rewritten */
    HG_LOG_VERDICT_FORK,         /* fault: stop, people must decide */
    HG_LOG_VERDICT_CORRUPT,      /* fault: was durable; repair from peers, never truncate */
    HG_LOG_VERDICT_TORN,         /* ends the log; valid writes after it are discarded */
    HG_LOG_VERDICT_END,          /* ends the log: a block of an earlier cycle, or of an earlier life's tail */
};

/* `is_beyond`: n > D, the newest write known to have been durable. */
enum hg_log_verdict hg_log_recovery_verdict(enum hg_log_write_found write, enum hg_log_copy_found copy,
                                            bool is_beyond);

#endif
