/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/streams_internal.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>

/* ---- table ---- */

static uint32_t streams_hash(const struct hg_streams *streams, uint64_t stream)
{
    return (uint32_t)((stream * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & streams->hash_mask;
}

int32_t hg_streams_find(const struct hg_streams *streams, uint64_t stream)
{
    for (uint32_t i = streams_hash(streams, stream);; i = (i + 1) & streams->hash_mask) {
        int32_t slot = streams->hash[i];
        if (slot < 0 || streams->table[slot].stream == stream)
            return slot;
    }
}

int32_t hg_streams_find_name(const struct hg_streams *streams, const char *name)
{
    int32_t first = -1;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        if (strncmp(streams->table[slot].name, name, HG_NAME_BYTES) != 0)
            continue;
        if (streams->table[slot].configured)
            return (int32_t)slot;
        first = first < 0 ? (int32_t)slot : first;
    }
    return first;
}

int32_t hg_streams_slot_make(struct hg_streams *streams, uint64_t stream)
{
    int32_t found = hg_streams_find(streams, stream);
    if (found >= 0)
        return found;
    if (stream == 0 || streams->count == streams->config.streams_max)
        return -1;
    uint32_t slot = streams->count++;
    uint32_t i = streams_hash(streams, stream);
    while (streams->hash[i] >= 0)
        i = (i + 1) & streams->hash_mask;
    streams->hash[i] = (int32_t)slot;
    struct hg_stream_state *s = &streams->table[slot];
    memset(s, 0, sizeof(*s));
    s->stream = stream;
    s->raw_slot = -1;
    s->tail_unknown = streams->tail_torn;
    hg_index_init(&s->index);
    hg_marks_init(&s->marks);
    s->holes = streams->holes;
    return (int32_t)slot;
}

struct hg_streams *hg_streams_init(const struct hg_streams_config *config)
{
    hg_assert(config->streams_max > 0 && config->streams_max <= HG_STREAMS_MAX);
    struct hg_streams *streams = calloc(1, sizeof(*streams));
    hg_assert(streams != NULL);
    streams->config = *config;
    streams->quorum_w = 1;
    hg_index_init(&streams->retention.times);
    uint32_t hash_count = 4;
    while (hash_count < 2 * config->streams_max)
        hash_count *= 2;
    streams->hash_mask = hash_count - 1;
    streams->hash = malloc(hash_count * sizeof(streams->hash[0]));
    streams->table = calloc(config->streams_max, sizeof(streams->table[0]));
    streams->changed = calloc(config->streams_max, sizeof(streams->changed[0]));
    streams->commits = malloc(HG_STREAMS_COMMITS_MAX * sizeof(streams->commits[0]));
    streams->raw_memory = malloc((size_t)HG_STREAMS_OPEN_BATCHES_MAX * HG_STREAMS_RAW_BYTES);
    streams->cutting = hg_stream_cutting_make();
    streams->sessions = malloc(sizeof(*streams->sessions));
    streams->open_memory = malloc(HG_STREAMS_RAW_BYTES);
    hg_assert(streams->sessions && streams->open_memory);
    hg_sessions_init(streams->sessions);
    streams->lz4_state = malloc((size_t)LZ4_sizeofState());
    hg_assert(streams->hash && streams->table && streams->commits && streams->raw_memory &&
              streams->lz4_state);
    memset(streams->hash, 0xff, hash_count * sizeof(streams->hash[0]));
    for (uint32_t i = 0; i < HG_STREAMS_OPEN_BATCHES_MAX; i++)
        streams->raw_owner[i] = -1;
    for (uint32_t i = 0; i < HG_GROUPS_MAX; i++)
        hg_group_init(&streams->groups[i]);
    return streams;
}

void hg_streams_free(struct hg_streams *streams)
{
    free(streams->hash);
    free(streams->table);
    free(streams->changed);
    free(streams->commits);
    free(streams->raw_memory);
    free(streams->open_memory);
    free(streams->sessions);
    free(streams->lz4_state);
    hg_stream_cutting_free(streams->cutting);
    free(streams);
}

void hg_streams_log_set(struct hg_streams *streams, struct hg_log *log)
{
    streams->log = log;
}

const uint32_t *hg_streams_changed(const struct hg_streams *streams, uint32_t *count)
{
    *count = streams->changed_count;
    return streams->changed;
}

void hg_streams_changed_clear(struct hg_streams *streams)
{
    for (uint32_t i = 0; i < streams->changed_count; i++)
        streams->table[streams->changed[i]].positions_changed = false;
    streams->changed_count = 0;
}

uint32_t hg_streams_count(const struct hg_streams *streams)
{
    return streams->count;
}

struct hg_stream_state *hg_streams_at(struct hg_streams *streams, uint32_t slot)
{
    hg_assert(slot < streams->count);
    return &streams->table[slot];
}

const uint64_t *hg_streams_append_counts(const struct hg_streams *streams)
{
    return streams->append_counts;
}

const uint64_t *hg_streams_sealed_counts(const struct hg_streams *streams)
{
    return streams->sealed_counts;
}

/* ---- configuration ---- */

static void name_copy(char to[HG_NAME_BYTES], const char *from)
{
    memset(to, 0, HG_NAME_BYTES);
    memcpy(to, from, strnlen(from, HG_NAME_BYTES - 1));
}

int hg_streams_configure(struct hg_streams *streams, const struct hg_config_stream *config)
{
    int32_t slot = config->group < HG_GROUPS_MAX ? hg_streams_slot_make(streams, config->stream) : -1;
    if (slot < 0)
        return config->group < HG_GROUPS_MAX ? -ENOSPC : -EINVAL;
    struct hg_stream_state *s = &streams->table[slot];
    s->configuration = streams->configuration;
    if (s->ended) {
        hg_event_put(streams->config.events, HG_EVENT_stream_left, config->name, config->stream, 0);
        return -ESTALE;
    }
    bool known = s->kind != 0;
    /* Another group would be another promise: what is sealed can't be left that way. */
    bool grouped = s->lsn_sealed != 0 || s->history.count > 0;
    if (known &&
        (s->kind != config->kind || s->region != config->region || (grouped && s->group != config->group))) {
        hg_event_put(streams->config.events, HG_EVENT_stream_refused_config, config->name, config->stream, 0);
        return -EEXIST;
    }
    if (!s->configured)
        hg_event_put(streams->config.events, HG_EVENT_stream_new, config->name, config->stream, 0);
    name_copy(s->name, config->name);
    s->kind = config->kind;
    s->region = config->region;
    s->group = config->group;
    s->epoch = hg_max_u64(s->epoch, config->epoch);
    s->codec = (uint8_t)config->compression;
    s->peers_mask = config->peers_mask;
    s->keep.bytes = config->retain_bytes;
    s->keep.ns = config->retain_seconds * HG_NS_PER_S;
    s->writer_configured.epoch = config->epoch;
    s->writer_configured.node = config->node;
    s->writer_configured.is_local = s->region == streams->config.region && config->node == 0;
    hg_streams_writer_look(streams, s);
    s->origin_known = true;
    s->configured = true;
    if (s->incarnation == 0 && s->kind != HG_STREAM_POSTGRES_PHYSICAL)
        s->incarnation = 1;
    hg_streams_moved(streams, s);
    hg_streams_committed_move(streams, s);
    return 0;
}

void hg_streams_configure_begin(struct hg_streams *streams)
{
    streams->configuration++;
}

void hg_streams_configure_end(struct hg_streams *streams)
{
    streams->configuration_whole = true;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (!s->configured || s->configuration == streams->configuration)
            continue;
        s->configured = false;
        s->peers_mask = 0;
        hg_streams_moved(streams, s);
        hg_event_put(streams->config.events, HG_EVENT_stream_gone, s->name, s->stream, 0);
    }
}

