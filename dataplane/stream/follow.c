/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/follow.h"
#include "dataplane/stream/cut.h"
#include "dataplane/stream/streams_internal.h"

#include <errno.h>

#define WALK_BATCHES_MAX 4096u /* in one call */

/* ---- the promise ---- */

enum hg_group_reason hg_streams_follow(struct hg_streams *streams, uint32_t number, uint64_t epoch)
{
    bool mixed;
    hg_assert(number < HG_GROUPS_MAX);
    const struct hg_group *group = &streams->groups[number];
    if (epoch > HG_EPOCH_MAX)
        return hg_streams_group_counted(streams, HG_GROUP_seal_limit);
    if (epoch < hg_group_fence(group))
        return hg_streams_group_counted(streams, HG_GROUP_batch_epoch);
    if (epoch == HG_EPOCH_FIRST)
        return HG_GROUP_OK;
#ifdef HG_SEEDED_BUG_TAKE_UNPROMISED
    return HG_GROUP_OK;
#endif
    if (epoch > group->epoch_wanted) {
        (void)hg_streams_group_newest(streams, number, &mixed);
        if (mixed) /* it would depose the writers of other regions, too */
            return hg_streams_group_counted(streams, HG_GROUP_follow_mixed);
        hg_streams_promise(streams, number, epoch);
    }
    return hg_group_may_answer(group, epoch) ? HG_GROUP_OK : HG_GROUP_WOULD_BLOCK;
}

uint64_t hg_streams_groups_deposed(struct hg_streams *streams)
{
    uint64_t deposed = streams->groups_deposed;
    streams->groups_deposed = 0;
    return deposed;
}

/* ---- histories ---- */

void hg_streams_history_durable(const struct hg_stream_state *s, struct hg_history *history)
{
    *history = s->history;
    while (history->count > 0) {
        struct hg_epoch_start last = hg_history_last(history);
        if (last.lsn < s->lsn_durable || last.epoch <= s->epoch_recorded)
            return;
        history->starts[--history->count] = (struct hg_epoch_start){0};
    }
}

/* The first of the stream that the walk came to is `lsn_first`: what the index did not know. */
static int walk_passed(struct hg_streams *streams, uint32_t slot, const struct hg_stream_walk *walk,
                       uint64_t lsn_first)
{
    if (walk->from != 0)
        hg_streams_oldest_found(streams, slot, walk->from, lsn_first);
    return -ENOENT;
}

int hg_streams_chain_at(struct hg_streams *streams, uint32_t slot, uint64_t lsn, struct hg_stream_walk *walk,
                        uint8_t chain[16])
{
    struct hg_cursor *cursor = &walk->cursor;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    memset(chain, 0, sizeof(s->chain_durable));
    if (lsn == 0)
        return 1;
    if (lsn == s->lsn_durable) {
        memcpy(chain, s->chain_durable, sizeof(s->chain_durable));
        return 1;
    }
    if (lsn < hg_streams_lsn_oldest(streams, slot))
        return -ENOENT; /* perhaps nothing of it is left: no batch would end the walk */
    if (cursor->sequence == 0) {
        cursor->sequence = hg_max_u64(hg_streams_sequence_of(streams, slot, lsn), 1);
        walk->from = cursor->sequence;
    }
    for (uint32_t looked = 0; looked < WALK_BATCHES_MAX; looked++) {
        const struct hg_batch_header *header;
        int rc = hg_cursor_peek(cursor, streams->log, &header);
        if (rc == -ENOENT) { /* trimmed under us: from the tail */
            *walk = (struct hg_stream_walk){.from = 0};
            return 0;
        }
        if (rc == 0 && cursor->sequence > hg_log_durable_sequence(streams->log))
            return walk_passed(streams, slot, walk, s->lsn_durable); /* only what was cut off is left */
        if (rc <= 0)
            return rc;
        if ((header->flags & HG_BATCH_LOCAL) == 0 && header->stream == s->stream &&
            !hg_stream_batch_is_cut(s, cursor->sequence, header->lsn_first)) {
            if (header->lsn_first == lsn) {
                memcpy(chain, header->chain_previous, sizeof(header->chain_previous));
                return 1;
            }
            if (header->lsn_first > lsn)
                return walk_passed(streams, slot, walk, header->lsn_first);
            walk->from = 0;
        }
        hg_cursor_advance(cursor, header);
    }
    return 0;
}

/* ---- the beginning ---- */

void hg_streams_adopt_cancel(struct hg_streams *streams, struct hg_stream_state *s)
{
    streams->adopts_due -= s->adopt_due;
    s->adopt_due = false;
    s->adopt_epoch = s->adopt_lsn = s->adopt_write = 0;
}

static void adopt_record(struct hg_streams *streams, struct hg_stream_state *s)
{
    struct hg_local_record record;
    hg_streams_record_of_stream(s, &record);
    record.epoch = s->adopt_epoch;
    record.epoch_lsn = s->adopt_lsn;
    record.epoch_known = 1;
    record.tail_unknown = 0;
    s->adopt_write = hg_log_append_records(streams->log, &record, 1);
}

void hg_streams_adopt_look(struct hg_streams *streams, struct hg_stream_state *s)
{
    if (s->adopt_epoch == 0 || s->adopt_due || s->lsn_sealed < s->adopt_lsn)
        return;
    s->adopt_due = true;
    streams->adopts_due++;
    adopt_record(streams, s); /* right behind the batch that was missing: one flush has both */
}

static void adopt_advance(struct hg_streams *streams, struct hg_stream_state *s)
{
    bool by_batch = s->lsn_durable > s->adopt_lsn;
    if (s->adopt_write == 0 && !by_batch)
        adopt_record(streams, s);
    if (!by_batch && (s->adopt_write == 0 || s->adopt_write > hg_log_durable_sequence(streams->log)))
        return;
    hg_history_add(&s->history, s->adopt_epoch, s->adopt_lsn);
    s->epoch = hg_max_u64(s->epoch, s->adopt_epoch);
    s->epoch_recorded = hg_max_u64(s->epoch_recorded, s->adopt_epoch);
    s->tail_unknown = false; /* all that its writer had when the epoch began is here */
    hg_streams_moved(streams, s);
    hg_streams_adopt_cancel(streams, s);
}

void hg_streams_adopts_advance(struct hg_streams *streams)
{
    for (uint32_t slot = 0; slot < streams->count && streams->adopts_due > 0; slot++)
        if (streams->table[slot].adopt_due)
            adopt_advance(streams, &streams->table[slot]);
}

void hg_streams_adopt_epoch(struct hg_streams *streams, uint32_t slot, uint64_t epoch, uint64_t lsn)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    struct hg_history history;
    hg_streams_history_durable(s, &history);
    if (hg_history_last(&history).epoch >= epoch || (s->adopt_epoch == epoch && s->adopt_lsn == lsn))
        return;
    hg_assert(lsn >= s->lsn_sealed);
    hg_streams_adopt_cancel(streams, s);
    s->adopt_epoch = epoch;
    s->adopt_lsn = lsn;
    hg_streams_adopt_look(streams, s);
}
