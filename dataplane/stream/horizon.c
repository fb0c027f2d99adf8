/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/horizon.h"

#include "dataplane/stream/cut.h"
#include "dataplane/stream/follow.h"
#include "dataplane/stream/streams_internal.h"

#include <errno.h>

bool hg_horizon_find(const uint8_t *payload, uint32_t payload_bytes, uint64_t stream,
                     struct hg_local_record *record)
{
    const struct hg_batch_header *header = (const struct hg_batch_header *)payload;
    if (hg_batch_check_header(header, payload_bytes) != HG_BATCH_REASON_OK ||
        (header->flags & HG_BATCH_LOCAL) == 0)
        return false;
    const uint8_t *at = payload + sizeof(*header);
    for (uint32_t i = 0; i < header->frame_count; i++, at += sizeof(*record)) {
        memcpy(record, at, sizeof(*record));
        if (record->type == HG_LOCAL_STREAM && record->stream == stream)
            return record->lsn != 0;
    }
    return false;
}

void hg_streams_horizon_told(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint32_t worker,
                             const struct hg_wire_stream_horizon *told)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    if (told->lsn <= s->lsn_sealed)
        return; /* it is here by now */
    bool again = s->horizon.told;
    s->horizon = (struct hg_stream_horizon){.lsn_begin = told->lsn_begin,
                                            .lsn = told->lsn,
                                            .epoch = told->epoch,
                                            .epoch_lsn = told->epoch_lsn,
                                            .incarnation = told->incarnation,
                                            .epoch_known = told->epoch_known != 0,
                                            .told = true,
                                            .peer = peer,
                                            .worker = worker,
                                            .alias = told->control.alias,
                                            .opening = told->control.opening};
    memcpy(s->horizon.chain, told->chain, sizeof(s->horizon.chain));
    if (!again)
        hg_event_put(streams->config.events, HG_EVENT_stream_behind, s->name, s->lsn_durable, told->lsn);
}

void hg_streams_record_anew(const struct hg_stream_state *s, struct hg_local_record *record)
{
    const struct hg_stream_horizon *horizon = &s->horizon;
    record->tail_unknown = 0;
    record->floor_behind = 1;     /* all before the horizon is committed, or it would not have been told */
    record->sessions_evicted = 1; /* who appended what is missing here */
    record->incarnation = horizon->incarnation;
    record->epoch = horizon->epoch;
    record->epoch_known = horizon->epoch_known;
    record->epoch_lsn = horizon->epoch_known ? horizon->epoch_lsn : 0;
    record->lsn = horizon->lsn;
    record->lsn_begin = horizon->lsn_begin; /* else who asks for what is below would be given what is above */
    memcpy(record->chain, horizon->chain, sizeof(record->chain));
}

static void record_of_anew(const struct hg_stream_state *s, struct hg_local_record *record)
{
    hg_streams_record_of_stream(s, record);
    hg_streams_record_anew(s, record);
    record->type = HG_LOCAL_STREAM_BEGUN_ANEW;
}

int hg_streams_anew_begin(struct hg_streams *streams, uint32_t slot, uint64_t *sequence)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    struct hg_local_record records[1 + HG_LOG_CONSUMERS_MAX];
    struct hg_consumer_state *passed[HG_LOG_CONSUMERS_MAX];
    uint32_t count = 1, passed_count = 0;
    if (s->origin_local || !s->configured)
        return -EPERM;
    if (s->horizon.lsn <= s->lsn_sealed)
        return -ENODATA;
    if (s->moving || s->lsn_durable != s->lsn_sealed || hg_streams_is_adopting(s) ||
        hg_streams_is_cutting(streams, slot))
        return -EBUSY;
    record_of_anew(s, &records[0]);
    /* Whoever read something and not all of it would be moved over the hole by the next recovery. */
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        struct hg_consumer_state *consumer = &streams->consumers[i];
        if (!consumer->used || consumer->slot != slot || consumer->lsn >= s->horizon.lsn)
            continue;
        hg_streams_record_of_consumer(streams, consumer, &records[count]);
        records[count++].type = HG_LOCAL_CONSUMER_LET_GO;
        passed[passed_count++] = consumer;
    }
    *sequence = hg_log_append_records(streams->log, records, count);
    if (*sequence == 0)
        return -EAGAIN;
    for (uint32_t i = 0; i < passed_count; i++) {
        passed[i]->let_go = true;
        passed[i]->let_go_sequence = *sequence;
    }
    /* The next segment's table may come before this is durable, and would say what clients did before. */
    (void)hg_sessions_leave(streams->sessions, s->stream);
    s->sessions_evicted = true;
    hg_streams_adopt_cancel(streams, s); /* an epoch that would have begun in what is not here */
    s->anew_pending = true;
    s->moving = true; /* nothing of it is taken, by nobody */
    return 0;
}

/* What was here before is another history's end. A client's next try may be of what is missing, and is not
 * to be taken for new because its newest here is older. */
static void history_forget(struct hg_streams *streams, struct hg_stream_state *s)
{
    (void)hg_sessions_leave(streams->sessions, s->stream);
    s->lsn_begin = s->lsn_taken = s->lsn_sealed = s->lsn_durable = 0;
    s->sequence_last = 0;
    s->lsn_needed = 0;
    s->epoch = s->epoch_recorded = 0;
    memset(&s->history, 0, sizeof(s->history));
    memset(&s->horizon, 0, sizeof(s->horizon));
    s->anew_pending = false;
    hg_index_init(&s->index);
    hg_marks_init(&s->marks);
}

void hg_streams_recovered_anew(struct hg_streams *streams, const struct hg_local_record *record)
{
    int32_t slot = hg_streams_slot_make(streams, record->stream);
    if (slot >= 0)
        history_forget(streams, &streams->table[slot]);
    hg_streams_recovered_stream(streams, record);
}

void hg_streams_anew_end(struct hg_streams *streams, uint32_t slot)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    struct hg_local_record record;
    uint64_t lsn_before = s->lsn_durable;
    bool origin_local = s->origin_local;
    hg_assert(s->moving && s->horizon.lsn != 0);
    record_of_anew(s, &record);
    history_forget(streams, s);
    hg_streams_recovered_stream(streams, &record);
    hg_assert(!streams->recovery_broken);
    s->origin_local = origin_local; /* recovery goes by the region alone, until it is configured */
    s->lsn_taken = s->lsn_durable = s->lsn_sealed;
    memcpy(s->chain_durable, s->chain_sealed, sizeof(s->chain_durable));
    s->moving = false;
    hg_streams_moved(streams, s);
    hg_streams_committed_move(streams, s);
    hg_event_put(streams->config.events, HG_EVENT_stream_anew, s->name, lsn_before, s->lsn_durable);
}