int hg_streams_adopt(struct hg_streams *streams, uint32_t slot, uint64_t system_identifier,
                     uint32_t incarnation, uint32_t lsn_unit_bytes)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    struct hg_local_record record;
    bool changes = (system_identifier != 0 && s->system_identifier == 0) ||
                   (incarnation != 0 && s->incarnation == 0) ||
                   (lsn_unit_bytes != 0 && s->lsn_unit_bytes == 0);
    if (system_identifier != 0 && s->system_identifier != 0 && s->system_identifier != system_identifier) {
        hg_event_put(streams->config.events, HG_EVENT_stream_system, s->name, s->system_identifier,
                     system_identifier);
        return -EXDEV;
    }
    if (lsn_unit_bytes != 0 && s->lsn_unit_bytes != 0 && s->lsn_unit_bytes != lsn_unit_bytes)
        return -EXDEV;
    if (incarnation != 0 && s->incarnation != 0 && s->incarnation != incarnation) {
        hg_event_put(streams->config.events, HG_EVENT_stream_incarnation, s->name, s->incarnation,
                     incarnation);
        return -ESTALE;
    }
    if (!changes)
        return 0;
    struct hg_stream_state adopted = *s;
    adopted.system_identifier = s->system_identifier != 0 ? s->system_identifier : system_identifier;
    adopted.incarnation = s->incarnation != 0 ? s->incarnation : incarnation;
    adopted.lsn_unit_bytes = s->lsn_unit_bytes != 0 ? s->lsn_unit_bytes : lsn_unit_bytes;
    hg_streams_record_of_stream(&adopted, &record);
    if (hg_log_append_records(streams->log, &record, 1) == 0)
        return -EAGAIN;
    s->system_identifier = adopted.system_identifier;
    s->incarnation = adopted.incarnation;
    s->lsn_unit_bytes = adopted.lsn_unit_bytes;
    hg_streams_moved(streams, s);
    return 0;
}

