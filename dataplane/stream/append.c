/* SPDX-License-Identifier: Apache-2.0
 *
 * Appending: frames into open batches, open batches into the log, sealed batches from peers into the log, and
 * the move from appended to durable.
 */
#include "dataplane/stream/streams_internal.h"
#include "dataplane/stream/tail.h"

#include <errno.h>
#ifdef HG_SEEDED_BUG_ALLOCATE_IN_TURN
#include <stdlib.h>
#endif

static void commit_push(struct hg_streams *streams, uint32_t slot, uint64_t sequence, uint64_t lsn_end,
                        const uint8_t chain[16])
{
    hg_assert(streams->commits_head - streams->commits_tail < HG_STREAMS_COMMITS_MAX);
    struct hg_stream_commit *commit =
        &streams->commits[streams->commits_head++ & (HG_STREAMS_COMMITS_MAX - 1)];
    commit->sequence = sequence;
    commit->lsn_end = lsn_end;
    commit->slot = slot;
    memcpy(commit->chain, chain, 16);
}

static bool commits_full(const struct hg_streams *streams)
{
    return streams->commits_head - streams->commits_tail == HG_STREAMS_COMMITS_MAX;
}

bool hg_streams_device_is_behind(const struct hg_streams *streams)
{
    return commits_full(streams) || hg_log_is_behind(streams->log);
}

/* The batch at `header` was committed to the log in write `sequence`. */
static void stream_appended(struct hg_streams *streams, uint32_t slot, const struct hg_batch_header *header,
                            uint64_t sequence, uint64_t now_ns)
{
    struct hg_stream_state *s = &streams->table[slot];
    if (s->lsn_begin == 0)
        s->lsn_begin = header->lsn_first;
    s->lsn_sealed = header->lsn_end;
    memcpy(s->chain_sealed, header->chain, sizeof(s->chain_sealed));
    hg_index_add(&s->index, header->lsn_first, sequence, hg_batch_bytes(header));
    s->sequence_last = sequence;
    hg_marks_add(&s->marks, header->lsn_end, now_ns);
    commit_push(streams, slot, sequence, header->lsn_end, header->chain);
    hg_history_add(&s->history, header->epoch, header->lsn_first);
    if (s->horizon.lsn != 0) /* its origin had what comes next after all: nobody is to begin above it */
        memset(&s->horizon, 0, sizeof(s->horizon));
    s->frames_count += header->frame_count;
    s->batches_count++;
    s->raw_bytes += header->raw_bytes;
    s->stored_bytes += header->stored_bytes;
}

/* LZ4 needs 0.3 ns a byte to find that data does not compress (a compressed base backup, encrypted columns),
 * a sixth of what a sender does. So after large batches that stayed raw 1, 3, 7, then 15 more are not tried;
 * the first that compresses ends it. */
static uint8_t codec_choose(struct hg_stream_state *s)
{
    if (s->codec_skip_left == 0 || s->builder.raw_bytes < HG_STREAMS_CODEC_BYTES_MIN)
        return s->codec;
    s->codec_skip_left--;
    return HG_CODEC_NONE;
}

static void codec_learn(struct hg_stream_state *s, uint8_t tried, const struct hg_batch_header *header)
{
    if (tried == HG_CODEC_NONE || header->raw_bytes < HG_STREAMS_CODEC_BYTES_MIN)
        return;
    uint64_t skip = header->codec != HG_CODEC_NONE ? 0 : 2 * (uint64_t)s->codec_skip + 1;
    s->codec_skip = s->codec_skip_left = (uint8_t)hg_min_u64(skip, HG_STREAMS_CODEC_SKIP_MAX);
}

