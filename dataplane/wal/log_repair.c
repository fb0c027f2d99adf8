/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_repair.h"
#include "dataplane/wal/log_growth.h"
#include "dataplane/wal/log_hole.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define STREAMS_PLACES (2u << 14) /* a power of two above HG_STREAMS_MAX */
#define PARTS_MAX      4096u      /* batches of one write, and such as may be of it */

/* Where a stream stood before the damage and where it goes on behind it. */
struct stream_ends {
    uint64_t stream; /* 0 = none */
    uint64_t lsn;    /* 0 = it was not there before */
    uint64_t lsn_after;
    uint8_t chain[16];
    uint8_t chain_after[16];
    bool has_after;
};

/* A batch that is, or may be, of the damaged write. */
struct part {
    struct hg_batch_header header;
    uint8_t *bytes; /* NULL = missing */
    bool is_taken;  /* from another log */
};

/* A write that is there to be read and of which nothing says that a flush covered it. */
struct unflushed {
    uint64_t sequence;
    uint64_t segment;
    uint32_t segment_offset;
    uint32_t payload_bytes;
};

struct hg_log_repair {
    const struct hg_log_loss_ops *ops;
    void *ctx;
    uint64_t sequence_wanted;
    struct hg_log_audit_result result;
    struct hg_log_geometry geometry;
    struct hg_log_finding damage;
    bool has_damage, is_inside; /* the audit is at it */
    uint64_t sequence_at;       /* of the write that the audit is at */
    uint64_t hlc_ceiling;
    uint32_t restarts;
    struct unflushed *unflushed; /* in order */
    uint32_t unflushed_count, unflushed_room;

    struct stream_ends *streams;
    uint32_t stream_count;

    uint8_t *at; /* the damaged write as it lies there, and its header if one is whole */
    uint32_t at_bytes;
    struct hg_log_write_header header;
    bool has_header;
    bool has_unknown; /* what is behind the parts is not known */

    struct part parts[PARTS_MAX]; /* whose headers lie there, in their order */
    uint32_t part_count;
    struct part taken[PARTS_MAX]; /* from elsewhere, that may fill what is not known */
    uint32_t taken_count;

    uint8_t *write; /* the copy: header block and payload */
    uint32_t write_bytes;
    uint32_t payload_bytes;
    uint32_t batch_count;
    uint32_t taken_used; /* of its batches: from other logs */
    bool is_proved;
    struct hg_log_hole hole;
    char problem[200];
};

/* ---- what is known of the streams ---- */