/* ---- what the log calls ---- */

void hg_streams_record_of_stream(const struct hg_stream_state *s, struct hg_local_record *record)
{
    memset(record, 0, sizeof(*record));
    record->type = HG_LOCAL_STREAM;
    record->kind = s->kind;
    record->region = s->region;
    record->stream = s->stream;
    record->incarnation = s->incarnation;
    record->group = s->group;
    record->epoch = s->epoch;
    if (s->history.count > 0) {
        record->epoch = hg_history_last(&s->history).epoch;
        record->epoch_lsn = hg_history_last(&s->history).lsn;
        record->epoch_known = 1;
    }
    record->tail_unknown = s->tail_unknown && !s->tail_chosen;
    uint64_t floor = hg_streams_floor(s);
    if (floor != 0 && floor <= s->lsn_sealed && s->lsn_sealed - floor < UINT32_MAX)
        record->floor_behind = (uint32_t)(s->lsn_sealed - floor) + 1;
    /* That record stands before this one; but an epoch that was begun here since does, too. One whose first
     * batch is in the log is in the history before its record is durable, and says as much of the tail. */
    if (s->adopt_write != 0 && s->adopt_epoch >= hg_history_last(&s->history).epoch) {
        record->epoch = s->adopt_epoch;
        record->epoch_lsn = s->adopt_lsn;
        record->epoch_known = 1;
        record->tail_unknown = 0;
    }
    record->lsn = s->lsn_sealed;
    record->system_identifier = s->system_identifier;
    memcpy(record->chain, s->chain_sealed, sizeof(record->chain));
    memcpy(record->name, s->name, sizeof(record->name));
    record->lsn_unit_bytes = s->lsn_unit_bytes;
    record->lsn_begin = s->lsn_begin;
    record->move = s->move;
    record->sessions_evicted = s->sessions_evicted;
    if (s->anew_pending) /* the record of that stands before this one */
        hg_streams_record_anew(s, record);
}

