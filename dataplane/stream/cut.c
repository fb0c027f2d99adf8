/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/streams_internal.h"

#include <errno.h>
#include <stdlib.h>

#define WALK_BATCHES_MAX 4096u /* in one call */

enum cut_state {
    CUT_NONE,
    CUT_GATHERING, /* batches into the piece */
    CUT_PIECE,     /* it waits to be lent, or is */
    CUT_WRITTEN,   /* the file is on the device: now the record */
    CUT_FAILED,    /* the file could not be written: again at retry_ns */
};

/* The one cut that a log has under way. */
struct hg_stream_cutting {
    enum cut_state state;
    bool is_lent;
    uint32_t slot;
    struct hg_cut_point point;
    uint64_t lsn; /* end of what was gathered */
    uint8_t chain[16];
    struct hg_cursor cursor;
    uint64_t asked_ns; /* last */
    uint64_t retry_ns;
    struct hg_orphan_piece piece;
    uint8_t *data; /* HG_CUT_PIECE_BYTES */
    /* Cuts whose files are to be told of them, the oldest first. */
    struct {
        char name[HG_ORPHAN_NAME_BYTES];
        uint64_t chain_head;
        uint64_t write; /* of the record */
    } notes[HG_CUT_NOTES_MAX];
    uint32_t note_first, note_count;
    uint64_t note_retry_ns;
    struct hg_orphan_piece note;
    bool is_note_lent;
};

struct hg_stream_cutting *hg_stream_cutting_make(void)
{
    struct hg_stream_cutting *cutting = calloc(1, sizeof(*cutting));
    hg_assert(cutting != NULL);
    cutting->data = malloc(HG_CUT_PIECE_BYTES);
    hg_assert(cutting->data != NULL);
    cutting->piece.data = cutting->data;
    return cutting;
}

void hg_stream_cutting_free(struct hg_stream_cutting *cutting)
{
    free(cutting->data);
    free(cutting);
}

/* ---- the file ---- */

static void cut_begin(struct hg_streams *streams, uint32_t slot, const struct hg_cut_point *point,
                      uint64_t now_ns)
{
    struct hg_stream_cutting *cutting = streams->cutting;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    struct hg_orphan_piece *piece = &cutting->piece;
    memset(piece, 0, sizeof(*piece));
    piece->data = cutting->data;
    piece->offset = sizeof(piece->header);
    piece->is_first = true;
    struct hg_orphan_header *header = &piece->header;
    header->cluster = streams->config.cluster;
    memcpy(header->log_uuid, hg_log_uuid(streams->log), sizeof(header->log_uuid));
    header->stream = s->stream;
    header->incarnation = s->incarnation;
    header->group = s->group;
    header->region = s->region;
    header->kind = s->kind;
    header->lsn_unit_bytes = s->lsn_unit_bytes;
    header->system_identifier = s->system_identifier;
    header->epoch_cut = point->epoch;
    header->epoch_common = point->epoch_common;
    header->lsn_first = point->lsn != 0 ? point->lsn : s->lsn_begin;
    header->lsn_floor = hg_streams_floor(s);
    header->realtime_ns = streams->config.clock->realtime_ns(streams->config.clock);
    memcpy(header->chain_previous, point->chain, sizeof(header->chain_previous));
    memcpy(header->name, s->name, sizeof(header->name));
    hg_orphan_name(header, piece->name);
    cutting->state = CUT_GATHERING;
    cutting->slot = slot;
    cutting->point = *point;
    cutting->lsn = header->lsn_first;
    memcpy(cutting->chain, point->chain, sizeof(cutting->chain));
    cutting->cursor = (struct hg_cursor){
        .sequence = hg_max_u64(hg_streams_sequence_of(streams, slot, header->lsn_first), 1)};
    cutting->asked_ns = now_ns;
}

static void cut_fail(struct hg_streams *streams, int code, uint64_t now_ns)
{
    struct hg_stream_cutting *cutting = streams->cutting;
    cutting->state = CUT_FAILED;
    cutting->retry_ns = now_ns + HG_CUT_RETRY_NS;
    streams->orphans_failed++;
    hg_event_put(streams->config.events, HG_EVENT_orphan_failed, hg_streams_at(streams, cutting->slot)->name,
                 (uint64_t)-code, cutting->point.lsn);
}