static struct stream_ends *ends_of(struct hg_log_repair *repair, uint64_t stream)
{
    uint32_t mask = STREAMS_PLACES - 1;
    uint32_t i = (uint32_t)((stream * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & mask;
    while (repair->streams[i].stream != 0 && repair->streams[i].stream != stream)
        i = (i + 1) & mask;
    if (repair->streams[i].stream == 0) {
        if (repair->stream_count == HG_STREAMS_MAX)
            return NULL;
        repair->stream_count++;
        repair->streams[i].stream = stream;
    }
    return &repair->streams[i];
}

/* The stream stands at (lsn, chain) there, before what it says if `end` is given, which is then its end. */
static void ends_learn(struct hg_log_repair *repair, uint64_t stream, uint64_t lsn, const uint8_t *chain,
                       uint64_t lsn_end, const uint8_t *chain_end)
{
    struct stream_ends *ends = stream == 0 ? NULL : ends_of(repair, stream);
    if (ends == NULL)
        return;
    bool is_behind = repair->has_damage && repair->sequence_at > repair->damage.sequence_last;
    if (!is_behind) {
        ends->lsn = lsn_end;
        memcpy(ends->chain, chain_end, sizeof(ends->chain));
    } else if (!ends->has_after) {
        ends->has_after = true;
        ends->lsn_after = lsn;
        memcpy(ends->chain_after, chain, sizeof(ends->chain_after));
    }
}

static void finding_take(void *ctx, const struct hg_log_finding *finding)
{
    struct hg_log_repair *repair = ctx;
    if (finding->kind != HG_LOG_FINDING_CORRUPT && finding->kind != HG_LOG_FINDING_LOST)
        return;
    repair->is_inside = true; /* what is said of its batches is not of a whole write */
    bool is_wanted = repair->sequence_wanted == 0 || (repair->sequence_wanted >= finding->sequence &&
                                                      repair->sequence_wanted <= finding->sequence_last);
    if (repair->has_damage || !is_wanted)
        return;
    repair->damage = *finding;
    repair->has_damage = true;
}

/* The audit learns what was durable as it goes, from the headers behind: few are left at any time. */
static void unflushed_take(struct hg_log_repair *repair, const struct hg_log_write_header *header)
{
    uint32_t flushed = 0;
    while (flushed < repair->unflushed_count && repair->unflushed[flushed].sequence <= repair->result.durable)
        flushed++;
    repair->unflushed_count -= flushed;
    if (flushed > 0)
        memmove(repair->unflushed, repair->unflushed + flushed,
                repair->unflushed_count * sizeof(repair->unflushed[0]));
    if (header->sequence <= repair->result.durable)
        return;
    if (repair->unflushed_count == repair->unflushed_room) {
        repair->unflushed_room += HG_LOG_WRITES_UNFLUSHED_MAX;
        repair->unflushed = realloc(repair->unflushed, repair->unflushed_room * sizeof(repair->unflushed[0]));
        hg_assert(repair->unflushed != NULL);
    }
    repair->unflushed[repair->unflushed_count++] =
        (struct unflushed){.sequence = header->sequence,
                           .segment = header->segment,
                           .segment_offset = header->segment_offset,
                           .payload_bytes = header->payload_bytes};
}

static void write_take(void *ctx, const struct hg_log_write_header *header)
{
    struct hg_log_repair *repair = ctx;
    unflushed_take(repair, header);
    repair->is_inside = false;
    repair->sequence_at = header->sequence;
    repair->hlc_ceiling = hg_max_u64(repair->hlc_ceiling, header->hlc_ceiling);
    repair->restarts = (uint32_t)hg_max_u64(repair->restarts, header->restarts);
}

static void batch_take(void *ctx, const struct hg_log_write_header *header,
                       const struct hg_batch_header *batch, enum hg_batch_reason reason)
{
    struct hg_log_repair *repair = ctx;
    repair->sequence_at = header->sequence; /* of a repaired one too */
    if (reason == HG_BATCH_REASON_OK && (batch->flags & HG_BATCH_LOCAL) == 0)
        ends_learn(repair, batch->stream, batch->lsn_first, batch->chain_previous, batch->lsn_end,
                   batch->chain);
}

static void record_take(void *ctx, const struct hg_local_record *record)
{
    struct hg_log_repair *repair = ctx;
    if (record->type == HG_LOCAL_STREAM && !repair->is_inside)
        ends_learn(repair, record->stream, record->lsn, record->chain, record->lsn, record->chain);
}

/* ---- the damaged write as it lies there ---- */

static bool header_fits(const struct hg_log_repair *repair, const struct hg_log_write_header *header)
{
    const struct hg_log_finding *damage = &repair->damage;
    return hg_log_write_header_is_valid(header, repair->geometry.log_uuid) && header->flags == 0 &&
           header->sequence == damage->sequence && damage->sequence_last == damage->sequence &&
           header->segment == damage->segment && header->segment_offset == damage->segment_offset &&
           hg_log_write_bytes(header->payload_bytes) <= repair->at_bytes;
}

static int header_find(struct hg_log_repair *repair)
{
    struct hg_log_write_header *copy = aligned_alloc(HG_LOG_BLOCK_BYTES, sizeof(*copy));
    uint64_t slot = repair->damage.sequence % HG_LOG_RING_BLOCKS;
    if (copy == NULL)
        return -ENOMEM;
    int rc =
        repair->ops->read(repair->ctx, copy, sizeof(*copy), HG_LOG_RING_OFFSET + slot * HG_LOG_BLOCK_BYTES);
    const struct hg_log_write_header *own = (const struct hg_log_write_header *)repair->at;
    const struct hg_log_write_header *found = header_fits(repair, own)               ? own
                                              : rc == 0 && header_fits(repair, copy) ? copy
                                                                                     : NULL;
    repair->has_header = found != NULL;
    if (found != NULL)
        repair->header = *found;
    free(copy);
    return rc;
}

static bool part_add(struct part *parts, uint32_t *count, const struct hg_batch_header *batch, bool has_bytes,
                     bool is_taken)
{
    uint32_t bytes = hg_batch_bytes(batch);
    if (*count == PARTS_MAX)
        return false;
    struct part *part = &parts[(*count)++];
    part->header = *batch;
    part->is_taken = is_taken;
    part->bytes = has_bytes ? malloc(bytes) : NULL;
    if (has_bytes && part->bytes != NULL)
        memcpy(part->bytes, batch, bytes);
    return true;
}

/* As far as its batches' headers go. */
static void parts_find(struct hg_log_repair *repair)
{
    const uint8_t *payload = repair->at + HG_LOG_BLOCK_BYTES;
    uint32_t limit =
        repair->has_header ? repair->header.payload_bytes : repair->at_bytes - HG_LOG_BLOCK_BYTES;
    uint32_t offset = 0;
    while (offset < limit && hg_batch_check_header(payload + offset, limit - offset) == HG_BATCH_REASON_OK) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + offset);
        bool is_whole = hg_batch_verify(batch, limit - offset) == HG_BATCH_REASON_OK;
        if (!part_add(repair->parts, &repair->part_count, batch, is_whole, false))
            break;
        offset += hg_batch_bytes(batch);
    }
    repair->has_unknown = offset < limit || !repair->has_header;
}

