/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_pieces.h"
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_internal.h"

#include <errno.h>
#include <stdlib.h>

void hg_log_pieces_prepare(const struct hg_log *log, struct hg_log_pieces *pieces)
{
    pieces->buffer = aligned_alloc(HG_LOG_BLOCK_BYTES, log->write_bytes_max);
    hg_assert(pieces->buffer != NULL);
}

void hg_log_pieces_free(struct hg_log_pieces *pieces)
{
    free(pieces->buffer);
}

void hg_log_pieces_begin(const struct hg_log *log, struct hg_log_pieces *pieces, uint64_t sequence)
{
    hg_assert(!pieces->is_reading);
    pieces->sequence = sequence;
    hg_log_place_get(log, sequence, &pieces->segment, &pieces->offset, &pieces->payload_bytes);
    pieces->bytes = hg_log_write_bytes(pieces->payload_bytes);
    pieces->bytes_read = 0;
    pieces->is_unreadable = false;
}

bool hg_log_pieces_read(struct hg_log *log, struct hg_log_pieces *pieces, uint32_t tag)
{
    uint64_t from = hg_log_file_offset(log, pieces->segment, pieces->offset) + pieces->bytes_read;
    pieces->is_reading = log->disk->read(log->disk, hg_log_tag((enum hg_log_tag)tag, 0),
                                         pieces->buffer + pieces->bytes_read, HG_LOG_BLOCK_BYTES, from);
    log->has_submitted |= pieces->is_reading;
    return pieces->is_reading;
}

void hg_log_pieces_completed(struct hg_log_pieces *pieces, int32_t result)
{
    hg_assert(pieces->is_reading);
    pieces->is_reading = false;
    if (result != (int32_t)HG_LOG_BLOCK_BYTES) {
        memset(pieces->buffer + pieces->bytes_read, 0, HG_LOG_BLOCK_BYTES);
        pieces->is_unreadable = true;
    }
    pieces->bytes_read += HG_LOG_BLOCK_BYTES;
}

static bool header_is_of(const struct hg_log *log, const struct hg_log_pieces *pieces,
                         const struct hg_log_write_header *header)
{
    const struct hg_log_hole *hole = hg_log_hole_of(&log->superblock.holes, pieces->sequence);
    bool is_copy = hole != NULL && header->sequence == hole->copy_sequence &&
                   (header->flags & HG_LOG_WRITE_MOVED) != 0 && header->moved_sequence == pieces->sequence;
    bool is_own = hole == NULL && header->sequence == pieces->sequence && header->flags == 0;
    return hg_log_write_header_is_valid(header, log->geometry.log_uuid) && (is_own || is_copy) &&
           header->segment == pieces->segment && header->segment_offset == pieces->offset &&
           header->payload_bytes == pieces->payload_bytes;
}

const struct hg_log_write_header *hg_log_pieces_header(const struct hg_log *log,
                                                       const struct hg_log_pieces *pieces)
{
    const struct hg_log_hole *hole = hg_log_hole_of(&log->superblock.holes, pieces->sequence);
    uint64_t sequence = hole != NULL ? hole->copy_sequence : pieces->sequence;
    const struct hg_log_write_header *own = (const struct hg_log_write_header *)pieces->buffer;
    const struct hg_log_write_header *copy = &log->mirror[sequence % HG_LOG_RING_BLOCKS];
    if (header_is_of(log, pieces, own))
        return own;
    return header_is_of(log, pieces, copy) ? copy : NULL;
}

bool hg_log_pieces_batch_is_proved(const struct hg_log_write_header *header, const uint8_t *payload,
                                   uint32_t at)
{
    return hg_batch_check_header(payload + at, header->payload_bytes - at) == HG_BATCH_REASON_OK &&
           hg_log_write_range_is_whole(header, payload, at, sizeof(struct hg_batch_header));
}

uint32_t hg_log_pieces_batch_behind(const struct hg_log_write_header *header, const uint8_t *payload,
                                    uint32_t at, bool is_proved)
{
    uint32_t limit = header->payload_bytes;
    for (at += sizeof(struct hg_batch_header); at < limit; at += HG_BATCH_ALIGN_BYTES)
        if (is_proved ? hg_log_pieces_batch_is_proved(header, payload, at)
                      : hg_batch_check_header(payload + at, limit - at) == HG_BATCH_REASON_OK)
            return at;
    return limit;
}

