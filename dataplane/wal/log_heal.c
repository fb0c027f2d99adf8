/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_heal.h"
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_internal.h"

const char *hg_log_heal_text(enum hg_log_heal_reason reason)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_LOG_HEAL_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_LOG_HEAL_COUNT ? texts[reason] : "unknown";
}

const char *hg_log_heal_name(enum hg_log_heal_reason reason)
{
    static const char *const names[] = {
#define HG_X(name, text) #name,
        HG_LOG_HEAL_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_LOG_HEAL_COUNT ? names[reason] : "unknown";
}

void hg_log_heal_prepare(struct hg_log *log)
{
    hg_log_pieces_prepare(log, &log->heal.pieces);
}

void hg_log_heal_free(struct hg_log *log)
{
    hg_log_pieces_free(&log->heal.pieces);
}

const struct hg_log_heal *hg_log_heal_of(const struct hg_log *log)
{
    return &log->heal;
}

uint64_t hg_log_heal_left(const struct hg_log *log)
{
    return log->heal.count + log->heal.untracked;
}

void hg_log_heal_note(struct hg_log *log, uint64_t sequence)
{
    struct hg_log_heal *heal = &log->heal;
    for (uint32_t i = 0; i < heal->count; i++)
        if (heal->writes[i].sequence == sequence)
            return;
    if (heal->count == HG_LOG_HEAL_WRITES_MAX) {
        heal->untracked++;
        return;
    }
    heal->writes[heal->count++] = (struct hg_log_heal_write){.sequence = sequence, .due_ns = log->now_ns};
}

static void write_remove(struct hg_log_heal *heal, uint32_t index)
{
    heal->writes[index] = heal->writes[--heal->count];
}

static struct hg_log_heal_write *write_find(struct hg_log_heal *heal, uint64_t sequence)
{
    for (uint32_t i = 0; i < heal->count; i++)
        if (heal->writes[i].sequence == sequence)
            return &heal->writes[i];
    return NULL;
}

/* The try under way is over. */
static void over(struct hg_log *log, enum hg_log_heal_reason reason)
{
    struct hg_log_heal *heal = &log->heal;
    struct hg_log_heal_write *write = write_find(heal, heal->sequence);
    heal->counts[reason]++;
    heal->state = HG_LOG_HEAL_IDLE;
    if (write == NULL)
        return;
    if (reason == HG_LOG_HEAL_repaired || reason == HG_LOG_HEAL_whole) {
        write_remove(heal, (uint32_t)(write - heal->writes));
        return;
    }
    write->reason = reason;
    write->due_ns = log->now_ns + (HG_LOG_HEAL_RETRY_NS << hg_min_u64(write->tries, HG_LOG_HEAL_DOUBLES_MAX));
    write->tries++;
}

static void read_begin(struct hg_log *log, uint64_t sequence, bool believes_none)
{
    struct hg_log_heal *heal = &log->heal;
    heal->sequence = sequence;
    hg_log_pieces_begin(log, &heal->pieces, sequence);
    heal->at = heal->batch_count = 0;
    heal->has_believed = false;
    heal->believes_none = believes_none;
    heal->named_end = heal->told_end = 0;
    heal->state = HG_LOG_HEAL_READING;
}

/* What was taken for the write's batches did not come to it. */
static void failed(struct hg_log *log, enum hg_log_heal_reason reason)
{
    struct hg_log_heal *heal = &log->heal;
    if (heal->has_believed) {
        heal->reason_first = reason;
        read_begin(log, heal->sequence, true);
        return;
    }
    bool is_first = heal->believes_none &&
                    (reason != HG_LOG_HEAL_nobody || heal->reason_first == HG_LOG_HEAL_local_records);
    over(log, is_first ? heal->reason_first : reason);
}

/* ---- what lies there ---- */

void hg_log_heal_completed(struct hg_log *log, int32_t result)
{
    hg_log_pieces_completed(&log->heal.pieces, result);
}

static bool is_local(const struct hg_batch_header *batch)
{
    return (batch->flags & HG_BATCH_LOCAL) != 0;
}

/* The header of the batch is there. */
static void want_known(struct hg_log_heal *heal, const struct hg_batch_header *batch)
{
    heal->want = (struct hg_log_heal_want){.sequence = heal->sequence,
                                           .stream = batch->stream,
                                           .epoch = batch->epoch,
                                           .lsn_end = batch->lsn_end,
                                           .incarnation = batch->incarnation,
                                           .bytes = hg_batch_bytes(batch)};
    memcpy(heal->want.chain, batch->chain, sizeof(heal->want.chain));
    heal->named_end = 0;
}

/* The batch that ends at named_end may be longer or shorter than what is lost before it. */
static void want_header(struct hg_log_heal *heal)
{
    heal->want.is_header = true;
    heal->want.bytes = sizeof(heal->header);
}

/* It is not, but the next one may be of the same stream, and then names it. If it is not, none of this stream
 * fits; and the checksums of the whole write decide. */
static bool want_named(struct hg_log_heal *heal, const uint8_t *payload, uint32_t at)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)heal->pieces.buffer;
    uint32_t behind = hg_log_pieces_batch_behind(header, payload, at, heal->believes_none);
    const struct hg_batch_header *next = (const struct hg_batch_header *)(payload + behind);
    if (behind == heal->pieces.payload_bytes)
        return false;
    heal->has_believed |= !heal->believes_none && !hg_log_pieces_batch_is_proved(header, payload, behind);
    if (is_local(next))
        return false;
    heal->want = (struct hg_log_heal_want){.sequence = heal->sequence,
                                           .stream = next->stream,
                                           .lsn_end = next->lsn_first,
                                           .incarnation = next->incarnation,
                                           .bytes = behind - at};
    memcpy(heal->want.chain, next->chain_previous, sizeof(heal->want.chain));
    heal->named_end = heal->named_last = behind;
    if (heal->want.bytes > HG_BATCH_BYTES_MAX)
        want_header(heal);
    return true;
}