static const char *damage_read(struct hg_log_repair *repair)
{
    const struct hg_log_finding *damage = &repair->damage;
    uint32_t most = hg_log_write_bytes_max(repair->geometry.write_payload_bytes_max);
    uint64_t room = repair->geometry.segment_bytes - damage->segment_offset;
    uint64_t bytes = damage->bytes != 0 ? damage->bytes : most;
    repair->at_bytes = (uint32_t)hg_min_u64(hg_min_u64(bytes, most), room);
    repair->at_bytes -= repair->at_bytes % HG_LOG_BLOCK_BYTES;
    repair->at = aligned_alloc(HG_LOG_BLOCK_BYTES, most);
    repair->write = aligned_alloc(HG_LOG_BLOCK_BYTES, most);
    if (repair->at == NULL || repair->write == NULL)
        return "there is no memory for it";
    if (repair->ops->read(repair->ctx, repair->at, repair->at_bytes, damage->file_offset) != 0 ||
        header_find(repair) != 0)
        return "the device gave an error: copy the log to one that can be read";
    if (damage->sequence_last == damage->sequence)
        parts_find(repair);
    else
        repair->has_unknown = true; /* several writes, and where each of them was is not known */
    return NULL;
}

static const char *damage_refused(const struct hg_log_repair *repair)
{
    const struct hg_log_audit_result *result = &repair->result;
    if (result->outcome == HG_LOG_OUTCOME_UNUSABLE || result->end == HG_LOG_END_NEVER)
        return "the log has no superblock to work with";
    if (!repair->has_damage)
        return "there is no damaged write to repair";
    if (result->end == HG_LOG_END_DAMAGE || !repair->damage.has_next)
        return "nothing whole comes behind it, so what was in it is not known here: fill a new log from a "
               "peer";
    if (result->end != HG_LOG_END_NOTHING && result->end != HG_LOG_END_OLDER)
        return "the log is full: there is no new place to write to";
    if (repair->damage.sequence < result->sequence_first)
        return "it lies before the log's tail";
    return NULL;
}

struct hg_log_repair *hg_log_repair_begin(const struct hg_log_loss_ops *ops, void *ctx, uint64_t size_bytes,
                                          uint64_t sequence, const char **why)
{
    static const struct hg_log_audit_ops audit_ops = {
        .finding = finding_take, .write = write_take, .batch = batch_take, .record = record_take};
    struct hg_log_repair *repair = calloc(1, sizeof(*repair));
    hg_assert(repair != NULL);
    repair->ops = ops;
    repair->ctx = ctx;
    repair->sequence_wanted = sequence;
    repair->streams = calloc(STREAMS_PLACES, sizeof(repair->streams[0]));
    hg_assert(repair->streams != NULL);
    struct hg_log_audit_config config = {.ops = &audit_ops,
                                         .ctx = repair,
                                         .size_bytes = size_bytes,
                                         .has_frames = true,
                                         .read = ops->read,
                                         .read_ctx = ctx};
    hg_log_audit(&config, &repair->result);
    hg_log_geometry_of(&repair->result.superblock, &repair->geometry);
    *why = damage_refused(repair);
    if (*why == NULL)
        *why = damage_read(repair);
    if (*why == NULL)
        return repair;
    hg_log_repair_free(repair);
    return NULL;
}

void hg_log_repair_free(struct hg_log_repair *repair)
{
    for (uint32_t i = 0; i < repair->part_count; i++)
        free(repair->parts[i].bytes);
    for (uint32_t i = 0; i < repair->taken_count; i++)
        free(repair->taken[i].bytes);
    free(repair->unflushed);
    free(repair->streams);
    free(repair->at);
    free(repair->write);
    free(repair);
}

