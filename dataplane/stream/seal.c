/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/seal.h"
#include "dataplane/stream/streams_internal.h"

#define RECORDS_AT_ONCE 32u

static struct hg_stream_state *member(struct hg_streams *streams, uint32_t slot, uint32_t group)
{
    struct hg_stream_state *s = &streams->table[slot];
    return s->kind != 0 && !s->ended && s->group == group ? s : NULL;
}

/* Their positions are told anew: who may write is part of them. */
static void group_moved(struct hg_streams *streams, uint32_t group)
{
    for (uint32_t slot = 0; slot < streams->count; slot++)
        if (member(streams, slot, group) != NULL)
            hg_streams_moved(streams, &streams->table[slot]);
}

enum hg_group_reason hg_streams_group_counted(struct hg_streams *streams, enum hg_group_reason reason)
{
    if (reason != HG_GROUP_OK && reason != HG_GROUP_WOULD_BLOCK)
        streams->group_counts[reason]++;
    return reason;
}

static void open_batch_drop(struct hg_streams *streams, struct hg_stream_state *s)
{
    if (s->raw_slot < 0)
        return;
    streams->raw_owner[s->raw_slot] = -1;
    streams->open_count--;
    s->raw_slot = -1;
    s->lsn_taken = s->lsn_sealed;
    s->sessions_evicted |= hg_sessions_cut(streams->sessions, s->stream, s->lsn_sealed);
}

uint64_t hg_streams_group_newest(const struct hg_streams *streams, uint32_t group, bool *mixed)
{
    const struct hg_stream_state *first = NULL;
    uint64_t newest = 0;
    *mixed = false;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        const struct hg_stream_state *s = &streams->table[slot];
        if (s->kind == 0 || s->ended || s->group != group)
            continue;
        newest = hg_max_u64(newest, s->epoch);
        first = first != NULL ? first : s;
        *mixed = *mixed || s->region != first->region;
    }
    return newest;
}

void hg_streams_promise(struct hg_streams *streams, uint32_t number, uint64_t epoch)
{
    struct hg_group *group = &streams->groups[number];
    hg_group_promise(group, epoch);
    hg_log_epoch_promise(streams->log, number, epoch);
    group->sealed_write = 0;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = member(streams, slot, number);
        if (s == NULL)
            continue;
        open_batch_drop(streams, s);
        /* Where an older epoch was to begin, other bytes may come to be now. One whose record the log has or
         * is about to get is true: all below is here. */
        if (!s->adopt_due)
            hg_streams_adopt_cancel(streams, s);
        group->sealed_write = hg_max_u64(group->sealed_write, s->sequence_last);
    }
    streams->groups_pending |= UINT64_C(1) << number;
    streams->groups_deposed |= UINT64_C(1) << number;
    group_moved(streams, number);
}

enum hg_group_reason hg_streams_group_seal(struct hg_streams *streams, uint32_t number, uint64_t epoch)
{
    bool mixed;
    if (number >= HG_GROUPS_MAX)
        return hg_streams_group_counted(streams, HG_GROUP_seal_limit);
    struct hg_group *group = &streams->groups[number];
    uint64_t newest = hg_streams_group_newest(streams, number, &mixed);
    if (mixed) /* nobody could open it again */
        return hg_streams_group_counted(streams, HG_GROUP_seal_mixed);
    enum hg_group_reason reason = hg_group_seal(group, epoch, newest);
    if (reason != HG_GROUP_OK || group->epoch_wanted == epoch)
        return hg_streams_group_counted(streams, reason);
    hg_streams_promise(streams, number, epoch);
    return HG_GROUP_OK;
}

bool hg_streams_group_sealed(const struct hg_streams *streams, uint32_t group, uint64_t epoch)
{
    hg_assert(group < HG_GROUPS_MAX);
    return hg_group_may_answer(&streams->groups[group], epoch) &&
           streams->groups[group].sealed_write <= hg_log_durable_sequence(streams->log);
}

/* The newest epoch that anything of the group was written under by somebody: its beginning alone is ours. */
static uint64_t epoch_written(struct hg_streams *streams, uint32_t group)
{
    uint64_t newest = 0;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        const struct hg_stream_state *s = member(streams, slot, group);
        struct hg_epoch_start last = s != NULL ? hg_history_last(&s->history) : (struct hg_epoch_start){0};
        if (s != NULL)
            newest =
                hg_max_u64(newest, s->lsn_sealed > last.lsn ? last.epoch : last.epoch - (last.epoch > 0));
    }
    return newest;
}

