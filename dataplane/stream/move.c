/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/move.h"
#include "dataplane/stream/streams_internal.h"

#include <errno.h>

int hg_streams_move_begin(struct hg_streams *streams, uint32_t slot)
{
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    if (hg_group_fence(hg_streams_group_of(streams, s)) != HG_EPOCH_FIRST)
        return -EPERM;
    if (streams->copies[s->group].of.count != 0)
        return -EACCES;
    if (streams->copies[s->group].is_unknown)
        return -ENODATA;
    if (!s->origin_local && s->region == streams->config.region &&
        hg_streams_group_has_quorum(streams, s->group))
        return -EXDEV;
    hg_streams_end_save(streams);
    if (streams->end_due != 0)
        return -EBUSY;
    hg_streams_at(streams, slot)->moving = true;
    return 0;
}

void hg_streams_move_cancel(struct hg_streams *streams, uint32_t slot)
{
    hg_streams_at(streams, slot)->moving = false;
}

enum hg_move_wait hg_streams_move_waits(const struct hg_streams *streams, uint32_t slot, uint32_t *who)
{
    const struct hg_stream_state *s = &streams->table[slot];
    hg_assert(slot < streams->count);
    if (s->raw_slot >= 0 || s->lsn_durable != s->lsn_taken)
        return HG_MOVE_WAITS_FOR_DISK;
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        const struct hg_consumer_state *c = &streams->consumers[i];
        if (!c->used || c->slot != slot ||
            (c->lsn >= s->lsn_durable && c->sequence <= hg_log_durable_sequence(streams->log)))
            continue;
        *who = i;
        return HG_MOVE_WAITS_FOR_CONSUMER;
    }
#ifndef HG_SEEDED_BUG_MOVE_BEFORE_PEERS
    for (uint32_t peer = 0; s->origin_local && peer < HG_STREAMS_PEERS_MAX; peer++)
        /* Counted: what it has now, if its disk was replaced since. */
        if ((s->peers_mask & (UINT64_C(1) << peer)) != 0 && s->lsn_counted[peer] < s->lsn_durable) {
            *who = peer;
            return HG_MOVE_WAITS_FOR_PEER;
        }
#endif
    return HG_MOVE_WAITS_FOR_NOBODY;
}

void hg_streams_move_out(const struct hg_streams *streams, uint32_t slot, struct hg_stream_transfer *transfer)
{
    const struct hg_stream_state *s = &streams->table[slot];
    hg_assert(slot < streams->count && s->moving);
    memset(transfer, 0, sizeof(*transfer));
    hg_streams_record_of_stream(s, &transfer->records[transfer->record_count]);
    transfer->records[transfer->record_count].sessions_evicted =
        1; /* clients are not moved: they are forgotten */
    transfer->records[transfer->record_count++].move = s->move + 1;
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++)
        if (streams->consumers[i].used && streams->consumers[i].slot == slot)
            hg_streams_record_of_consumer(streams, &streams->consumers[i],
                                          &transfer->records[transfer->record_count++]);
    transfer->hlc = streams->hlc.last;
    transfer->lsn_committed = s->lsn_committed;
}

static int move_in_check(const struct hg_streams *streams, const struct hg_stream_transfer *transfer)
{
    int32_t slot = hg_streams_find(streams, transfer->records[0].stream);
    uint32_t places = 0;
    if (slot < 0 && streams->count == streams->config.streams_max)
        return -ENOSPC;
    if (slot >= 0 && (!streams->table[slot].ended || streams->table[slot].end_waits ||
                      streams->end_due == transfer->records[0].stream))
        return -EEXIST;
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++)
        places += !streams->consumers[i].used;
    if (places < transfer->record_count - 1)
        return -ENOSPC;
    for (uint32_t i = 1; i < transfer->record_count; i++)
        if (hg_streams_consumer_find(streams, transfer->records[i].name) >= 0)
            return -EEXIST;
    return 0;
}

