/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/group/history.h"

#include <string.h>

struct hg_epoch_start hg_history_last(const struct hg_history *history)
{
    if (history->count == 0)
        return (struct hg_epoch_start){0};
    return history->starts[history->count - 1];
}

void hg_history_add(struct hg_history *history, uint64_t epoch, uint64_t lsn)
{
    if (epoch <= hg_history_last(history).epoch)
        return;
    if (history->count == HG_EPOCH_STARTS_MAX)
        memmove(&history->starts[0], &history->starts[1], --history->count * sizeof(history->starts[0]));
    history->starts[history->count++] = (struct hg_epoch_start){.epoch = epoch, .lsn = lsn};
}