static void piece_end(struct hg_stream_cutting *cutting, const struct hg_stream_state *s)
{
    struct hg_orphan_piece *piece = &cutting->piece;
    piece->is_last = cutting->lsn == s->lsn_sealed;
    if (piece->is_last) {
        piece->header.lsn_end = cutting->lsn;
        memcpy(piece->header.chain, cutting->chain, sizeof(piece->header.chain));
        hg_orphan_seal(&piece->header);
    }
    cutting->state = CUT_PIECE;
}

/* The batch is the next of what is cut off. False: the piece is full. */
static bool batch_gather(struct hg_stream_cutting *cutting, const struct hg_batch_header *batch)
{
    struct hg_orphan_piece *piece = &cutting->piece;
    uint32_t bytes = hg_batch_bytes(batch);
    if (bytes > HG_CUT_PIECE_BYTES - piece->bytes)
        return false;
    memcpy(cutting->data + piece->bytes, batch, bytes);
    piece->bytes += bytes;
    piece->header.batches_bytes += bytes;
    piece->header.batch_count++;
    cutting->lsn = batch->lsn_end;
    memcpy(cutting->chain, batch->chain, sizeof(cutting->chain));
    return true;
}

/* Walks on from the cursor. -EBADMSG, -ENOENT: what is to be cut can't be read, so it can't be kept; -ESTALE:
 * the point is none of this copy. */
static int cut_gather(struct hg_streams *streams)
{
    struct hg_stream_cutting *cutting = streams->cutting;
    const struct hg_stream_state *s = hg_streams_at(streams, cutting->slot);
    for (uint32_t looked = 0; looked < WALK_BATCHES_MAX && cutting->lsn < s->lsn_sealed; looked++) {
        const struct hg_batch_header *header;
        int rc = hg_cursor_peek(&cutting->cursor, streams->log, &header);
        if (rc <= 0)
            return rc;
        bool is_wanted = (header->flags & HG_BATCH_LOCAL) == 0 && header->stream == s->stream &&
                         header->lsn_end > cutting->lsn &&
                         !hg_stream_batch_is_cut(s, cutting->cursor.sequence, header->lsn_first);
        if (is_wanted && (header->lsn_first != cutting->lsn ||
                          memcmp(header->chain_previous, cutting->chain, sizeof(cutting->chain)) != 0))
            return -ESTALE;
        if (is_wanted && !batch_gather(cutting, header)) {
            piece_end(cutting, s);
            return 0;
        }
        hg_cursor_advance(&cutting->cursor, header);
    }
    if (cutting->lsn == s->lsn_sealed)
        piece_end(cutting, s);
    return 0;
}

/* ---- the note ---- */

/* In recovery there may be more records than places: the newest are those that may not be noted yet. */
static void note_add(struct hg_stream_cutting *cutting, const char *name, uint64_t chain_head, uint64_t write)
{
    if (cutting->note_count == HG_CUT_NOTES_MAX) {
        cutting->note_first = (cutting->note_first + 1) % HG_CUT_NOTES_MAX;
        cutting->note_count--;
    }
    uint32_t at = (cutting->note_first + cutting->note_count++) % HG_CUT_NOTES_MAX;
    memcpy(cutting->notes[at].name, name, sizeof(cutting->notes[at].name));
    cutting->notes[at].chain_head = chain_head;
    cutting->notes[at].write = write;
}

void hg_streams_recovered_cut_note(struct hg_streams *streams, const struct hg_local_record *record)
{
    struct hg_orphan_header header;
    char name[HG_ORPHAN_NAME_BYTES];
    if (record->epoch_lsn == 0) /* nothing was cut off but epochs */
        return;
    memset(&header, 0, sizeof(header));
    header.incarnation = record->incarnation;
    header.epoch_cut = record->epoch_lsn;
    header.lsn_first = record->lsn_begin;
    memcpy(header.name, record->name, sizeof(header.name));
    hg_orphan_name(&header, name);
    note_add(streams->cutting, name, record->system_identifier, 0);
}