static void session_forgot(void *ctx, uint64_t stream)
{
    hg_streams_sessions_lost(ctx, stream);
}

/* What is in an open batch stands behind the table, if it ever comes. */
static uint64_t session_end(void *ctx, uint64_t stream)
{
    struct hg_streams *streams = ctx;
    int32_t slot = hg_streams_find(streams, stream);
    return slot < 0 ? 0 : streams->table[slot].lsn_sealed;
}

static uint32_t streams_checkpoint(void *ctx, struct hg_local_record *records, uint32_t max)
{
    struct hg_streams *streams = ctx;
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        hg_assert(count < max);
        if (streams->table[slot].ended)
            hg_streams_record_of_end(streams->table[slot].stream, &records[count++]);
        else
            hg_streams_record_of_stream(&streams->table[slot], &records[count++]);
    }
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        if (!streams->consumers[i].used)
            continue;
        hg_assert(count < max);
        hg_streams_record_of_consumer(streams, &streams->consumers[i], &records[count++]);
    }
    for (uint32_t group = 0; group < HG_GROUPS_MAX; group++) {
        if (streams->groups[group].epoch_begun == HG_EPOCH_FIRST)
            continue;
        hg_assert(count < max);
        hg_streams_record_of_group(streams, group, &records[count++]);
    }
    const struct hg_sessions_owner owner = {session_end, session_forgot, streams};
    uint32_t sessions_first = count;
    count += hg_sessions_save(streams->sessions, (struct hg_local_session *)(void *)&records[count],
                              max - count, &owner);
    for (uint32_t i = 0; i < sessions_first; i++) /* who found no room was forgotten only now */
        if (records[i].type == HG_LOCAL_STREAM)
            records[i].sessions_evicted =
                streams->table[hg_streams_find(streams, records[i].stream)].sessions_evicted;
    return count;
}

/* A batch or record that was read back says where the stream stands. False: it does not follow from those
 * before it. Where a hole of the log is between, the stream lost what it had in there: it begins anew behind
 * it, and nothing of before is served, for nobody could go on from it. */
static bool recovered_follows(const struct hg_streams *streams, struct hg_stream_state *s, uint64_t lsn,
                              const uint8_t chain[16])
{
    bool may_begin = s->holes != streams->holes;
    s->holes = streams->holes;
    if (s->lsn_sealed == 0 ||
        (s->lsn_sealed == lsn && memcmp(s->chain_sealed, chain, sizeof(s->chain_sealed)) == 0))
        return true;
    if (!may_begin)
        return false;
    s->lost_first = hg_min_u64(s->lsn_sealed, lsn);
    s->lost_end = lsn;
    hg_index_init(&s->index);
    s->sequence_last = 0;
    if (lsn < s->lsn_sealed) /* it was cut in there */
        memset(&s->history, 0, sizeof(s->history));
    return true;
}

void hg_streams_recovered_stream(struct hg_streams *streams, const struct hg_local_record *record)
{
    int32_t slot = hg_streams_slot_make(streams, record->stream);
    if (slot < 0 || record->group >= HG_GROUPS_MAX) {
        streams->recovery_broken = true;
        return;
    }
    struct hg_stream_state *s = &streams->table[slot];
    if (!recovered_follows(streams, s, record->lsn, record->chain)) {
        streams->recovery_broken = true;
        return;
    }
    s->ended = false;
    s->move = record->move;
    s->kind = record->kind;
    s->region = record->region;
    s->incarnation = record->incarnation;
    s->group = record->group;
    s->epoch = hg_max_u64(s->epoch, record->epoch);
    s->tail_unknown = record->tail_unknown != 0;
    if (record->floor_behind != 0 && record->floor_behind - 1 <= record->lsn)
        s->lsn_floor = hg_max_u64(s->lsn_floor, record->lsn - (record->floor_behind - 1));
    if (record->epoch_known != 0)
        s->epoch_recorded = hg_max_u64(s->epoch_recorded, record->epoch);
    if (record->epoch_known != 0)
        hg_history_add(&s->history, record->epoch, record->epoch_lsn);
    else if (record->lsn != 0)
        hg_history_add(&s->history, record->epoch, record->lsn_begin);
    s->system_identifier = record->system_identifier;
    s->lsn_unit_bytes = record->lsn_unit_bytes;
    s->lsn_begin = record->lsn_begin;
    s->sessions_evicted |= record->sessions_evicted != 0;
    s->lsn_sealed = record->lsn;
    memcpy(s->chain_sealed, record->chain, sizeof(s->chain_sealed));
    name_copy(s->name, record->name);
    s->origin_local = s->region == streams->config.region;
}

