/* SPDX-License-Identifier: Apache-2.0
 *
 * The highest common point of two copies of a stream, by the epochs that wrote them: whoever chooses a tail
 * and whoever cuts a copy go by this one rule. An epoch has one writer, so two copies that both have it, from
 * the same position on, have the same bytes of it as far as both reach. Pure.
 */
#ifndef HG_IPC_EPOCH_FORK_H
#define HG_IPC_EPOCH_FORK_H

#include "drivers/ipc/control_state.h"

/* A copy: where each of its epochs began, oldest first; the first position that it ever had and where it
 * ends, exclusive (both 0: it is empty). An epoch that began in an empty copy began at 0, which is read as
 * lsn_begin. */
struct hg_epoch_copy {
    const struct hg_epoch_start *starts;
    uint32_t count;
    uint64_t lsn_begin;
    uint64_t lsn_end;
};

/* Up to common->lsn, exclusive, both have the same; common->epoch is the newest epoch that both have. {0, 0}:
 * nothing, for one of them is empty, or they have no epoch in common and neither has forgotten any. False:
 * one has forgotten what they had in common, or they began an epoch at two places; only a snapshot helps. */
bool hg_epoch_common(const struct hg_epoch_copy *a, const struct hg_epoch_copy *b,
                     struct hg_epoch_start *common);
/* Whether `a` has what `b` lacks, or may: its newest epoch is newer, or as new and it goes further. */
bool hg_epoch_is_later(const struct hg_epoch_copy *a, const struct hg_epoch_copy *b);

#endif
