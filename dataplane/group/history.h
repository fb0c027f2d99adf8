/* SPDX-License-Identifier: Apache-2.0
 *
 * The epochs that wrote a stream, each with the position where it began: by it two copies find the highest
 * point up to which they have the same. What is older than the last HG_EPOCH_STARTS_MAX is forgotten; copies
 * that differ in that are further apart than any log reaches. Pure.
 */
#ifndef HG_GROUP_HISTORY_H
#define HG_GROUP_HISTORY_H

#include "drivers/ipc/control_state.h"

struct hg_history {
    uint32_t count;
    struct hg_epoch_start starts[HG_EPOCH_STARTS_MAX]; /* epochs and positions rise */
};

/* `epoch` goes on at lsn; nothing happens when it is not newer than the last. */
void hg_history_add(struct hg_history *history, uint64_t epoch, uint64_t lsn);
/* Of the newest epoch; {0, 0} when there is none. */
struct hg_epoch_start hg_history_last(const struct hg_history *history);

#endif
