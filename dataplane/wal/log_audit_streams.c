/* SPDX-License-Identifier: Apache-2.0
 *
 * What is in a write: batches and local records, each against what the writes before say of its stream. The
 * rules are those of recovery (dataplane/stream/streams.c).
 */
#include "dataplane/wal/log_audit_internal.h"

#include <string.h>

void hg_log_audit_streams_forget(struct hg_log_audit *audit)
{
    memset(audit->streams, 0, HG_LOG_AUDIT_STREAMS * sizeof(audit->streams[0]));
    audit->stream_count = 0;
}

static void batch_report(struct hg_log_audit *audit, enum hg_log_finding_kind kind,
                         const struct hg_log_write_header *header, uint32_t payload_offset,
                         const struct hg_log_finding *about)
{
    struct hg_log_finding finding = *about;
    finding.kind = kind;
    finding.sequence = finding.sequence_last = header->sequence;
    finding.segment = header->segment;
    finding.segment_offset = header->segment_offset;
    finding.payload_first = 1;
    finding.payload_last = 0;
    finding.file_offset = hg_log_audit_file_offset(audit, header->segment, header->segment_offset) +
                          HG_LOG_BLOCK_BYTES + payload_offset;
    hg_log_audit_report(audit, &finding);
    if (kind != HG_LOG_FINDING_HOLE && kind != HG_LOG_FINDING_BEGINS_ANEW)
        hg_log_audit_refuse(audit, HG_LOG_OUTCOME_CORRUPT);
}