static bool stream_seal(struct hg_streams *streams, uint32_t slot)
{
    struct hg_stream_state *s = &streams->table[slot];
    struct hg_batch_origin origin;
    enum hg_log_pressure pressure;
    hg_assert(s->raw_slot >= 0 && s->builder.frame_count > 0);
    uint32_t bytes_max = hg_batch_sealed_bytes_max(&s->builder, 0);
    if (commits_full(streams))
        return false;
    void *out = hg_log_reserve(streams->log, bytes_max, &pressure);
    if (out == NULL)
        return false;
    memset(&origin, 0, sizeof(origin));
    origin.cluster = streams->config.cluster;
    origin.stream = s->stream;
    origin.incarnation = s->incarnation;
    origin.group = s->group;
    origin.region = s->region;
    origin.kind = s->kind;
    origin.epoch = s->epoch;
    origin.log_restarts = hg_log_restarts(streams->log);
    origin.codec = codec_choose(s);
    memcpy(origin.chain_previous, s->chain_sealed, sizeof(origin.chain_previous));
#ifdef HG_SEEDED_BUG_ALLOCATE_IN_TURN
    streams->lz4_state = realloc(streams->lz4_state, 64u << 10);
#endif
    uint32_t bytes = hg_batch_seal(&s->builder, &origin, NULL, 0, out, bytes_max, streams->lz4_state);
    codec_learn(s, origin.codec, out);
    uint64_t sequence = hg_log_commit(streams->log, bytes);
    stream_appended(streams, slot, out, sequence, s->batch_opened_ns);
    hg_assert(s->lsn_sealed == s->lsn_taken);
    streams->raw_owner[s->raw_slot] = -1;
    streams->open_count--;
    s->raw_slot = -1;
    return true;
}

static int32_t raw_slot_oldest(const struct hg_streams *streams)
{
    int32_t oldest = 0;
    for (int32_t i = 1; i < HG_STREAMS_OPEN_BATCHES_MAX; i++)
        if (streams->table[streams->raw_owner[i]].batch_opened_ns <
            streams->table[streams->raw_owner[oldest]].batch_opened_ns)
            oldest = i;
    return oldest;
}

static bool stream_open_batch(struct hg_streams *streams, uint32_t slot, uint64_t now_ns)
{
    struct hg_stream_state *s = &streams->table[slot];
    int32_t raw_slot = 0;
    if (streams->open_count == HG_STREAMS_OPEN_BATCHES_MAX) {
        raw_slot = raw_slot_oldest(streams);
        if (!stream_seal(streams, (uint32_t)streams->raw_owner[raw_slot]))
            return false;
    }
    while (streams->raw_owner[raw_slot] >= 0)
        raw_slot++;
    hg_assert(raw_slot < HG_STREAMS_OPEN_BATCHES_MAX);
    streams->raw_owner[raw_slot] = (int32_t)slot;
    streams->open_count++;
    s->raw_slot = raw_slot;
    s->batch_opened_ns = now_ns;
    hg_batch_builder_init(&s->builder, streams->raw_memory + (size_t)raw_slot * HG_STREAMS_RAW_BYTES,
                          HG_STREAMS_RAW_BYTES);
    return true;
}

/* CLOCK_REALTIME is read once a millisecond; between, the monotonic clock carries it on. */
static uint64_t streams_realtime_ns(struct hg_streams *streams, uint64_t now_ns)
{
    if (streams->realtime_ns == 0 || now_ns - streams->realtime_read_ns >= HG_NS_PER_MS) {
        streams->realtime_ns = streams->config.clock->realtime_ns(streams->config.clock);
        streams->realtime_read_ns = now_ns;
    }
    return streams->realtime_ns + (now_ns - streams->realtime_read_ns);
}

static enum hg_append_reason stamp(struct hg_streams *streams, struct hg_frame *frame, uint64_t now_ns)
{
    uint64_t realtime_ns = streams_realtime_ns(streams, now_ns);
    if (frame->hlc != 0 && hg_hlc_merge(&streams->hlc, frame->hlc, realtime_ns, HG_STREAMS_DRIFT_NS) != 0)
        return HG_APPEND_STAMP;
    frame->hlc = hg_hlc_now(&streams->hlc, realtime_ns);
    if (frame->hlc == 0) { /* the write that carries the stamp carries the new ceiling too */
        uint64_t ceiling = hg_hlc_ceiling_next(&streams->hlc, realtime_ns);
        hg_log_hlc_ceiling_set(streams->log, ceiling);
        hg_hlc_ceiling_raise(&streams->hlc, ceiling);
        frame->hlc = hg_hlc_now(&streams->hlc, realtime_ns);
        hg_assert(frame->hlc != 0);
    }
    return HG_APPEND_OK;
}

/* A retry has its answer whatever position its producer thinks of. */
static enum hg_append_reason session_check(const struct hg_streams *streams, const struct hg_stream_state *s,
                                           struct hg_frame *frame)
{
    if (frame->client_id == 0)
        return HG_APPEND_OK;
    switch (hg_sessions_ask(streams->sessions, s->stream, frame->client_id, frame->client_sequence,
                            frame->again, s->sessions_evicted, &frame->lsn)) {
    case HG_SESSION_NEW:
        return HG_APPEND_OK;
    case HG_SESSION_DUPLICATE:
        return HG_APPEND_DUPLICATE;
    case HG_SESSION_OLD:
        return HG_APPEND_SESSION_OLD;
    default:
        return HG_APPEND_SESSION_EVICTED;
    }
}