static const struct hg_orphan_piece *note_due(struct hg_streams *streams, uint64_t now_ns)
{
    struct hg_stream_cutting *cutting = streams->cutting;
    if (cutting->note_count == 0 || now_ns < cutting->note_retry_ns ||
        cutting->notes[cutting->note_first].write > hg_log_durable_sequence(streams->log))
        return NULL;
    memset(&cutting->note, 0, sizeof(cutting->note));
    memcpy(cutting->note.name, cutting->notes[cutting->note_first].name, sizeof(cutting->note.name));
    cutting->note.chain_head = cutting->notes[cutting->note_first].chain_head;
    cutting->note.is_recorded = true;
    cutting->is_lent = cutting->is_note_lent = true;
    return &cutting->note;
}

static void note_written(struct hg_stream_cutting *cutting, int code, uint64_t now_ns)
{
    cutting->is_lent = cutting->is_note_lent = false;
    if (code != 0) {
        cutting->note_retry_ns = now_ns + HG_CUT_RETRY_NS;
        return;
    }
    cutting->note_first = (cutting->note_first + 1) % HG_CUT_NOTES_MAX;
    cutting->note_count--;
}

const struct hg_orphan_piece *hg_streams_orphan_due(struct hg_streams *streams, uint64_t now_ns)
{
    struct hg_stream_cutting *cutting = streams->cutting;
    if (cutting->is_lent)
        return NULL;
    if (cutting->state != CUT_PIECE)
        return note_due(streams, now_ns);
    cutting->is_lent = true;
    return &cutting->piece;
}

void hg_streams_orphan_written(struct hg_streams *streams, int code, uint64_t now_ns)
{
    struct hg_stream_cutting *cutting = streams->cutting;
    struct hg_orphan_piece *piece = &cutting->piece;
    if (cutting->is_note_lent) {
        streams->orphans_failed += code != 0;
        note_written(cutting, code, now_ns);
        return;
    }
    hg_assert(cutting->state == CUT_PIECE && cutting->is_lent);
    cutting->is_lent = false;
    if (code != 0) {
        cut_fail(streams, code, now_ns);
        return;
    }
    cutting->state = piece->is_last ? CUT_WRITTEN : CUT_GATHERING;
    piece->offset += piece->bytes;
    piece->bytes = 0;
    piece->is_first = false;
}

/* ---- the record ---- */

uint64_t hg_streams_floor(const struct hg_stream_state *s)
{
    return hg_max_u64(s->lsn_committed, s->lsn_floor);
}

static void history_cut(struct hg_history *history, uint64_t epoch_common)
{
    while (history->count > 0 && hg_history_last(history).epoch > epoch_common)
        history->starts[--history->count] = (struct hg_epoch_start){0};
}

/* Batches before `sequence` from `lsn` on are dead. An older cut at or above this one says nothing more. */
static void cut_remember(struct hg_stream_state *s, uint64_t sequence, uint64_t lsn)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->cut_count; i++)
        if (s->cuts[i].lsn < lsn)
            s->cuts[kept++] = s->cuts[i];
    hg_assert(kept < HG_STREAM_CUTS_MAX);
    s->cuts[kept].sequence = sequence;
    s->cuts[kept++].lsn = lsn;
    s->cut_count = kept;
}

static bool cut_has_place(const struct hg_stream_state *s, uint64_t lsn)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->cut_count; i++)
        kept += s->cuts[i].lsn < lsn;
    return kept < HG_STREAM_CUTS_MAX;
}

