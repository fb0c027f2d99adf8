/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/group/epoch.h"

const char *hg_group_reason_name(enum hg_group_reason reason)
{
    static const char *const names[] = {
#define HG_X(name, text) #name,
        HG_GROUP_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_GROUP_REASON_COUNT ? names[reason] : "unknown";
}

const char *hg_group_reason_text(enum hg_group_reason reason)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_GROUP_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_GROUP_REASON_COUNT ? texts[reason] : "unknown";
}

void hg_group_init(struct hg_group *group)
{
    *group = (struct hg_group){.epoch_begun = HG_EPOCH_FIRST,
                               .epoch_started = HG_EPOCH_FIRST,
                               .epoch_released = HG_EPOCH_FIRST,
                               .epoch_open = HG_EPOCH_FIRST};
}

void hg_group_recovered(struct hg_group *group, uint64_t promised, uint64_t begun, uint64_t released)
{
    hg_group_init(group);
    group->epoch_begun = group->epoch_started = hg_max_u64(begun, HG_EPOCH_FIRST);
    group->epoch_released = group->epoch_open = hg_max_u64(released, HG_EPOCH_FIRST);
    /* What began here was promised before: the promise of an older superblock is not believed. */
    group->epoch_promised = begun != 0 ? hg_max_u64(promised, begun) : promised;
    group->epoch_wanted = group->epoch_promised;
}

enum hg_group_reason hg_group_append(const struct hg_group *group)
{
#ifdef HG_SEEDED_BUG_APPEND_WHEN_SEALED
    return HG_GROUP_OK;
#else
    return hg_group_is_sealed(group) ? HG_GROUP_append_sealed : HG_GROUP_OK;
#endif
}

enum hg_group_reason hg_group_replicate(const struct hg_group *group, uint64_t epoch_writer,
                                        uint64_t epoch_last, uint64_t epoch)
{
#ifndef HG_SEEDED_BUG_TAKER_SKIPS_EPOCH
    if (epoch_writer < hg_group_fence(group) || epoch_writer < epoch_last)
        return HG_GROUP_batch_epoch;
#endif
    return epoch > epoch_writer || epoch < epoch_last ? HG_GROUP_batch_order : HG_GROUP_OK;
}

enum hg_group_reason hg_group_seal(const struct hg_group *group, uint64_t epoch, uint64_t epoch_newest)
{
    if (epoch == 0 || epoch > HG_EPOCH_MAX)
        return HG_GROUP_seal_limit;
    if (epoch < hg_group_fence(group))
        return HG_GROUP_seal_epoch;
    if (epoch == group->epoch_begun)
        return HG_GROUP_seal_open;
    if (epoch == group->epoch_wanted)
        return HG_GROUP_OK;
    return epoch <= epoch_newest ? HG_GROUP_seal_epoch : HG_GROUP_OK;
}

void hg_group_promise(struct hg_group *group, uint64_t epoch)
{
    hg_assert(epoch >= group->epoch_wanted);
    group->epoch_wanted = epoch;
}

void hg_group_promise_durable(struct hg_group *group, uint64_t epoch)
{
    hg_assert(epoch >= group->epoch_promised && epoch <= group->epoch_wanted);
    group->epoch_promised = epoch;
}

bool hg_group_may_answer(const struct hg_group *group, uint64_t epoch)
{
#ifdef HG_SEEDED_BUG_PROMISE_BEFORE_FLUSH
    return group->epoch_wanted == epoch;
#else
    return group->epoch_promised == epoch && group->epoch_wanted == epoch;
#endif
}

enum hg_group_reason hg_group_open(const struct hg_group *group, uint64_t epoch, uint64_t epoch_newest)
{
    if (epoch < hg_group_fence(group))
        return HG_GROUP_open_epoch;
    if (epoch == group->epoch_begun)
        return HG_GROUP_OK;
    if (epoch != group->epoch_promised || epoch != group->epoch_wanted)
        return HG_GROUP_open_unpromised;
    return epoch_newest >= epoch ? HG_GROUP_open_epoch : HG_GROUP_OK;
}

void hg_group_begin(struct hg_group *group, uint64_t epoch, uint64_t write)
{
    hg_assert(epoch > group->epoch_begun && epoch == group->epoch_promised);
    group->epoch_begun = epoch;
    group->begun_write = write;
}

enum hg_group_reason hg_group_release(const struct hg_group *group, uint64_t epoch)
{
    if (epoch < hg_group_fence(group))
        return HG_GROUP_open_epoch;
    return epoch == group->epoch_begun ? HG_GROUP_OK : HG_GROUP_release_unbegun;
}

void hg_group_released(struct hg_group *group, uint64_t write)
{
    group->epoch_released = group->epoch_begun;
    group->begun_write = write;
}

void hg_group_begin_durable(struct hg_group *group)
{
    group->epoch_started = group->epoch_begun;
    group->epoch_open = group->epoch_released;
}

enum hg_group_reason hg_group_read(const struct hg_group *group, uint64_t epoch)
{
#ifdef HG_SEEDED_BUG_READ_WITHOUT_FENCE
    return epoch < hg_group_fence(group) ? HG_GROUP_read_unfenced : HG_GROUP_OK;
#else
    return hg_group_may_answer(group, epoch) ? HG_GROUP_OK : HG_GROUP_read_unfenced;
#endif
}

enum hg_group_reason hg_group_truncate(const struct hg_group *group, uint64_t epoch, uint64_t lsn,
                                       uint64_t lsn_committed)
{
    if (epoch != group->epoch_promised || epoch != group->epoch_wanted)
        return HG_GROUP_truncate_epoch;
    return lsn < lsn_committed ? HG_GROUP_truncate_floor : HG_GROUP_OK;
}