/* ---- what others have ---- */

static bool is_taken(const struct hg_log_repair *repair, const struct hg_batch_header *batch)
{
    for (uint32_t i = 0; i < repair->taken_count; i++)
        if (memcmp(&repair->taken[i].header, batch, sizeof(*batch)) == 0)
            return true;
    return false;
}

static void other_batch_take(void *ctx, const struct hg_log_write_header *header,
                             const struct hg_batch_header *batch, enum hg_batch_reason reason)
{
    struct hg_log_repair *repair = ctx;
    (void)header;
    if (reason != HG_BATCH_REASON_OK || (batch->flags & HG_BATCH_LOCAL) != 0 ||
        batch->cluster != repair->geometry.cluster)
        return;
    for (uint32_t i = 0; i < repair->part_count; i++) {
        struct part *part = &repair->parts[i];
        if (part->bytes != NULL || memcmp(&part->header, batch, sizeof(*batch)) != 0)
            continue;
        part->bytes = malloc(hg_batch_bytes(batch));
        hg_assert(part->bytes != NULL);
        memcpy(part->bytes, batch, hg_batch_bytes(batch));
        part->is_taken = true;
        return;
    }
    const struct stream_ends *ends = ends_of(repair, batch->stream);
    if (repair->has_unknown && ends != NULL && ends->has_after && batch->lsn_first >= ends->lsn &&
        batch->lsn_end <= ends->lsn_after && !is_taken(repair, batch))
        (void)part_add(repair->taken, &repair->taken_count, batch, true, true);
}

void hg_log_repair_take(struct hg_log_repair *repair,
                        int (*read)(void *ctx, void *data, uint32_t bytes, uint64_t offset), void *ctx,
                        uint64_t size_bytes)
{
    static const struct hg_log_audit_ops ops = {.batch = other_batch_take};
    struct hg_log_audit_result result;
    struct hg_log_audit_config config = {.ops = &ops,
                                         .ctx = repair,
                                         .size_bytes = size_bytes,
                                         .has_frames = true,
                                         .read = read,
                                         .read_ctx = ctx};
    hg_log_audit(&config, &result);
}

/* ---- putting it together ---- */

static bool payload_add(struct hg_log_repair *repair, const struct part *part)
{
    uint32_t bytes = hg_batch_bytes(&part->header);
    if (bytes > repair->geometry.write_payload_bytes_max - repair->payload_bytes) {
        snprintf(repair->problem, sizeof(repair->problem), "what was in it does not fit one write");
        return false;
    }
    memcpy(repair->write + HG_LOG_BLOCK_BYTES + repair->payload_bytes, part->bytes, bytes);
    repair->payload_bytes += bytes;
    repair->batch_count++;
    repair->taken_used += part->is_taken;
    return true;
}

/* From where the stream stands to where it goes on behind the damage, without a hole. */
static bool stream_fill(struct hg_log_repair *repair, struct stream_ends *ends)
{
    while (ends->has_after && (ends->lsn != ends->lsn_after ||
                               memcmp(ends->chain, ends->chain_after, sizeof(ends->chain)) != 0)) {
        const struct part *next = NULL;
        for (uint32_t i = 0; i < repair->taken_count && next == NULL; i++) {
            const struct hg_batch_header *header = &repair->taken[i].header;
            if (header->stream == ends->stream && (ends->lsn == 0 || header->lsn_first == ends->lsn) &&
                memcmp(header->chain_previous, ends->chain, sizeof(ends->chain)) == 0)
                next = &repair->taken[i];
        }
        if (next == NULL && ends->lsn == 0 && hg_log_is_zero(ends->chain_after, sizeof(ends->chain_after)))
            return true; /* it began behind it */
        if (next == NULL) {
            snprintf(repair->problem, sizeof(repair->problem),
                     "entries [%llu, %llu) of stream %llu are in none of the logs given",
                     (unsigned long long)ends->lsn, (unsigned long long)ends->lsn_after,
                     (unsigned long long)ends->stream);
            return false;
        }
        if (!payload_add(repair, next))
            return false;
        ends->lsn = next->header.lsn_end;
        memcpy(ends->chain, next->header.chain, sizeof(ends->chain));
    }
    return true;
}

static bool part_follows(const struct stream_ends *ends, const struct hg_batch_header *header)
{
    return ends->lsn == 0 || (ends->lsn == header->lsn_first &&
                              memcmp(ends->chain, header->chain_previous, sizeof(ends->chain)) == 0);
}