bool hg_streams_cut_apply(struct hg_streams *streams, struct hg_stream_state *s, uint64_t lsn,
                          const uint8_t chain[16], uint64_t epoch_common)
{
    bool has_batches = lsn < s->lsn_sealed; /* else only epochs that nothing was written under */
    if (lsn > s->lsn_sealed || (has_batches && !cut_has_place(s, lsn)))
        return false;
    if (has_batches && s->sequence_last != 0)
        cut_remember(s, s->sequence_last + 1, lsn);
    s->lsn_taken = s->lsn_sealed = s->lsn_durable = lsn;
    s->tail_chosen = false;
    memcpy(s->chain_sealed, chain, sizeof(s->chain_sealed));
    memcpy(s->chain_durable, chain, sizeof(s->chain_durable));
    if (lsn == 0)
        s->lsn_begin = 0;
    history_cut(&s->history, epoch_common);
    s->epoch = hg_max_u64(hg_history_last(&s->history).epoch, HG_EPOCH_FIRST);
    s->epoch_recorded = hg_min_u64(s->epoch_recorded, s->epoch);
    s->lsn_committed_told = hg_min_u64(s->lsn_committed_told, lsn);
    s->lsn_needed = 0;
    for (uint32_t peer = 0; peer < HG_STREAMS_PEERS_MAX; peer++) {
        s->lsn_peer[peer] = hg_min_u64(s->lsn_peer[peer], lsn);
        s->lsn_peer_told[peer] = hg_min_u64(s->lsn_peer_told[peer], lsn);
        s->lsn_counted[peer] = hg_min_u64(s->lsn_counted[peer], lsn);
    }
    s->sessions_evicted |= hg_sessions_cut(streams->sessions, s->stream, lsn);
    hg_index_cut(&s->index, lsn);
    hg_marks_init(&s->marks);
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        struct hg_consumer_state *consumer = &streams->consumers[i];
        if (!consumer->used || &streams->table[consumer->slot] != s || consumer->lsn <= lsn)
            continue;
        consumer->lsn = lsn;
        consumer->dirty = true;
    }
    return true;
}

/* `file`: what was cut off is in it; NULL = nothing was. False: the log takes none now. */
static bool cut_record(struct hg_streams *streams, struct hg_stream_state *s,
                       const struct hg_cut_point *point, const struct hg_orphan_piece *file)
{
    struct hg_local_record record;
    memset(&record, 0, sizeof(record));
    if (file != NULL) {
        record.incarnation = file->header.incarnation;
        record.epoch_lsn = file->header.epoch_cut;
        record.lsn_begin = file->header.lsn_first;
        record.system_identifier = hg_orphan_chain_head(&file->header);
    }
    record.type = HG_LOCAL_STREAM_CUT;
    record.stream = s->stream;
    record.group = s->group;
    record.epoch = point->epoch_common;
    record.lsn = point->lsn;
    memcpy(record.chain, point->chain, sizeof(record.chain));
    memcpy(record.name, s->name, sizeof(record.name));
    uint64_t sequence = hg_log_append_records(streams->log, &record, 1);
    if (sequence == 0)
        return false;
    hg_streams_adopt_cancel(streams, s);
    bool done = hg_streams_cut_apply(streams, s, record.lsn, record.chain, record.epoch);
    hg_assert(done && s->lsn_committed <= s->lsn_durable);
    s->cut_write = sequence;
    if (file != NULL)
        note_add(streams->cutting, file->name, record.system_identifier, sequence);
    hg_streams_moved(streams, s);
    return true;
}

static bool batches_cut(struct hg_streams *streams)
{
    const struct hg_stream_cutting *cutting = streams->cutting;
    struct hg_stream_state *s = hg_streams_at(streams, cutting->slot);
    uint64_t lsn_end = s->lsn_sealed;
    if (!cut_record(streams, s, &cutting->point, &cutting->piece))
        return false;
    streams->cuts_count++;
    hg_event_put(streams->config.events, HG_EVENT_stream_cut, s->name, cutting->point.lsn, lsn_end);
    return true;
}

/* The copy ends at the point, but an epoch that its writer lacks began there: batches that the writer has of
 * older ones would not follow it. */
static enum hg_group_reason epochs_cut(struct hg_streams *streams, struct hg_stream_state *s,
                                       const struct hg_cut_point *point)
{
    uint64_t epoch_last = hg_history_last(&s->history).epoch;
    /* point->epoch itself: it is adopted. */
    if (epoch_last <= point->epoch_common || epoch_last >= point->epoch)
        return HG_GROUP_OK;
    enum hg_group_reason reason =
        hg_group_truncate(hg_streams_group_of(streams, s), point->epoch, point->lsn, hg_streams_floor(s));
    if (reason == HG_GROUP_OK && memcmp(point->chain, s->chain_sealed, sizeof(point->chain)) != 0)
        reason = HG_GROUP_truncate_history;
    if (reason != HG_GROUP_OK)
        return hg_streams_group_counted(streams, reason);
    return cut_record(streams, s, point, NULL) ? HG_GROUP_OK : HG_GROUP_WOULD_BLOCK;
}