static void recovered_end(struct hg_streams *streams, const struct hg_local_record *record)
{
    int32_t slot = hg_streams_slot_make(streams, record->stream);
    if (slot >= 0)
        hg_streams_ended(streams, (uint32_t)slot);
    else
        streams->recovery_broken = true;
}

/* Not below where the stream stands: unless a hole has what it cuts off, and some before that too, it ends
 * just there. */
static bool recovered_cut_follows(struct hg_streams *streams, struct hg_stream_state *s,
                                  const struct hg_local_record *record)
{
    if (record->lsn < s->lsn_sealed)
        return true;
    if (!recovered_follows(streams, s, record->lsn, record->chain))
        return false;
    if (s->lsn_begin == 0)
        s->lsn_begin = record->lsn;
    if (s->name[0] == 0)
        name_copy(s->name, record->name);
    s->ended = false;
    s->group = record->group;
    hg_history_add(&s->history, record->epoch, record->lsn);
    s->lsn_sealed = record->lsn;
    memcpy(s->chain_sealed, record->chain, sizeof(s->chain_sealed));
    return true;
}

static void recovered_cut(struct hg_streams *streams, const struct hg_local_record *record)
{
    int32_t slot = hg_streams_slot_make(streams, record->stream);
    struct hg_stream_state *s = slot < 0 ? NULL : &streams->table[slot];
    if (s == NULL || record->group >= HG_GROUPS_MAX || !recovered_cut_follows(streams, s, record) ||
        !hg_streams_cut_apply(streams, s, record->lsn, record->chain, record->epoch))
        streams->recovery_broken = true;
    else
        hg_streams_recovered_cut_note(streams, record);
}

static void recovered_session(struct hg_streams *streams, const struct hg_local_record *record)
{
    struct hg_local_session session;
    uint64_t lost;
    memcpy(&session, record, sizeof(session));
    if (!hg_sessions_load(streams->sessions, &session, &lost))
        streams->recovery_broken = true;
    else
        hg_streams_sessions_lost(streams, lost);
}

static void streams_recovered_record(void *ctx, const struct hg_local_record *record)
{
    struct hg_streams *streams = ctx;
    switch (record->type) {
    case HG_LOCAL_STREAM:
        hg_streams_recovered_stream(streams, record);
        break;
    case HG_LOCAL_STREAM_BEGUN_ANEW:
        hg_streams_recovered_anew(streams, record);
        break;
    case HG_LOCAL_CONSUMER:
    case HG_LOCAL_CONSUMER_REMOVED:
    case HG_LOCAL_CONSUMER_LET_GO:
        hg_streams_recovered_consumer(streams, record);
        break;
    case HG_LOCAL_STREAM_ENDED:
        recovered_end(streams, record);
        break;
    case HG_LOCAL_STREAM_CUT:
        recovered_cut(streams, record);
        break;
    case HG_LOCAL_SESSION:
        recovered_session(streams, record);
        break;
    case HG_LOCAL_GROUP:
        if (record->group < HG_GROUPS_MAX)
            hg_streams_recovered_group(streams, record);
        else
            streams->recovery_broken = true;
        break;
    default:
        /* A record of a newer build: going on without it could lose what it says. */
        streams->recovery_broken = true;
    }
}