const struct hg_session *hg_streams_session_older(const struct hg_streams *streams,
                                                  const struct hg_session *session)
{
    return hg_sessions_older(streams->sessions, session);
}

void hg_streams_sessions_lost(struct hg_streams *streams, uint64_t stream)
{
    int32_t slot = stream == 0 ? -1 : hg_streams_find(streams, stream);
    if (slot >= 0)
        streams->table[slot].sessions_evicted = true;
}

void hg_streams_sessions_derive(struct hg_streams *streams, const struct hg_batch_header *batch)
{
    const uint8_t *frames;
    uint32_t frames_bytes, offset = 0;
    struct hg_frame frame;
    if ((batch->flags & HG_BATCH_CLIENTS) == 0 ||
        hg_batch_open(batch, streams->open_memory, HG_STREAMS_RAW_BYTES, &frames, &frames_bytes) !=
            HG_BATCH_REASON_OK)
        return;
    while (hg_frame_next(frames, frames_bytes, batch->hlc_base, &offset, &frame) == 1)
        if (frame.client_id != 0)
            hg_streams_sessions_lost(streams,
                                     hg_sessions_add(streams->sessions, batch->stream, frame.client_id,
                                                     frame.client_sequence, frame.lsn, frame.span));
}

static enum hg_append_reason append_check(const struct hg_streams *streams, struct hg_stream_state *s,
                                          struct hg_frame *frame)
{
    bool counts = s->kind != HG_STREAM_POSTGRES_PHYSICAL;
    uint64_t next = s->lsn_taken != 0 || !counts ? s->lsn_taken : 1;
    if (!s->configured || !s->origin_local)
        return HG_APPEND_NOT_ORIGIN;
    if (hg_group_append(hg_streams_group_of(streams, s)) != HG_GROUP_OK)
        return HG_APPEND_SEALED;
    if (streams->copies[s->group].is_suspect && hg_streams_is_unnamed(streams, s->group))
        return HG_APPEND_UNNAMED;
    if (!hg_streams_may_append(streams, s))
        return HG_APPEND_GRANT;
    if (s->moving || (s->tail_unknown && hg_streams_tail(streams, s) != HG_STREAMS_TAIL_KNOWN))
        return HG_APPEND_WOULD_BLOCK;
    enum hg_append_reason reason = session_check(streams, s, frame);
    if (reason != HG_APPEND_OK)
        return reason;
    if (frame->lsn == 0 && counts)
        frame->lsn = next;
    if (frame->lsn == 0 || frame->span == 0 || (counts && frame->span != 1) ||
        frame->lsn > UINT64_MAX - frame->span)
        return HG_APPEND_LIMITS;
    if (next != 0 && frame->lsn != next)
        return frame->lsn > next ? HG_APPEND_GAP : HG_APPEND_OVERLAP;
    return HG_APPEND_OK;
}

static uint32_t frame_bytes(const struct hg_frame *frame)
{
    uint64_t bytes = sizeof(struct hg_frame_header) +
                     (frame->client_id != 0 ? sizeof(struct hg_frame_client) : 0) + frame->key_bytes +
                     (uint64_t)frame->data_bytes;
    return (uint32_t)hg_min_u64(hg_align_up(bytes, HG_FRAME_ALIGN_BYTES), UINT32_MAX);
}

/* As hg_batch_builder_add, within the limit that this worker's log sets to batches. */
static int batch_add(const struct hg_streams *streams, struct hg_batch_builder *builder,
                     const struct hg_frame *frame)
{
    uint64_t raw_bytes_max = streams->config.batch_raw_bytes_max;
    if (raw_bytes_max != 0 && (uint64_t)builder->raw_bytes + frame_bytes(frame) > raw_bytes_max)
        return builder->frame_count > 0 ? -ENOSPC : -EINVAL;
    return hg_batch_builder_add(builder, frame);
}