/* ---- what is whole of it ---- */

/* Also the next to be asked for waits until who asked for this one had it. */
static bool is_busy(const struct hg_log *log)
{
    const struct hg_log_salvage *salvage = &log->salvage;
    return salvage->pieces.sequence != 0 &&
           (!salvage->is_done ||
            (!salvage->was_given && log->now_ns - salvage->done_ns < HG_LOG_SALVAGE_WAIT_NS));
}

/* It was read, lately, and from where the write still lies: it may have been repaired since. */
static bool is_there(const struct hg_log *log, uint64_t sequence)
{
    const struct hg_log_salvage *salvage = &log->salvage;
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    bool is_old = salvage->was_given && log->now_ns - salvage->done_ns >= HG_LOG_SALVAGE_OLD_NS;
    return salvage->pieces.sequence == sequence && salvage->pieces.segment == segment &&
           salvage->pieces.offset == offset && salvage->is_done && !is_old;
}

int hg_log_salvage_at(struct hg_log *log, uint64_t sequence)
{
    struct hg_log_salvage *salvage = &log->salvage;
    hg_assert(log->state == HG_LOG_READY && sequence <= log->durable_sequence);
    if (sequence < log->tail_sequence || hg_log_place_is_empty(log, sequence))
        return -ENOENT;
    if (is_there(log, sequence)) {
        salvage->was_given = true;
        return salvage->is_proved ? 1 : -EBADMSG;
    }
    if (is_busy(log))
        return 0;
    salvage->is_done = salvage->is_proved = salvage->was_given = false;
    hg_log_pieces_begin(log, &salvage->pieces, sequence);
    return 0;
}

void hg_log_salvage_completed(struct hg_log *log, int32_t result)
{
    struct hg_log_salvage *salvage = &log->salvage;
    hg_log_pieces_completed(&salvage->pieces, result);
    if (salvage->pieces.bytes_read < salvage->pieces.bytes)
        return;
    salvage->is_done = true;
    salvage->done_ns = log->now_ns;
    const struct hg_log_write_header *header = hg_log_pieces_header(log, &salvage->pieces);
    salvage->is_proved = header != NULL;
    if (header != NULL) /* the ring goes on */
        memmove(salvage->pieces.buffer, header, sizeof(*header));
}

bool hg_log_salvage_advance(struct hg_log *log)
{
    struct hg_log_salvage *salvage = &log->salvage;
    if (salvage->pieces.sequence == 0 || salvage->is_done || salvage->pieces.is_reading)
        return false;
    return hg_log_pieces_read(log, &salvage->pieces, HG_LOG_TAG_SALVAGE);
}

uint64_t hg_log_salvage_deadline_ns(const struct hg_log *log)
{
    const struct hg_log_salvage *salvage = &log->salvage;
    bool waits = salvage->pieces.sequence != 0 && !salvage->is_done && !salvage->pieces.is_reading;
    return waits ? log->now_ns + HG_LOG_PIECES_ROOM_NS : HG_TIME_NEVER;
}

const struct hg_batch_header *hg_log_salvage_next(const struct hg_log *log, uint32_t *at)
{
    const struct hg_log_pieces *pieces = &log->salvage.pieces;
    const uint8_t *payload = pieces->buffer + HG_LOG_BLOCK_BYTES;
    hg_assert(log->salvage.is_proved);
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)pieces->buffer;
    while (*at < pieces->payload_bytes) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + *at);
        uint32_t room = pieces->payload_bytes - *at;
        /* One of what else lies there may say that it goes over those behind it. */
        *at = hg_log_pieces_batch_is_proved(header, payload, *at)
                  ? *at + hg_batch_bytes(batch)
                  : hg_log_pieces_batch_behind(header, payload, *at, false);
        if (hg_batch_verify(batch, room) == HG_BATCH_REASON_OK)
            return batch;
    }
    return NULL;
}