static struct hg_stream_state *recovered_batch(struct hg_streams *streams, uint64_t sequence,
                                               const struct hg_batch_header *header)
{
    int32_t slot = hg_streams_slot_make(streams, header->stream);
    if (slot < 0 || header->group >= HG_GROUPS_MAX) {
        streams->recovery_broken = true;
        return NULL;
    }
    struct hg_stream_state *s = &streams->table[slot];
    if (!recovered_follows(streams, s, header->lsn_first, header->chain_previous)) {
        streams->recovery_broken = true;
        return NULL;
    }
    s->ended = false;
    s->kind = header->kind;
    s->region = header->region;
    s->incarnation = header->incarnation;
    s->group = header->group;
    s->epoch = hg_max_u64(s->epoch, header->epoch);
    if (hg_history_last(&s->history).epoch < header->epoch) /* who began it has chosen the tail */
        s->tail_unknown = false;
    hg_history_add(&s->history, header->epoch, header->lsn_first);
    s->origin_local = s->region == streams->config.region;
    if (s->lsn_begin == 0)
        s->lsn_begin = header->lsn_first;
    s->lsn_sealed = header->lsn_end;
    memcpy(s->chain_sealed, header->chain, sizeof(s->chain_sealed));
    hg_index_add(&s->index, header->lsn_first, sequence, hg_batch_bytes(header));
    s->sequence_last = sequence;
    return s;
}

static void streams_recovered_batch(void *ctx, uint64_t sequence, const struct hg_batch_header *header)
{
    if (recovered_batch(ctx, sequence, header) == NULL)
        return;
#ifndef HG_SEEDED_BUG_DEDUPE_FORGETS_AT_RECOVERY
    hg_streams_sessions_derive(ctx, header);
#endif
}

/* Its payload is not to be had, and what proves its header is the chain alone: to the batch before it. Whose
 * entries were in it is not known: a client whose newest is older here must not be taken for new. */
static bool streams_recovered_rotten(void *ctx, uint64_t sequence, const struct hg_batch_header *header)
{
    struct hg_streams *streams = ctx;
    int32_t slot = hg_streams_find(streams, header->stream);
    const struct hg_stream_state *before = slot < 0 ? NULL : &streams->table[slot];
    if (before == NULL || before->ended || before->lsn_sealed == 0 ||
        before->lsn_sealed != header->lsn_first ||
        memcmp(before->chain_sealed, header->chain_previous, sizeof(before->chain_sealed)) != 0)
        return false;
    struct hg_stream_state *s = recovered_batch(streams, sequence, header);
    if (s == NULL || (header->flags & HG_BATCH_CLIENTS) == 0)
        return s != NULL;
    (void)hg_sessions_leave(streams->sessions, s->stream);
    s->sessions_evicted = true;
    return true;
}

static void streams_recovered_torn(void *ctx)
{
    struct hg_streams *streams = ctx;
    for (uint32_t slot = 0; slot < streams->count; slot++)
        streams->table[slot].tail_unknown = true;
}

static void streams_recovered_hole(void *ctx, uint64_t sequence_first, uint64_t sequence_last)
{
    struct hg_streams *streams = ctx;
    (void)sequence_first;
    (void)sequence_last;
    streams->holes++;
}

/* What they cut off is gone from the log. */
static void cuts_trim(struct hg_stream_state *s, uint64_t sequence)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->cut_count; i++)
        if (s->cuts[i].sequence > sequence)
            s->cuts[kept++] = s->cuts[i];
    s->cut_count = kept;
}

static void streams_trimmed(void *ctx, uint64_t sequence)
{
    struct hg_streams *streams = ctx;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (s->sequence_last >= sequence)
            hg_index_trim(&s->index, sequence);
        else if (s->index.count > 0)
            hg_index_init(&s->index); /* nothing of it is left */
        cuts_trim(s, sequence);
        hg_streams_moved(streams, s); /* the oldest that can be read */
    }
}