/* All its batches are whole: it is what was written? */
static void whole_judge(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)heal->pieces.buffer;
    uint8_t *payload = heal->pieces.buffer + HG_LOG_BLOCK_BYTES;
    memset(payload + heal->pieces.payload_bytes, 0,
           heal->pieces.bytes - HG_LOG_BLOCK_BYTES - heal->pieces.payload_bytes);
    if (header->batch_count != heal->batch_count || !hg_log_write_payload_is_valid(header, payload)) {
        failed(log, HG_LOG_HEAL_not_as_written);
        return;
    }
    heal->state = HG_LOG_HEAL_WHOLE;
}

/* There is one at heal->at, and it may be what was written there. */
static bool has_batch(struct hg_log_heal *heal)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)heal->pieces.buffer;
    const uint8_t *payload = heal->pieces.buffer + HG_LOG_BLOCK_BYTES;
    if (heal->at < heal->told_end || hg_log_pieces_batch_is_proved(header, payload, heal->at))
        return true;
    bool is_there = !heal->believes_none &&
                    hg_batch_check_header(payload + heal->at, heal->pieces.payload_bytes - heal->at) ==
                        HG_BATCH_REASON_OK;
    heal->has_believed |= is_there;
    return is_there;
}

/* From the first batch on that was not found whole yet. */
static void payload_judge(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    const uint8_t *payload = heal->pieces.buffer + HG_LOG_BLOCK_BYTES;
    while (heal->at < heal->pieces.payload_bytes) {
        uint32_t room = heal->pieces.payload_bytes - heal->at;
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + heal->at);
        bool is_there = has_batch(heal);
        if (is_there && hg_batch_verify(batch, room) == HG_BATCH_REASON_OK) {
            heal->at += hg_batch_bytes(batch);
            heal->batch_count++;
            continue;
        }
        if (is_there && is_local(batch)) {
            failed(log, HG_LOG_HEAL_local_records);
            return;
        }
        if (is_there)
            want_known(heal, batch);
        else if (!want_named(heal, payload, heal->at)) {
            failed(log, HG_LOG_HEAL_no_identity);
            return;
        }
        heal->state = HG_LOG_HEAL_WANTING;
        return;
    }
    whole_judge(log);
}

