/* SPDX-License-Identifier: Apache-2.0
 *
 * Registered consumers: who they are and where they stand, also after a restart.
 */
#include "dataplane/stream/streams_internal.h"

#include <errno.h>
#include <stdio.h>

void hg_streams_record_of_consumer(const struct hg_streams *streams, const struct hg_consumer_state *consumer,
                                   struct hg_local_record *record)
{
    memset(record, 0, sizeof(*record));
    record->type = consumer->let_go ? HG_LOCAL_CONSUMER_LET_GO : HG_LOCAL_CONSUMER;
    record->stream = streams->table[consumer->slot].stream;
    record->lsn = consumer->lsn;
    memcpy(record->name, consumer->name, sizeof(record->name));
}

int32_t hg_streams_consumer_find(const struct hg_streams *streams, const char *name)
{
    for (int32_t i = 0; i < (int32_t)HG_LOG_CONSUMERS_MAX; i++)
        if (streams->consumers[i].used && strncmp(streams->consumers[i].name, name, HG_NAME_BYTES) == 0)
            return i;
    return -1;
}

static int32_t consumer_make(struct hg_streams *streams, const char *name, uint32_t slot)
{
    for (int32_t i = 0; i < (int32_t)HG_LOG_CONSUMERS_MAX; i++) {
        struct hg_consumer_state *consumer = &streams->consumers[i];
        if (consumer->used)
            continue;
        memset(consumer, 0, sizeof(*consumer));
        snprintf(consumer->name, sizeof(consumer->name), "%.*s", HG_NAME_BYTES - 1, name);
        consumer->slot = slot;
        consumer->used = true;
        return i;
    }
    return -1;
}

void hg_streams_recovered_consumer(struct hg_streams *streams, const struct hg_local_record *record)
{
    char name[HG_NAME_BYTES];
    snprintf(name, sizeof(name), "%.*s", HG_NAME_BYTES - 1, record->name);
    int32_t found = hg_streams_consumer_find(streams, name);
    if (record->type == HG_LOCAL_CONSUMER_REMOVED) {
        if (found >= 0)
            streams->consumers[found].used = false;
        return;
    }
    int32_t slot = hg_streams_slot_make(streams, record->stream);
    if (found < 0 && slot >= 0)
        found = consumer_make(streams, name, (uint32_t)slot);
    if (found < 0 || slot < 0) {
        streams->recovery_broken = true;
        return;
    }
    streams->consumers[found].lsn = record->lsn;
    streams->consumers[found].let_go = record->type == HG_LOCAL_CONSUMER_LET_GO;
}

/* Positions are saved now and then, and the log lets go by those that weren't yet: what is left of a stream
 * begins where every consumer of it had been at least. One left behind would hold the log for what is gone.
 * Who was let go of had not been there: its position stays, so that it is told of the gap. */
void hg_streams_recovered_consumers(struct hg_streams *streams)
{
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        struct hg_consumer_state *consumer = &streams->consumers[i];
        uint64_t lsn_oldest = consumer->used ? hg_streams_lsn_oldest(streams, consumer->slot) : 0;
        if (consumer->let_go || consumer->lsn >= lsn_oldest)
            continue;
        const struct hg_stream_state *s = &streams->table[consumer->slot];
        if (consumer->lsn < s->lost_end) { /* over what is lost nobody is moved silently */
            hg_event_put(streams->config.events, HG_EVENT_consumer_lost, consumer->name, consumer->lsn,
                         s->lost_end);
            continue;
        }
        consumer->lsn = lsn_oldest;
        consumer->dirty = true;
    }
}

int32_t hg_streams_consumer_add(struct hg_streams *streams, const char *name, uint32_t slot)
{
    struct hg_local_record record;
    int32_t found = hg_streams_consumer_find(streams, name);
    if (found >= 0)
        return streams->consumers[found].slot == slot ? found : -1;
    found = consumer_make(streams, name, slot);
    if (found < 0)
        return -1;
    hg_streams_record_of_consumer(streams, &streams->consumers[found], &record);
    streams->consumers[found].sequence = hg_log_append_records(streams->log, &record, 1);
    if (streams->consumers[found].sequence == 0) {
        streams->consumers[found].used = false;
        return -1;
    }
    hg_event_put(streams->config.events, HG_EVENT_consumer_new, name, streams->consumers[found].lsn, 0);
    return found;
}

struct hg_consumer_state *hg_streams_consumer_at(struct hg_streams *streams, uint32_t consumer)
{
    hg_assert(consumer < HG_LOG_CONSUMERS_MAX);
    return streams->consumers[consumer].used ? &streams->consumers[consumer] : NULL;
}

void hg_streams_consumer_advance(struct hg_streams *streams, uint32_t consumer, uint64_t lsn)
{
    struct hg_consumer_state *c = hg_streams_consumer_at(streams, consumer);
    if (c == NULL || lsn <= c->lsn || lsn > streams->table[c->slot].lsn_durable)
        return;
    c->lsn = lsn;
    c->dirty = true;
}

int hg_streams_consumer_remove(struct hg_streams *streams, const char *name, uint64_t *sequence)
{
    struct hg_local_record record;
    *sequence = 0;
    int32_t found = hg_streams_consumer_find(streams, name);
    if (found < 0)
        return -ENOENT;
    struct hg_consumer_state *consumer = &streams->consumers[found];
    if (consumer->attached_count > 0)
        return -EBUSY;
    hg_streams_record_of_consumer(streams, consumer, &record);
    record.type = HG_LOCAL_CONSUMER_REMOVED;
    *sequence = hg_log_append_records(streams->log, &record, 1);
    if (*sequence == 0)
        return -EAGAIN;
    consumer->used = false;
    streams->consumer_removed_sequence = *sequence;
    hg_event_put(streams->config.events, HG_EVENT_consumer_removed, name, 0, 0);
    return 0;
}

void hg_streams_consumers_save(struct hg_streams *streams, uint64_t now_ns)
{
    struct hg_local_record records[HG_LOG_CONSUMERS_MAX];
    uint32_t which[HG_LOG_CONSUMERS_MAX];
    uint32_t count = 0;
    /* What a full log has left is for what frees a peer's log (architecture.md, Two full logs). A small write
     * of our own each second took it away; the table at the next segment's start has the positions anyway. */
    if (hg_log_is_scarce(streams->log))
        return;
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        const struct hg_consumer_state *c = &streams->consumers[i];
        if (!c->used || !c->dirty || now_ns - c->saved_ns < HG_STREAMS_CONSUMER_SAVE_NS)
            continue;
        hg_streams_record_of_consumer(streams, c, &records[count]);
        which[count++] = i;
    }
    if (count == 0 || hg_log_append_records(streams->log, records, count) == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        streams->consumers[which[i]].dirty = false;
        streams->consumers[which[i]].saved_ns = now_ns;
    }
}

void hg_streams_consumer_limit(struct hg_streams *streams, const char *name,
                               const struct hg_retention_limit *limit)
{
    int32_t found = hg_streams_consumer_find(streams, name);
    if (found >= 0)
        streams->consumers[found].limit = *limit;
}