const struct hg_log_ops hg_streams_log_ops = {
    .checkpoint = streams_checkpoint,
    .recovered_record = streams_recovered_record,
    .recovered_batch = streams_recovered_batch,
    .recovered_rotten = streams_recovered_rotten,
    .recovered_torn = streams_recovered_torn,
    .recovered_hole = streams_recovered_hole,
    .trimmed = streams_trimmed,
};

void hg_streams_recovered(struct hg_streams *streams)
{
    streams->tail_torn = hg_log_tail_is_torn(streams->log);
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        s->lsn_taken = s->lsn_sealed;
        s->lsn_durable = s->lsn_sealed;
        memcpy(s->chain_durable, s->chain_sealed, sizeof(s->chain_durable));
        if (s->holes != streams->holes) /* nothing of it came behind the last hole */
            s->tail_unknown = true;
        if (s->lost_end != 0)
            hg_event_put(streams->config.events, HG_EVENT_stream_lost, s->name, s->lost_first, s->lost_end);
        hg_streams_moved(streams, s);
        hg_streams_committed_move(streams, s);
    }
    hg_streams_recovered_groups(streams);
    hg_streams_recovered_consumers(streams);
    hg_hlc_init(&streams->hlc, hg_log_hlc_ceiling(streams->log));
}

bool hg_streams_recovery_broken(const struct hg_streams *streams)
{
    return streams->recovery_broken;
}

uint64_t hg_streams_sequence_of(const struct hg_streams *streams, uint32_t slot, uint64_t lsn)
{
    const struct hg_stream_state *s = &streams->table[slot];
    hg_assert(slot < streams->count);
    if (lsn >= s->lsn_sealed)
        return hg_log_append_sequence(streams->log);
    uint64_t sequence = hg_index_find(&s->index, lsn);
    if (sequence != 0)
        return sequence;
    /* From below what is here: its first batch may be far from the tail, which must not wait for it. */
    return s->index.count > 0 ? s->index.entries[0].sequence : hg_log_tail_sequence(streams->log);
}

bool hg_streams_range_in(const struct hg_streams *streams, uint32_t slot, uint64_t sequence,
                         uint64_t *lsn_first, uint64_t *lsn_end)
{
    const struct hg_stream_state *s = &streams->table[slot];
    hg_assert(slot < streams->count);
    if (sequence > s->sequence_last || !hg_index_range(&s->index, sequence, lsn_first, lsn_end))
        return false;
    *lsn_end = *lsn_end == 0 ? s->lsn_durable : hg_min_u64(*lsn_end, s->lsn_durable);
    return *lsn_first < *lsn_end;
}

uint64_t hg_streams_lsn_after(const struct hg_streams *streams, uint32_t slot, uint64_t sequence)
{
    const struct hg_stream_state *s = &streams->table[slot];
    hg_assert(slot < streams->count);
    uint64_t lsn = hg_index_lsn_after(&s->index, sequence);
    return lsn != 0 ? lsn : s->lsn_sealed;
}

uint64_t hg_streams_lsn_oldest(const struct hg_streams *streams, uint32_t slot)
{
    const struct hg_stream_state *s = &streams->table[slot];
    hg_assert(slot < streams->count);
    return s->index.count > 0 ? hg_min_u64(s->index.entries[0].lsn_first, s->lsn_durable) : s->lsn_durable;
}

void hg_streams_oldest_found(struct hg_streams *streams, uint32_t slot, uint64_t sequence, uint64_t lsn_first)
{
    struct hg_stream_state *s = &streams->table[slot];
    hg_assert(slot < streams->count);
    uint64_t before = hg_streams_lsn_oldest(streams, slot);
    hg_index_oldest_found(&s->index, sequence, lsn_first);
    if (hg_streams_lsn_oldest(streams, slot) != before)
        hg_streams_moved(streams, s);
}