/* Records where the epoch begins in each of its streams, those that have it not yet. False: would block. */
static bool starts_record(struct hg_streams *streams, uint32_t group, uint64_t epoch)
{
    struct hg_local_record records[RECORDS_AT_ONCE];
    uint32_t slots[RECORDS_AT_ONCE], count = 0;
    for (uint32_t slot = 0; slot <= streams->count; slot++) {
        struct hg_stream_state *s = slot < streams->count ? member(streams, slot, group) : NULL;
        if (s != NULL && s->anew_pending) /* where the epoch begins in it is not settled */
            return false;
        if (s != NULL && hg_history_last(&s->history).epoch < epoch) {
            hg_streams_record_of_stream(s, &records[count]);
            records[count].epoch = epoch;
            records[count].epoch_lsn = s->lsn_sealed;
            records[count].epoch_known = 1;
            records[count].tail_unknown = 0; /* whoever begins it has chosen the tail */
            slots[count++] = slot;
        }
        if (count == 0 || (count < RECORDS_AT_ONCE && slot < streams->count))
            continue;
        if (hg_log_append_records(streams->log, records, count) == 0)
            return false;
        for (uint32_t i = 0; i < count; i++) {
            hg_history_add(&streams->table[slots[i]].history, epoch, records[i].epoch_lsn);
            streams->table[slots[i]].tail_chosen = true;
        }
        count = 0;
    }
    return true;
}

/* What copies said before, they did not say under this epoch. */
static void epoch_set(struct hg_stream_state *s, uint64_t epoch)
{
    s->epoch = epoch;
    memset(s->lsn_counted, 0, sizeof(s->lsn_counted));
}

/* The newest write of the group's own record; 0 = the log takes none now. */
static uint64_t group_record(struct hg_streams *streams, uint32_t number, uint64_t epoch, bool released)
{
    struct hg_local_record record;
    memset(&record, 0, sizeof(record));
    record.type = HG_LOCAL_GROUP;
    record.group = number;
    record.epoch = epoch;
    record.epoch_known = !released;
    return hg_log_append_records(streams->log, &record, 1);
}

/* One that came since the epoch began has it not. */
static bool all_begun(struct hg_streams *streams, uint32_t group, uint64_t epoch)
{
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        const struct hg_stream_state *s = member(streams, slot, group);
        if (s != NULL && hg_history_last(&s->history).epoch < epoch)
            return false;
    }
    return true;
}

enum hg_group_reason hg_streams_group_begin(struct hg_streams *streams, uint32_t number, uint64_t epoch)
{
    if (number >= HG_GROUPS_MAX)
        return hg_streams_group_counted(streams, HG_GROUP_open_epoch);
    struct hg_group *group = &streams->groups[number];
    for (uint32_t slot = 0; slot < streams->count; slot++)
        if (member(streams, slot, number) != NULL && streams->table[slot].region != streams->config.region)
            return hg_streams_group_counted(streams, HG_GROUP_open_foreign);
    enum hg_group_reason reason = hg_group_open(group, epoch, epoch_written(streams, number));
    if (reason == HG_GROUP_OK && group->epoch_begun == epoch && group->epoch_released != epoch &&
        !all_begun(streams, number, epoch)) /* nobody chose its tail: all begin a higher one */
        reason = HG_GROUP_open_epoch;
    if (reason != HG_GROUP_OK || group->epoch_begun == epoch)
        return hg_streams_group_counted(streams, reason);
    if (!starts_record(streams, number, epoch))
        return HG_GROUP_WOULD_BLOCK;
    uint64_t write = group_record(streams, number, epoch, false);
    if (write == 0)
        return HG_GROUP_WOULD_BLOCK;
    hg_group_begin(group, epoch, write);
    for (uint32_t slot = 0; slot < streams->count; slot++)
        if (member(streams, slot, number) != NULL) {
            epoch_set(&streams->table[slot], epoch);
            hg_streams_writer_look(streams, &streams->table[slot]);
        }
    streams->groups_pending |= UINT64_C(1) << number;
    return HG_GROUP_OK;
}

bool hg_streams_group_begun(const struct hg_streams *streams, uint32_t group, uint64_t epoch)
{
    hg_assert(group < HG_GROUPS_MAX);
    return streams->groups[group].epoch_started == epoch;
}