static enum hg_append_reason append_frame(struct hg_streams *streams, uint32_t slot, struct hg_frame *frame,
                                          uint64_t now_ns)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    enum hg_append_reason reason = append_check(streams, s, frame);
    if (reason != HG_APPEND_OK)
        return reason;
    if (s->raw_slot < 0 && !stream_open_batch(streams, slot, now_ns))
        return HG_APPEND_WOULD_BLOCK;
    reason = stamp(streams, frame, now_ns);
    int rc = reason == HG_APPEND_OK ? batch_add(streams, &s->builder, frame) : -EINVAL;
    if (rc == -ENOSPC) {
        if (!stream_seal(streams, slot) || !stream_open_batch(streams, slot, now_ns))
            return HG_APPEND_WOULD_BLOCK;
        rc = batch_add(streams, &s->builder, frame);
        hg_assert(rc != -ENOSPC);
    }
    if (rc != 0) {
        if (s->builder.frame_count == 0) { /* a refused first frame leaves no empty batch behind */
            streams->raw_owner[s->raw_slot] = -1;
            streams->open_count--;
            s->raw_slot = -1;
        }
        return reason != HG_APPEND_OK ? reason : HG_APPEND_LIMITS;
    }
    s->lsn_taken = frame->lsn + frame->span;
    if (frame->client_id != 0)
        hg_streams_sessions_lost(streams, hg_sessions_add(streams->sessions, s->stream, frame->client_id,
                                                          frame->client_sequence, frame->lsn, frame->span));
    hg_streams_moved(streams, s);
    /* Full when another one like this would not fit: LZ4 is a tenth faster and packs better up to 64 KiB. */
    if (s->builder.raw_bytes + frame_bytes(frame) > HG_BATCH_RAW_BYTES_AIM ||
        s->builder.frame_count >= HG_STREAMS_BATCH_FRAMES)
        stream_seal(streams, slot); /* when the log is full it stays open until the next turn */
    return HG_APPEND_OK;
}

enum hg_append_reason hg_streams_append(struct hg_streams *streams, uint32_t slot, struct hg_frame *frame,
                                        uint64_t now_ns)
{
    enum hg_append_reason reason = append_frame(streams, slot, frame, now_ns);
    streams->append_counts[reason]++;
    return reason;
}

uint32_t hg_streams_seal(struct hg_streams *streams, bool all, uint64_t now_ns)
{
    uint32_t sealed = 0;
    for (uint32_t i = 0; i < HG_STREAMS_OPEN_BATCHES_MAX && streams->open_count > 0; i++) {
        int32_t slot = streams->raw_owner[i];
        if (slot < 0)
            continue;
        const struct hg_stream_state *s = &streams->table[slot];
        bool due = all || s->builder.raw_bytes >= HG_BATCH_RAW_BYTES_AIM ||
                   s->builder.frame_count >= HG_STREAMS_BATCH_FRAMES ||
                   now_ns - s->batch_opened_ns >= HG_STREAMS_BATCH_AGE_NS;
        if (!due)
            continue;
        if (!stream_seal(streams, (uint32_t)slot))
            break;
        sealed++;
    }
    return sealed;
}

bool hg_streams_has_open(const struct hg_streams *streams)
{
    return streams->open_count > 0;
}

uint64_t hg_streams_deadline_ns(const struct hg_streams *streams)
{
    uint64_t deadline_ns = HG_TIME_NEVER;
    for (uint32_t i = 0; i < HG_STREAMS_OPEN_BATCHES_MAX && streams->open_count > 0; i++)
        if (streams->raw_owner[i] >= 0)
            deadline_ns = hg_min_u64(deadline_ns, streams->table[streams->raw_owner[i]].batch_opened_ns +
                                                      HG_STREAMS_BATCH_AGE_NS);
    return deadline_ns;
}

static enum hg_sealed_reason sealed_whose(const struct hg_streams *streams, const struct hg_stream_state *s,
                                          const struct hg_batch_header *header)
{
    if (header->cluster != streams->config.cluster)
        return HG_SEALED_CLUSTER;
    if (header->stream != s->stream || header->kind != s->kind || header->region != s->region ||
        (header->flags & HG_BATCH_LOCAL))
        return HG_SEALED_STREAM;
    if (header->incarnation != s->incarnation)
        return HG_SEALED_INCARNATION;
    return header->group != s->group ? HG_SEALED_GROUP : HG_SEALED_OK;
}