/* Without the write's header it may be of what lay there before: it is left out where the stream has to come,
 * without it, to where it goes on behind. */
static bool part_is_other(struct hg_log_repair *repair, const struct part *part)
{
    const struct stream_ends *ends = ends_of(repair, part->header.stream);
    return !repair->has_header && ends != NULL && ends->has_after && !part_follows(ends, &part->header);
}

/* The parts whose headers lie there, then what fills the streams. `with_local`: local records too. */
static bool payload_make(struct hg_log_repair *repair, bool with_local)
{
    struct stream_ends *before = malloc(STREAMS_PLACES * sizeof(*before));
    bool good = true;
    hg_assert(before != NULL);
    memcpy(before, repair->streams, STREAMS_PLACES * sizeof(*before));
    repair->payload_bytes = repair->batch_count = repair->taken_used = 0;
    for (uint32_t i = 0; i < repair->part_count && good; i++) {
        const struct part *part = &repair->parts[i];
        bool is_local = (part->header.flags & HG_BATCH_LOCAL) != 0;
        if (is_local ? !with_local : part_is_other(repair, part))
            continue;
        if (part->bytes == NULL) {
            snprintf(repair->problem, sizeof(repair->problem),
                     is_local ? "local records are lost, which no other log has"
                              : "entries [%llu, %llu) of stream %llu are in none of the logs given",
                     (unsigned long long)part->header.lsn_first, (unsigned long long)part->header.lsn_end,
                     (unsigned long long)part->header.stream);
            good = false;
            break;
        }
        good = payload_add(repair, part);
        struct stream_ends *ends = is_local ? NULL : ends_of(repair, part->header.stream);
        if (ends == NULL)
            continue;
        good = good && part_follows(ends, &part->header);
        ends->lsn = part->header.lsn_end;
        memcpy(ends->chain, part->header.chain, sizeof(ends->chain));
        if (!good && repair->problem[0] == 0)
            snprintf(repair->problem, sizeof(repair->problem),
                     "what is left of it does not follow from what is before it");
    }
    for (uint32_t i = 0; i < STREAMS_PLACES && good; i++)
        good = repair->streams[i].stream == 0 || stream_fill(repair, &repair->streams[i]);
    memcpy(repair->streams, before, STREAMS_PLACES * sizeof(*before));
    free(before);
    return good;
}

static bool is_as_it_was(struct hg_log_repair *repair)
{
    uint8_t *payload = repair->write + HG_LOG_BLOCK_BYTES;
    uint32_t bytes = hg_log_write_bytes(repair->payload_bytes);
    memset(payload + repair->payload_bytes, 0, bytes - HG_LOG_BLOCK_BYTES - repair->payload_bytes);
    /* Whole batches alone may be of what lay there before, where the write is lost. */
    if (!repair->has_header)
        return false;
    return repair->payload_bytes == repair->header.payload_bytes &&
           repair->batch_count == repair->header.batch_count &&
           hg_log_write_payload_is_valid(&repair->header, payload);
}

static void hole_make(struct hg_log_repair *repair)
{
    const struct hg_log_finding *damage = &repair->damage;
    repair->hole = (struct hg_log_hole){.sequence_first = damage->sequence,
                                        .sequence_last = damage->sequence_last,
                                        .segment = damage->segment,
                                        .offset = damage->segment_offset,
                                        .next_segment = damage->next_segment,
                                        .next_offset = damage->next_offset,
                                        .kind = repair->is_proved ? HG_LOG_HOLE_MOVED : HG_LOG_HOLE_BATCHES,
                                        .copy_sequence = repair->result.sequence_next,
                                        .copy_segment = repair->result.segment_next,
                                        .copy_offset = repair->result.offset_next};
}

const char *hg_log_repair_problem(struct hg_log_repair *repair, struct hg_log_repair_facts *facts)
{
    repair->problem[0] = 0;
    memset(facts, 0, sizeof(*facts));
    facts->damage = repair->damage;
    facts->copy_sequence = repair->result.sequence_next;
    repair->is_proved = payload_make(repair, true) && is_as_it_was(repair);
    if (!repair->is_proved) {
        repair->problem[0] = 0;
        if (!payload_make(repair, false))
            return repair->problem;
        (void)is_as_it_was(repair); /* pads it */
        if (repair->batch_count == 0)
            return repair->has_unknown
                       ? "nothing of any stream that goes on behind it is missing, and local records no "
                         "other "
                         "log has: accept its loss; a stream that ends with it may lose its end"
                       : "it had nothing but local records, which no other log has: accept its loss, no "
                         "stream loses anything";
    }
    facts->is_proved = repair->is_proved;
    facts->batches_taken = repair->taken_used;
    facts->batches_left = repair->batch_count - repair->taken_used;
    hole_make(repair);
    return NULL;
}

