/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_hole.h"

#include <errno.h>

static bool is_before(uint64_t segment_a, uint32_t offset_a, uint64_t segment_b, uint32_t offset_b)
{
    return segment_a < segment_b || (segment_a == segment_b && offset_a < offset_b);
}

/* A write takes two blocks at least. */
static bool hole_has_room(const struct hg_log_hole *hole, uint64_t segment_bytes)
{
    uint64_t segments = hole->next_segment - hole->segment;
    if (segments > 1u << 24)
        return false;
    uint64_t bytes = segments * segment_bytes + hole->next_offset - hole->offset;
    return hole->sequence_last - hole->sequence_first < bytes / (2 * HG_LOG_BLOCK_BYTES);
}

/* A copy lies behind what it is of, and is in use as long as that. */
static bool hole_copy_is_valid(const struct hg_log_hole *hole, uint64_t segment_bytes)
{
    if (!hg_log_hole_is_repaired(hole))
        return hole->copy_sequence == 0 && hole->copy_segment == 0 && hole->copy_offset == 0;
    return hole->copy_sequence > hole->sequence_last && hole->copy_segment - hole->segment <= 1u << 24 &&
           hole->copy_offset % HG_LOG_BLOCK_BYTES == 0 && hole->copy_offset < segment_bytes &&
           !is_before(hole->copy_segment, hole->copy_offset, hole->next_segment, hole->next_offset);
}

static bool hole_is_valid(const struct hg_log_hole *hole, uint64_t segment_bytes)
{
    bool has_copy = hole->kind == HG_LOG_HOLE_MOVED || hole->kind == HG_LOG_HOLE_BATCHES;
    return (hole->kind == HG_LOG_HOLE_LOST || has_copy) && hole_copy_is_valid(hole, segment_bytes) &&
           hole->sequence_first > 0 && hole->sequence_last >= hole->sequence_first &&
           hole->sequence_last <= UINT64_MAX / 4 && hole->offset % HG_LOG_BLOCK_BYTES == 0 &&
           hole->next_offset % HG_LOG_BLOCK_BYTES == 0 && hole->offset < segment_bytes &&
           hole->next_offset < segment_bytes &&
           is_before(hole->segment, hole->offset, hole->next_segment, hole->next_offset) &&
           hole_has_room(hole, segment_bytes);
}

bool hg_log_holes_are_valid(const struct hg_log_superblock *superblock)
{
    const struct hg_log_hole_table *table = &superblock->holes;
    if (table->count > HG_LOG_HOLES_MAX)
        return false;
    for (uint32_t i = 0; i < table->count; i++)
        if (!hole_is_valid(&table->holes[i], superblock->segment_bytes) ||
            (i > 0 && table->holes[i].sequence_first <= table->holes[i - 1].sequence_last))
            return false;
    return true;
}

const struct hg_log_hole *hg_log_hole_of(const struct hg_log_hole_table *table, uint64_t sequence)
{
    for (uint32_t i = 0; i < table->count; i++)
        if (sequence >= table->holes[i].sequence_first && sequence <= table->holes[i].sequence_last)
            return &table->holes[i];
    return NULL;
}

int hg_log_hole_add(struct hg_log_superblock *superblock, const struct hg_log_hole *hole)
{
    struct hg_log_hole_table *table = &superblock->holes;
    uint32_t at = 0;
    if (!hole_is_valid(hole, superblock->segment_bytes))
        return -EINVAL;
    while (at < table->count && table->holes[at].sequence_last < hole->sequence_first)
        at++;
    if (at < table->count && table->holes[at].sequence_first <= hole->sequence_last)
        return memcmp(&table->holes[at], hole, sizeof(*hole)) == 0 ? -EEXIST : -EINVAL;
    if (table->count == HG_LOG_HOLES_MAX) {
        if (at == 0 || table->holes[0].sequence_last >= superblock->tail_sequence)
            return -ENOSPC;
        memmove(&table->holes[0], &table->holes[1], (HG_LOG_HOLES_MAX - 1) * sizeof(*hole));
        table->count--;
        at--;
    }
    memmove(&table->holes[at + 1], &table->holes[at], (table->count - at) * sizeof(*hole));
    table->holes[at] = *hole;
    table->count++;
    if (hg_log_hole_is_repaired(hole)) {
        table->repairs++;
        return 0;
    }
    table->losses++;
    table->lost_writes += hole->sequence_last - hole->sequence_first + 1;
    return 0;
}

bool hg_log_hole_has_start(const struct hg_log_hole_table *table, uint64_t segment)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct hg_log_hole *hole = &table->holes[i];
        bool begins = segment == hole->segment && hole->offset == 0;
        if (begins && hole->kind == HG_LOG_HOLE_MOVED)
            continue;
        if (hg_log_hole_is_repaired(hole) && segment == hole->copy_segment && hole->copy_offset == 0)
            return true;
        if (!is_before(segment, 0, hole->segment, hole->offset) &&
            is_before(segment, 0, hole->next_segment, hole->next_offset))
            return true;
    }
    return false;
}

uint64_t hg_log_hole_segment_last(const struct hg_log_hole *hole)
{
    return hole->next_offset > 0 ? hole->next_segment : hole->next_segment - 1;
}

bool hg_log_hole_copy_is_right(const struct hg_log_hole *hole, const struct hg_log_write_header *header,
                               const uint8_t log_uuid[16], uint32_t room)
{
    return hg_log_write_header_is_valid(header, log_uuid) && (header->flags & HG_LOG_WRITE_MOVED) != 0 &&
           header->moved_sequence == hole->sequence_first && header->sequence == hole->copy_sequence &&
           header->segment == hole->copy_segment && header->segment_offset == hole->copy_offset &&
           hg_log_write_bytes(header->payload_bytes) <= room &&
           hg_log_write_payload_is_valid(header, (const uint8_t *)header + HG_LOG_BLOCK_BYTES);
}
