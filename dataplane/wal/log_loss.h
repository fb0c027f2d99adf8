/* SPDX-License-Identifier: Apache-2.0
 *
 * Accepting a loss: the only way in which a log with a corrupt durable write is made to open without it. It
 * is an operator's word, kept in the superblock for ever. Blocks; for tools, while nobody has the log open.
 */
#ifndef HG_WAL_LOG_LOSS_H
#define HG_WAL_LOG_LOSS_H

#include "dataplane/wal/log_audit.h"

struct hg_log_loss_ops {
    /* Multiples of HG_LOG_BLOCK_BYTES, memory aligned to it. 0 or -errno; never short. */
    int (*read)(void *ctx, void *data, uint32_t bytes, uint64_t offset);
    int (*write)(void *ctx, const void *data, uint32_t bytes, uint64_t offset);
    int (*flush)(void *ctx);
};

/* The hole that a finding leaves, if it is of a kind that may be accepted: a durable write that is corrupt or
 * not there, with room behind it. NULL: it is; else why not, for a message. */
const char *hg_log_loss_of(const struct hg_log_finding *finding, struct hg_log_hole *hole);
/* Writes the pair of superblocks in force again, as recovery does, then puts it into all four copies, a pair
 * at a time, each flushed: a crash at any step leaves a log that refuses to open as before, or one that
 * opens. Nothing else is written. 0; 1 = all four had it already; -EINVAL = it meets another hole, or no two
 * copies agree; -ENOSPC = the table is full of losses that lie in the log still; or the error of an
 * operation, after which it may be called again. */
int hg_log_loss_accept(const struct hg_log_loss_ops *ops, void *ctx, const struct hg_log_hole *hole);
/* Keeps the place where the log's end was torn, before something is written there: as recovery does.
 * Likewise. */
int hg_log_torn_keep(const struct hg_log_loss_ops *ops, void *ctx, uint64_t sequence);

#endif