static bool range_add(struct hg_log_heal_write *write, const struct hg_batch_header *batch)
{
    for (uint32_t i = 0; i < write->range_count; i++)
        if (write->ranges[i].stream == batch->stream) {
            write->ranges[i].lsn_end = batch->lsn_end;
            return batch->lsn_first >= write->ranges[i].lsn_first; /* else it was cut in between */
        }
    if (write->range_count == HG_LOG_HEAL_RANGES_MAX)
        return false;
    write->ranges[write->range_count++] = (struct hg_log_heal_range){
        .stream = batch->stream, .lsn_first = batch->lsn_first, .lsn_end = batch->lsn_end};
    return true;
}

/* What is lost with the write until it is repaired: of whole batches in it, too, readers get nothing. */
static void ranges_learn(struct hg_log_heal *heal, struct hg_log_heal_write *write)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)heal->pieces.buffer;
    const uint8_t *payload = heal->pieces.buffer + HG_LOG_BLOCK_BYTES;
    write->is_ranged = false;
    write->range_count = 0;
    for (uint32_t at = 0; at < heal->pieces.payload_bytes;) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + at);
        if (hg_batch_check_header(batch, heal->pieces.payload_bytes - at) != HG_BATCH_REASON_OK ||
            !hg_log_write_range_is_whole(header, payload, at, sizeof(*batch)) ||
            (!is_local(batch) && !range_add(write, batch)))
            return;
        at += hg_batch_bytes(batch);
    }
    write->is_ranged = true;
}

/* All of it was read. */
static void damage_judge(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    struct hg_log_write_header *own = (struct hg_log_write_header *)heal->pieces.buffer;
    /* A read of what lay there may have been on its way when the copy came into force. */
    if (hg_log_hole_of(&log->superblock.holes, heal->sequence) != NULL) {
        over(log, hg_log_read_is_right(log, heal->sequence, heal->pieces.buffer) ? HG_LOG_HEAL_whole
                                                                                 : HG_LOG_HEAL_copy_corrupt);
        return;
    }
    const struct hg_log_write_header *header = hg_log_pieces_header(log, &heal->pieces);
    /* A block of zeros that can't be read is proved by its checksum, and has to be had from elsewhere. */
    if (header == own && !heal->pieces.is_unreadable &&
        hg_log_write_payload_is_valid(own, heal->pieces.buffer + HG_LOG_BLOCK_BYTES)) {
        over(log, HG_LOG_HEAL_whole);
        return;
    }
    /* Whole batches alone prove nothing: of a write that the device lost, they are of what lay there before.
     */
    if (header == NULL) {
        over(log, HG_LOG_HEAL_no_header);
        return;
    }
    if (header != own)
        memcpy(own, header, sizeof(*own));
    struct hg_log_heal_write *write = write_find(heal, heal->sequence);
    if (write != NULL)
        ranges_learn(heal, write);
    payload_judge(log);
}

/* ---- what peers have ---- */

bool hg_log_heal_wants(const struct hg_log *log, struct hg_log_heal_want *want)
{
    if (log->heal.state != HG_LOG_HEAL_WANTING)
        return false;
    *want = log->heal.want;
    return true;
}

void hg_log_heal_fill(struct hg_log *log, uint32_t offset, const void *data, uint32_t bytes)
{
    struct hg_log_heal *heal = &log->heal;
    hg_assert(heal->state == HG_LOG_HEAL_WANTING && offset <= heal->want.bytes &&
              bytes <= heal->want.bytes - offset);
    uint8_t *to =
        heal->want.is_header ? (uint8_t *)&heal->header : heal->pieces.buffer + HG_LOG_BLOCK_BYTES + heal->at;
    memcpy(to + offset, data, bytes);
}

