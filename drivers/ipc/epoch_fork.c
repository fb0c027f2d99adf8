/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/ipc/epoch_fork.h"

static uint64_t epoch_end(const struct hg_epoch_copy *copy, uint32_t i)
{
    return i + 1 < copy->count ? copy->starts[i + 1].lsn : copy->lsn_end;
}

static uint64_t start_of(const struct hg_epoch_copy *copy, uint32_t i)
{
    return copy->starts[i].lsn != 0 ? copy->starts[i].lsn : copy->lsn_begin;
}

/* Its oldest epochs are told, too. */
static bool is_whole(const struct hg_epoch_copy *copy)
{
    return copy->starts[0].lsn <= copy->lsn_begin;
}

bool hg_epoch_common(const struct hg_epoch_copy *a, const struct hg_epoch_copy *b,
                     struct hg_epoch_start *common)
{
    *common = (struct hg_epoch_start){0};
    if (a->count == 0 || b->count == 0 || a->lsn_end == 0 || b->lsn_end == 0)
        return true;
    for (uint32_t i = a->count; i-- > 0;) {
        for (uint32_t k = b->count; k-- > 0;) {
            if (a->starts[i].epoch != b->starts[k].epoch)
                continue;
            common->epoch = a->starts[i].epoch;
            common->lsn = hg_min_u64(epoch_end(a, i), epoch_end(b, k));
            return start_of(a, i) == start_of(b, k);
        }
    }
    return is_whole(a) && is_whole(b);
}

bool hg_epoch_is_later(const struct hg_epoch_copy *a, const struct hg_epoch_copy *b)
{
    uint64_t last_a = a->count == 0 ? 0 : a->starts[a->count - 1].epoch,
             last_b = b->count == 0 ? 0 : b->starts[b->count - 1].epoch;
    return last_a != last_b ? last_a > last_b : a->lsn_end > b->lsn_end;
}