static enum hg_sealed_reason sealed_check(const struct hg_streams *streams, const struct hg_stream_state *s,
                                          uint64_t epoch_writer, const struct hg_batch_header *header)
{
    enum hg_sealed_reason reason = sealed_whose(streams, s, header);
    if (reason != HG_SEALED_OK)
        return reason;
    /* Who writes is held against the newest epoch known here, what it sends against what that follows: newer
     * ones that nothing of is left were cut. */
    const struct hg_group *group = hg_streams_group_of(streams, s);
    enum hg_group_reason epochs = hg_group_replicate(group, epoch_writer, s->epoch, epoch_writer);
    if (epochs == HG_GROUP_OK)
        epochs = hg_group_replicate(group, epoch_writer, hg_history_last(&s->history).epoch, header->epoch);
    switch (epochs) {
    case HG_GROUP_OK:
        break;
    case HG_GROUP_batch_epoch:
        return HG_SEALED_EPOCH;
    default:
        return HG_SEALED_ORDER;
    }
    /* 0 is no position: a stream that began there would seem empty for ever, and could go back. */
    if (header->lsn_first == 0 || (s->lsn_sealed != 0 && header->lsn_first != s->lsn_sealed))
        return HG_SEALED_POSITION;
#ifndef HG_SEEDED_BUG_SKIP_CHAIN_CHECK
    if (memcmp(header->chain_previous, s->chain_sealed, sizeof(s->chain_sealed)) != 0)
        return HG_SEALED_CHAIN;
#endif
    return HG_SEALED_OK;
}

static enum hg_sealed_reason append_sealed(struct hg_streams *streams, uint32_t slot, uint64_t epoch_writer,
                                           const uint8_t *batch, uint32_t bytes, uint64_t now_ns)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    enum hg_log_pressure pressure;
    if (hg_batch_verify(batch, bytes) != HG_BATCH_REASON_OK)
        return HG_SEALED_VERIFY;
    const struct hg_batch_header *header = (const struct hg_batch_header *)batch;
    if (hg_batch_bytes(header) != bytes)
        return HG_SEALED_VERIFY;
    enum hg_sealed_reason reason = sealed_check(streams, s, epoch_writer, header);
    if (reason != HG_SEALED_OK)
        return reason;
    if (bytes > hg_log_batch_bytes_max(streams->log))
        return HG_SEALED_SIZE;
    if (commits_full(streams))
        return HG_SEALED_WOULD_BLOCK;
    void *out = header->lsn_first < s->lsn_needed ? hg_log_reserve_taken(streams->log, bytes, &pressure)
                                                  : hg_log_reserve(streams->log, bytes, &pressure);
    if (out == NULL) {
        streams->sealed_full_count += pressure == HG_LOG_PRESSURE_SEGMENTS;
        return HG_SEALED_WOULD_BLOCK;
    }
    memcpy(out, batch, bytes);
    uint64_t sequence = hg_log_commit(streams->log, bytes);
    stream_appended(streams, slot, header, sequence, now_ns);
    hg_streams_sessions_derive(streams, out);
    s->epoch = header->epoch;
    s->lsn_taken = s->lsn_sealed;
    hg_streams_adopt_look(streams, s);
    /* A stamp too far ahead keeps its bytes but does not pull our clock along. */
    (void)hg_hlc_merge(&streams->hlc, header->hlc_base, streams_realtime_ns(streams, now_ns),
                       HG_STREAMS_DRIFT_NS);
    return HG_SEALED_OK;
}

enum hg_sealed_reason hg_streams_append_sealed(struct hg_streams *streams, uint32_t slot,
                                               uint64_t epoch_writer, const uint8_t *batch, uint32_t bytes,
                                               uint64_t now_ns)
{
    enum hg_sealed_reason reason = append_sealed(streams, slot, epoch_writer, batch, bytes, now_ns);
    streams->sealed_counts[reason]++;
    return reason;
}

bool hg_streams_commit(struct hg_streams *streams, uint64_t now_ns)
{
    uint64_t durable = hg_log_durable_sequence(streams->log);
    bool moved = false;
    (void)now_ns;
    while (streams->commits_tail < streams->commits_head) {
        const struct hg_stream_commit *commit =
            &streams->commits[streams->commits_tail & (HG_STREAMS_COMMITS_MAX - 1)];
        if (commit->sequence > durable)
            break;
        struct hg_stream_state *s = &streams->table[commit->slot];
        hg_assert(commit->lsn_end > s->lsn_durable);
        s->lsn_durable = commit->lsn_end;
        memcpy(s->chain_durable, commit->chain, sizeof(s->chain_durable));
        hg_streams_moved(streams, s);
        hg_streams_committed_move(streams, s);
        streams->commits_tail++;
        moved = true;
    }
    if (streams->adopts_due > 0)
        hg_streams_adopts_advance(streams);
    if (streams->groups_pending != 0)
        hg_streams_groups_commit(streams);
    return moved;
}