/* NULL: there are too many. */
static struct hg_log_audit_stream *stream_find(struct hg_log_audit *audit, uint64_t stream)
{
    uint32_t mask = HG_LOG_AUDIT_STREAMS - 1;
    uint32_t i = (uint32_t)((stream * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & mask;
    while (audit->streams[i].stream != 0 && audit->streams[i].stream != stream)
        i = (i + 1) & mask;
    if (audit->streams[i].stream == stream)
        return &audit->streams[i];
    if (audit->stream_count == HG_STREAMS_MAX)
        return NULL;
    audit->stream_count++;
    audit->streams[i].stream = stream;
    return &audit->streams[i];
}

/* A batch or a record says that the stream stands at (lsn, chain) there. False: something else is known of
 * it. */
static bool stream_follows(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                           uint32_t payload_offset, const struct hg_log_audit_stream *state, uint64_t lsn,
                           const uint8_t chain[16], enum hg_log_finding_kind kind)
{
    if (state->lsn == 0 || (state->lsn == lsn && memcmp(state->chain, chain, sizeof(state->chain)) == 0))
        return true;
    struct hg_log_finding finding = {.stream = state->stream, .lsn_first = state->lsn, .lsn_end = lsn};
    if (audit->damaged_sequence > state->sequence)
        kind = HG_LOG_FINDING_HOLE; /* its cause has been named */
    else if (audit->lost_sequence > state->sequence)
        kind = HG_LOG_FINDING_BEGINS_ANEW;
    batch_report(audit, kind, header, payload_offset, &finding);
    return false;
}

/* The stream goes back to where it was cut; what was behind that is another copy's no more. At or above where
 * it stands that has to follow, as a table does. */
static void cut_take(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                     uint32_t payload_offset, struct hg_log_audit_stream *state,
                     const struct hg_local_record *record)
{
    if (record->lsn >= state->lsn)
        (void)stream_follows(audit, header, payload_offset, state, record->lsn, record->chain,
                             HG_LOG_FINDING_TABLE);
    state->lsn = record->lsn;
    memcpy(state->chain, record->chain, sizeof(state->chain));
    state->sequence = header->sequence;
}

static void record_take(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                        uint32_t payload_offset, const struct hg_local_record *record)
{
    struct hg_log_finding finding = {.stream = record->stream};
    if (record->type == HG_LOCAL_SESSION) /* another layout, and it says nothing of where streams stand */
        return;
    if (!hg_local_record_is_known(record->type) || memchr(record->name, 0, sizeof(record->name)) == NULL) {
        batch_report(audit, HG_LOG_FINDING_RECORD, header, payload_offset, &finding);
        return;
    }
    if (audit->config->ops->record != NULL)
        audit->config->ops->record(audit->config->ctx, record);
    bool begins_anew = record->type == HG_LOCAL_STREAM_BEGUN_ANEW;
    if ((record->type != HG_LOCAL_STREAM && record->type != HG_LOCAL_STREAM_ENDED &&
         record->type != HG_LOCAL_STREAM_CUT && !begins_anew) ||
        record->stream == 0)
        return;
    struct hg_log_audit_stream *state = stream_find(audit, record->stream);
    if (state == NULL) {
        batch_report(audit, HG_LOG_FINDING_STREAMS, header, payload_offset, &finding);
        return;
    }
    if (record->type == HG_LOCAL_STREAM_CUT) {
        cut_take(audit, header, payload_offset, state, record);
        return;
    }
    bool has_ended = record->type == HG_LOCAL_STREAM_ENDED;
    if (!has_ended && !begins_anew)
        (void)stream_follows(audit, header, payload_offset, state, record->lsn, record->chain,
                             HG_LOG_FINDING_TABLE);
    state->lsn = has_ended ? 0 : record->lsn;
    memcpy(state->chain, record->chain, sizeof(state->chain));
    state->sequence = header->sequence;
}

static void records_take(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                         const uint8_t *payload, uint32_t offset)
{
    const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + offset);
    const uint8_t *at = payload + offset + sizeof(*batch);
    for (uint32_t i = 0; i < batch->frame_count; i++, at += sizeof(struct hg_local_record)) {
        struct hg_local_record record;
        memcpy(&record, at, sizeof(record));
        record_take(audit, header, (uint32_t)(at - payload), &record);
    }
}

static enum hg_batch_reason batch_judge(const struct hg_log_audit *audit, const struct hg_batch_header *batch,
                                        uint32_t bytes_max)
{
    enum hg_batch_reason reason = hg_batch_verify(batch, bytes_max);
    if (reason != HG_BATCH_REASON_OK || (batch->flags & HG_BATCH_LOCAL) != 0 || !audit->config->has_frames)
        return reason;
    const uint8_t *frames;
    uint32_t frames_bytes;
    reason = hg_batch_open(batch, audit->raw, HG_FRAME_BYTES_MAX, &frames, &frames_bytes);
    return reason != HG_BATCH_REASON_OK ? reason : hg_batch_check_frames(batch, frames, frames_bytes);
}

static void stream_batch_take(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                              const struct hg_batch_header *batch, uint32_t payload_offset)
{
    struct hg_log_finding finding = {.stream = batch->stream};
    struct hg_log_audit_stream *state = stream_find(audit, batch->stream);
    if (state == NULL) {
        batch_report(audit, HG_LOG_FINDING_STREAMS, header, payload_offset, &finding);
        return;
    }
    (void)stream_follows(audit, header, payload_offset, state, batch->lsn_first, batch->chain_previous,
                         HG_LOG_FINDING_CHAIN);
    state->lsn = batch->lsn_end;
    memcpy(state->chain, batch->chain, sizeof(state->chain));
    state->sequence = header->sequence;
}

/* Returns how many batches there are. `is_whole`: the write is, so that what is wrong is more than a damaged
 * block. */
static uint32_t batches_walk(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                             const uint8_t *payload, bool is_whole)
{
    const struct hg_log_audit_ops *ops = audit->config->ops;
    uint32_t count = 0;
    for (uint32_t offset = 0; offset < header->payload_bytes; count++) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + offset);
        enum hg_batch_reason reason = hg_batch_check_header(batch, header->payload_bytes - offset);
        struct hg_log_finding finding = {.reason = reason, .bytes = header->payload_bytes - offset};
        if (reason != HG_BATCH_REASON_OK) {
            batch_report(audit, HG_LOG_FINDING_BATCH, header, offset, &finding);
            return count;
        }
        reason = batch_judge(audit, batch, header->payload_bytes - offset);
        if (is_whole && ops->batch != NULL)
            ops->batch(audit->config->ctx, header, batch, reason);
        if (reason != HG_BATCH_REASON_OK) {
            finding = (struct hg_log_finding){.reason = reason,
                                              .bytes = hg_batch_bytes(batch),
                                              .stream = batch->stream,
                                              .lsn_first = batch->lsn_first,
                                              .lsn_end = batch->lsn_end};
            batch_report(audit, HG_LOG_FINDING_BATCH, header, offset, &finding);
        } else if ((batch->flags & HG_BATCH_LOCAL) != 0) {
            records_take(audit, header, payload, offset);
        } else {
            stream_batch_take(audit, header, batch, offset);
        }
        offset += hg_batch_bytes(batch);
    }
    return count;
}

void hg_log_audit_batches(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                          const uint8_t *payload)
{
    uint32_t count = batches_walk(audit, header, payload, true);
    struct hg_log_finding finding = {.bytes = header->payload_bytes};
    audit->result->batches += count;
    if (count != header->batch_count)
        batch_report(audit, HG_LOG_FINDING_BATCH_COUNT, header, 0, &finding);
}

void hg_log_audit_batches_left(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                               const uint8_t *payload)
{
    (void)batches_walk(audit, header, payload, false);
}