static bool is_wanted(const struct hg_log *log, const struct hg_batch_header *batch)
{
    const struct hg_log_heal_want *want = &log->heal.want;
    return !is_local(batch) && batch->cluster == log->geometry.cluster && batch->stream == want->stream &&
           batch->lsn_end == want->lsn_end && memcmp(batch->chain, want->chain, sizeof(want->chain)) == 0;
}

/* It is proved by its chain, and goes where it ends; then the one before it is wanted. */
static bool header_filled(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    const struct hg_batch_header *header = &heal->header;
    uint32_t room = heal->named_end - heal->at;
    if (hg_batch_check_header(header, room) != HG_BATCH_REASON_OK || !hg_batch_chain_is_right(header) ||
        !is_wanted(log, header))
        return false;
    uint32_t before = room - hg_batch_bytes(header);
    if (before != 0 && before < sizeof(*header))
        return false;
    heal->named_end -= hg_batch_bytes(header);
    memcpy(heal->pieces.buffer + HG_LOG_BLOCK_BYTES + heal->named_end, header, sizeof(*header));
    if (before == 0) {
        heal->told_end = heal->named_last;
        payload_judge(log);
        return true;
    }
    heal->want.lsn_end = header->lsn_first;
    memcpy(heal->want.chain, header->chain_previous, sizeof(heal->want.chain));
    return true;
}

bool hg_log_heal_filled(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    const struct hg_log_heal_want *want = &heal->want;
    const struct hg_batch_header *batch =
        (const struct hg_batch_header *)(heal->pieces.buffer + HG_LOG_BLOCK_BYTES + heal->at);
    hg_assert(heal->state == HG_LOG_HEAL_WANTING);
    if (want->is_header)
        return header_filled(log);
    if (hg_batch_verify(batch, want->bytes) != HG_BATCH_REASON_OK || hg_batch_bytes(batch) != want->bytes ||
        !is_wanted(log, batch))
        return false;
    payload_judge(log);
    return true;
}

void hg_log_heal_give_up(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    hg_assert(heal->state == HG_LOG_HEAL_WANTING);
    bool may_be_more = !heal->want.is_header && heal->named_end != 0 &&
                       heal->named_end - heal->at >= 2 * sizeof(struct hg_batch_header);
    if (may_be_more)
        want_header(heal);
    else
        failed(log, HG_LOG_HEAL_nobody);
}

void hg_log_heal_again(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    for (uint32_t i = 0; i < heal->count; i++)
        if (heal->writes[i].tries > 0 && heal->writes[i].reason == HG_LOG_HEAL_nobody)
            heal->writes[i].due_ns = log->now_ns;
}

/* ---- the copy ---- */

static bool hole_add(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    uint64_t segment, copy_segment;
    uint32_t offset, copy_offset, payload_bytes;
    hg_log_place_get(log, heal->sequence, &segment, &offset, &payload_bytes);
    hg_log_place_get(log, heal->copy_sequence, &copy_segment, &copy_offset, &payload_bytes);
    struct hg_log_hole hole = {.sequence_first = heal->sequence,
                               .sequence_last = heal->sequence,
                               .segment = segment,
                               .offset = offset,
                               .next_segment = segment,
                               .next_offset = offset,
                               .kind = HG_LOG_HOLE_MOVED,
                               .copy_sequence = heal->copy_sequence,
                               .copy_segment = copy_segment,
                               .copy_offset = copy_offset};
    hg_log_place_next(log->geometry.segment_bytes, log->write_bytes_max, heal->pieces.bytes,
                      &hole.next_segment, &hole.next_offset);
    return hg_log_hole_add(&log->superblock, &hole) == 0;
}

/* The copy is durable. */
static bool table_start(struct hg_log *log)
{
    if (log->superblock_is_busy)
        return false;
    if (!hole_add(log)) {
        over(log, HG_LOG_HEAL_table_full);
        return true;
    }
    log->heal.state = HG_LOG_HEAL_TABLE;
    hg_log_superblock_start(log);
    return true;
}