int hg_streams_move_in(struct hg_streams *streams, const struct hg_stream_transfer *transfer,
                       uint64_t *sequence)
{
    hg_assert(transfer->record_count >= 1 && transfer->records[0].type == HG_LOCAL_STREAM);
    int rc = move_in_check(streams, transfer);
    if (rc != 0)
        return rc;
    /* The write that makes the stream ours carries a ceiling above every stamp it ever had. */
    if (transfer->hlc > streams->hlc.ceiling) {
        hg_log_hlc_ceiling_set(streams->log, transfer->hlc);
        hg_hlc_ceiling_raise(&streams->hlc, transfer->hlc);
    }
    streams->hlc.last = hg_max_u64(streams->hlc.last, transfer->hlc);
    *sequence = hg_log_append_records(streams->log, transfer->records, transfer->record_count);
    if (*sequence == 0)
        return -EAGAIN;
    hg_streams_recovered_stream(streams, &transfer->records[0]);
    for (uint32_t i = 1; i < transfer->record_count; i++) {
        hg_streams_recovered_consumer(streams, &transfer->records[i]);
        int32_t consumer = hg_streams_consumer_find(streams, transfer->records[i].name);
        streams->consumers[consumer].sequence = *sequence;
    }
    hg_assert(!streams->recovery_broken); /* it was checked */
    struct hg_stream_state *s =
        hg_streams_at(streams, (uint32_t)hg_streams_find(streams, transfer->records[0].stream));
    s->lsn_taken = s->lsn_durable = s->lsn_sealed; /* it is, in the old log */
    memcpy(s->chain_durable, s->chain_sealed, sizeof(s->chain_durable));
    s->lsn_committed = hg_min_u64(transfer->lsn_committed, s->lsn_durable);
    hg_streams_moved(streams, s);
    return 0;
}

void hg_streams_ended(struct hg_streams *streams, uint32_t slot)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    uint64_t stream = s->stream;
    bool positions_changed = s->positions_changed; /* it stays in the list */
    hg_assert(s->raw_slot < 0);
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++)
        if (streams->consumers[i].used && streams->consumers[i].slot == slot)
            streams->consumers[i].used = false;
    (void)hg_sessions_leave(streams->sessions, stream); /* it may come back, with more than these know */
    memset(s, 0, sizeof(*s));
    s->stream = stream;
    s->ended = true;
    s->positions_changed = positions_changed;
    s->raw_slot = -1;
    hg_index_init(&s->index);
    hg_marks_init(&s->marks);
}

/* One after the other. There are several only in a log that was brought back from before streams left it. */
static void end_next(struct hg_streams *streams)
{
    streams->end_sequence = 0;
    for (uint32_t slot = 0; slot < streams->count && streams->end_due == 0; slot++) {
        if (!streams->table[slot].end_waits)
            continue;
        streams->table[slot].end_waits = false;
        streams->end_due = streams->table[slot].stream;
    }
}

void hg_streams_record_of_end(uint64_t stream, struct hg_local_record *record)
{
    memset(record, 0, sizeof(*record));
    record->type = HG_LOCAL_STREAM_ENDED;
    record->stream = stream;
}

void hg_streams_end_save(struct hg_streams *streams)
{
    while (streams->end_due != 0) {
        struct hg_local_record record;
        hg_streams_record_of_end(streams->end_due, &record);
        if (streams->end_sequence == 0)
            streams->end_sequence = hg_log_append_records(streams->log, &record, 1);
        if (streams->end_sequence == 0 || streams->end_sequence > hg_log_durable_sequence(streams->log))
            return;
        streams->end_due = 0;
        end_next(streams);
    }
}

void hg_streams_move_end(struct hg_streams *streams, uint64_t stream)
{
    int32_t slot = hg_streams_find(streams, stream);
    hg_assert(slot >= 0);
    hg_streams_ended(streams, (uint32_t)slot);
    streams->table[slot].end_waits = true;
    if (streams->end_due == 0)
        end_next(streams);
    hg_streams_end_save(streams);
}