bool hg_streams_is_cutting(const struct hg_streams *streams, uint32_t slot)
{
    hg_assert(slot < streams->count);
    return streams->table[slot].cut_write > hg_log_durable_sequence(streams->log);
}

/* ---- all of it ---- */

static enum hg_group_reason cut_check(struct hg_streams *streams, const struct hg_stream_state *s,
                                      const struct hg_cut_point *point)
{
#ifdef HG_SEEDED_BUG_CUT_BELOW_COMMIT
    uint64_t floor = 0;
#else
    uint64_t floor = hg_streams_floor(s);
#endif
    enum hg_group_reason reason =
        hg_group_truncate(hg_streams_group_of(streams, s), point->epoch, point->lsn, floor);
    if (reason == HG_GROUP_OK &&
        (point->lsn >= s->lsn_sealed || (point->lsn != 0 && point->lsn < s->lsn_begin)))
        reason = HG_GROUP_truncate_history;
    if (reason == HG_GROUP_OK && !cut_has_place(s, point->lsn))
        reason = HG_GROUP_truncate_many;
    return hg_streams_group_counted(streams, reason);
}

static bool is_same(const struct hg_stream_cutting *cutting, uint32_t slot, const struct hg_cut_point *point)
{
    return cutting->slot == slot && cutting->point.epoch == point->epoch &&
           cutting->point.lsn == point->lsn && cutting->point.epoch_common == point->epoch_common &&
           memcmp(cutting->point.chain, point->chain, sizeof(point->chain)) == 0;
}

/* Whether the one cut that is under way is this one now. */
static bool cut_take(struct hg_streams *streams, uint32_t slot, const struct hg_cut_point *point,
                     uint64_t now_ns)
{
    struct hg_stream_cutting *cutting = streams->cutting;
    bool same = cutting->state != CUT_NONE && is_same(cutting, slot, point);
    bool idle = cutting->state == CUT_NONE || now_ns - cutting->asked_ns >= HG_CUT_IDLE_NS;
    if (same)
        cutting->asked_ns = now_ns;
    if (cutting->is_lent || (!same && !idle) || cutting->note_count == HG_CUT_NOTES_MAX)
        return false;
    if (!same || (cutting->state == CUT_FAILED && now_ns >= cutting->retry_ns))
        cut_begin(streams, slot, point, now_ns);
    return true;
}

enum hg_group_reason hg_streams_cut(struct hg_streams *streams, uint32_t slot,
                                    const struct hg_cut_point *point, uint64_t now_ns)
{
    struct hg_stream_cutting *cutting = streams->cutting;
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    hg_assert(s->lsn_durable == s->lsn_sealed);
    /* This node writes under it, or did: such a word is from before it began. Its being the writer is no
     * reason: a former one that is filled to be it again is cut before it begins. */
    if (point->epoch <= hg_streams_group_of(streams, s)->epoch_begun)
        return hg_streams_group_counted(streams, HG_GROUP_truncate_epoch);
    if (s->lsn_sealed == point->lsn)
        return epochs_cut(streams, s, point);
    enum hg_group_reason reason = cut_check(streams, s, point);
    if (reason != HG_GROUP_OK)
        return reason;
    if (!cut_take(streams, slot, point, now_ns))
        return HG_GROUP_WOULD_BLOCK;
    int rc = cutting->state == CUT_GATHERING ? cut_gather(streams) : 0;
    if (rc == -ESTALE) {
        cutting->state = CUT_NONE;
        return hg_streams_group_counted(streams, HG_GROUP_truncate_history);
    }
    if (rc < 0)
        cut_fail(streams, rc, now_ns);
    if (cutting->state != CUT_WRITTEN || !batches_cut(streams))
        return HG_GROUP_WOULD_BLOCK;
    cutting->state = CUT_NONE;
    return HG_GROUP_OK;
}