void hg_log_heal_superblock_flushed(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    uint64_t segment;
    uint32_t offset, none;
    if (heal->state != HG_LOG_HEAL_TABLE)
        return;
    hg_log_place_get(log, heal->copy_sequence, &segment, &offset, &none);
    hg_log_place_set(log, heal->sequence, segment, offset, heal->pieces.payload_bytes);
    for (uint32_t i = 0; i < log->slot_count; i++)
        if (log->slots[i].sequence == heal->sequence && log->slots[i].state == HG_LOG_SLOT_BAD)
            log->slots[i].state = HG_LOG_SLOT_EMPTY;
    heal->repaired_sequence = heal->sequence;
    log->epochs_are_due = true; /* the other pair too: the rot of one copy must not bring back what was */
    over(log, HG_LOG_HEAL_repaired);
}

static bool copy_start(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    const struct hg_log_hole *first = &log->superblock.holes.holes[0];
    if (log->superblock.holes.count == HG_LOG_HOLES_MAX &&
        (first->sequence_last >= log->superblock.tail_sequence || first->sequence_first > heal->sequence)) {
        over(log, HG_LOG_HEAL_table_full);
        return true;
    }
    heal->copy_sequence = hg_log_append_copy(log, heal->pieces.buffer + HG_LOG_BLOCK_BYTES,
                                             heal->pieces.payload_bytes, heal->batch_count, heal->sequence);
    if (heal->copy_sequence == 0)
        return false; /* the log is full, or its memory: it waits */
    heal->state = HG_LOG_HEAL_COPIED;
    return true;
}

static bool next_begin(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    for (uint32_t i = heal->count; i-- > 0;)
        if (heal->writes[i].sequence < log->tail_sequence)
            write_remove(heal, i);
    for (uint32_t i = 0; i < heal->count; i++)
        if (heal->writes[i].due_ns <= log->now_ns) {
            read_begin(log, heal->writes[i].sequence, false);
            return true;
        }
    return false;
}

bool hg_log_heal_advance(struct hg_log *log)
{
    struct hg_log_heal *heal = &log->heal;
    if (heal->state != HG_LOG_HEAL_IDLE && heal->state != HG_LOG_HEAL_TABLE && !heal->pieces.is_reading &&
        heal->sequence < log->tail_sequence)
        heal->state = HG_LOG_HEAL_IDLE; /* nobody needs it any more */
    switch (heal->state) {
    case HG_LOG_HEAL_IDLE:
        return heal->count > 0 && next_begin(log);
    case HG_LOG_HEAL_READING:
        if (heal->pieces.is_reading)
            return false;
        if (heal->pieces.bytes_read == heal->pieces.bytes)
            damage_judge(log);
        else
            (void)hg_log_pieces_read(log, &heal->pieces, HG_LOG_TAG_HEAL);
        return heal->state != HG_LOG_HEAL_READING || heal->pieces.is_reading;
    case HG_LOG_HEAL_WHOLE:
        return copy_start(log);
    case HG_LOG_HEAL_COPIED:
        return heal->copy_sequence <= log->flushed_sequence && table_start(log);
    case HG_LOG_HEAL_WANTING:
    case HG_LOG_HEAL_TABLE:
        return false;
    }
    return false;
}

uint64_t hg_log_heal_deadline_ns(const struct hg_log *log)
{
    const struct hg_log_heal *heal = &log->heal;
    uint64_t deadline_ns = HG_TIME_NEVER;
    if (heal->state == HG_LOG_HEAL_WHOLE || (heal->state == HG_LOG_HEAL_READING && !heal->pieces.is_reading))
        return log->now_ns + HG_LOG_PIECES_ROOM_NS;
    for (uint32_t i = 0; heal->state == HG_LOG_HEAL_IDLE && i < heal->count; i++)
        deadline_ns = hg_min_u64(deadline_ns, hg_max_u64(heal->writes[i].due_ns, log->now_ns + 1));
    return deadline_ns;
}