/* What lies where the copy is to go: a torn write may have been acknowledged, and where it was is kept. */
static int place_prepare(const struct hg_log_repair *repair, uint64_t place)
{
    uint8_t *block = aligned_alloc(HG_LOG_BLOCK_BYTES, HG_LOG_BLOCK_BYTES);
    if (block == NULL)
        return -ENOMEM;
    int rc = repair->ops->read(repair->ctx, block, HG_LOG_BLOCK_BYTES, place);
    bool is_torn =
        rc == 0 && repair->result.end == HG_LOG_END_NOTHING && !hg_log_is_zero(block, HG_LOG_BLOCK_BYTES);
    free(block);
    return is_torn ? hg_log_torn_keep(repair->ops, repair->ctx, repair->hole.copy_sequence) : rc;
}

static uint64_t place_of(const struct hg_log_repair *repair, uint64_t segment, uint32_t segment_offset)
{
    return hg_log_segment_place(&repair->geometry, segment) + segment_offset;
}

/* As recovery does: a flush that failed may have let go of what can still be read, and the copy's header is
 * to say that all before it is durable. The same bytes to the same place. */
static int unflushed_write(const struct hg_log_repair *repair)
{
    struct hg_log_write_header *header =
        aligned_alloc(HG_LOG_BLOCK_BYTES, hg_log_write_bytes_max(repair->geometry.write_payload_bytes_max));
    int rc = header == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; i < repair->unflushed_count && rc == 0; i++) {
        const struct unflushed *write = &repair->unflushed[i];
        uint32_t bytes = hg_log_write_bytes(write->payload_bytes);
        uint64_t place = place_of(repair, write->segment, write->segment_offset);
        rc = repair->ops->read(repair->ctx, header, bytes, place);
        bool is_right = rc == 0 && hg_log_write_header_is_valid(header, repair->geometry.log_uuid) &&
                        header->sequence == write->sequence &&
                        header->payload_bytes == write->payload_bytes &&
                        hg_log_write_payload_is_valid(header, (const uint8_t *)header + HG_LOG_BLOCK_BYTES);
        if (rc == 0)
            rc = is_right ? repair->ops->write(repair->ctx, header, bytes, place) : -EIO;
    }
    free(header);
    return rc != 0 || repair->unflushed_count == 0 ? rc : repair->ops->flush(repair->ctx);
}

int hg_log_repair_write(struct hg_log_repair *repair)
{
    const struct hg_log_superblock *superblock = &repair->result.superblock;
    struct hg_log_write_header *header = (struct hg_log_write_header *)repair->write;
    uint32_t bytes = hg_log_write_bytes(repair->payload_bytes);
    memset(header, 0, sizeof(*header));
    memcpy(header->log_uuid, superblock->log_uuid, sizeof(header->log_uuid));
    header->flags = HG_LOG_WRITE_MOVED;
    header->moved_sequence = repair->damage.sequence;
    /* A life of its own: whatever a crash left unacknowledged behind it is of an earlier one. */
    header->restarts = (uint32_t)hg_max_u64(superblock->restarts, repair->restarts) + 1;
    header->batch_count = repair->batch_count;
    header->sequence = repair->hole.copy_sequence;
    header->durable_sequence = repair->result.sequence_next - 1;
    header->segment = repair->hole.copy_segment;
    header->segment_offset = repair->hole.copy_offset;
    header->payload_bytes = repair->payload_bytes;
    header->previous_crc32c = repair->result.previous_crc32c;
    header->hlc_ceiling = hg_max_u64(superblock->hlc_ceiling, repair->hlc_ceiling);
    hg_log_write_header_seal(header, repair->write + HG_LOG_BLOCK_BYTES);
    uint64_t place = place_of(repair, header->segment, header->segment_offset);
    int rc = unflushed_write(repair);
    if (rc == 0)
        rc = place_prepare(repair, place);
    if (rc == 0)
        rc = repair->ops->write(repair->ctx, repair->write, bytes, place);
    if (rc == 0)
        rc = repair->ops->flush(repair->ctx);
    if (rc == 0)
        rc = hg_log_loss_accept(repair->ops, repair->ctx, &repair->hole);
    return rc < 0 ? rc : 0;
}