enum hg_group_reason hg_streams_group_release(struct hg_streams *streams, uint32_t number, uint64_t epoch)
{
    if (number >= HG_GROUPS_MAX)
        return hg_streams_group_counted(streams, HG_GROUP_open_epoch);
    struct hg_group *group = &streams->groups[number];
    enum hg_group_reason reason = hg_group_release(group, epoch);
    if (reason != HG_GROUP_OK || group->epoch_released == epoch)
        return hg_streams_group_counted(streams, reason);
    uint64_t write = group_record(streams, number, epoch, true);
    if (write == 0)
        return HG_GROUP_WOULD_BLOCK;
    hg_group_released(group, write);
    streams->groups_pending |= UINT64_C(1) << number;
    return HG_GROUP_OK;
}

enum hg_group_reason hg_streams_group_open(struct hg_streams *streams, uint32_t number, uint64_t epoch)
{
    for (uint32_t slot = 0; slot < streams->count; slot++)
        if (member(streams, slot, number) != NULL && !streams->table[slot].origin_local)
            return hg_streams_group_counted(streams, HG_GROUP_open_foreign);
    enum hg_group_reason reason = hg_streams_group_begin(streams, number, epoch);
    return reason == HG_GROUP_OK ? hg_streams_group_release(streams, number, epoch) : reason;
}

bool hg_streams_group_opened(const struct hg_streams *streams, uint32_t group, uint64_t epoch)
{
    hg_assert(group < HG_GROUPS_MAX);
    return streams->groups[group].epoch_open == epoch;
}

void hg_streams_record_of_group(const struct hg_streams *streams, uint32_t group,
                                struct hg_local_record *record)
{
    memset(record, 0, sizeof(*record));
    record->type = HG_LOCAL_GROUP;
    record->group = group;
    record->epoch = streams->groups[group].epoch_begun;
    record->epoch_known = streams->groups[group].epoch_released != streams->groups[group].epoch_begun;
}

void hg_streams_recovered_group(struct hg_streams *streams, const struct hg_local_record *record)
{
    struct hg_group *group = &streams->groups[record->group];
    group->epoch_begun = hg_max_u64(group->epoch_begun, record->epoch);
    if (record->epoch_known == 0)
        group->epoch_released = hg_max_u64(group->epoch_released, record->epoch);
}

void hg_streams_groups_commit(struct hg_streams *streams)
{
    for (uint32_t number = 0; number < HG_GROUPS_MAX; number++) {
        struct hg_group *group = &streams->groups[number];
        if ((streams->groups_pending & UINT64_C(1) << number) == 0)
            continue;
        uint64_t promised = hg_log_epoch_promised(streams->log, number);
        if (promised > group->epoch_promised)
            hg_group_promise_durable(group, promised);
        bool is_whole =
            group->epoch_started == group->epoch_begun && group->epoch_open == group->epoch_released;
        if (!is_whole && group->begun_write <= hg_log_durable_sequence(streams->log)) {
            hg_group_begin_durable(group);
            group_moved(streams, number);
            for (uint32_t slot = 0; slot < streams->count; slot++) /* whoever began it has chosen the tail */
                if (member(streams, slot, number) != NULL) {
                    streams->table[slot].tail_unknown = streams->table[slot].tail_chosen = false;
                    streams->table[slot].epoch_recorded = group->epoch_started;
                }
        }
        if (group->epoch_promised == group->epoch_wanted && group->epoch_started == group->epoch_begun &&
            group->epoch_open == group->epoch_released)
            streams->groups_pending &= ~(UINT64_C(1) << number);
    }
}

void hg_streams_recovered_groups(struct hg_streams *streams)
{
    for (uint32_t number = 0; number < HG_GROUPS_MAX; number++) {
        struct hg_group *group = &streams->groups[number];
        uint64_t begun = group->epoch_begun > HG_EPOCH_FIRST ? group->epoch_begun : 0;
        hg_group_recovered(group, hg_log_epoch_promised(streams->log, number), begun, group->epoch_released);
    }
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (s->kind != 0 && s->origin_local) /* until the configuration says more */
            s->epoch = hg_max_u64(s->epoch, hg_streams_group_of(streams, s)->epoch_begun);
    }
}

const struct hg_group *hg_streams_group(const struct hg_streams *streams, uint32_t group)
{
    hg_assert(group < HG_GROUPS_MAX);
    return &streams->groups[group];
}

const uint64_t *hg_streams_group_counts(const struct hg_streams *streams)
{
    return streams->group_counts;
}

void hg_streams_group_refused(struct hg_streams *streams, enum hg_group_reason reason)
{
    (void)hg_streams_group_counted(streams, reason);
}
