/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading durable writes: from the arena while they are there, else through a few read slots.
 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_internal.h"

#include <errno.h>

static struct hg_log_slot *slot_find(struct hg_log *log, uint64_t sequence)
{
    for (uint32_t i = 0; i < log->slot_count; i++)
        if (log->slots[i].state != HG_LOG_SLOT_EMPTY && log->slots[i].sequence == sequence)
            return &log->slots[i];
    return NULL;
}

/* An empty slot, else the least recently used that is neither being read, nor handed out, nor wanted soon. */
static struct hg_log_slot *slot_choose(struct hg_log *log, uint64_t wanted_first, uint64_t wanted_end)
{
    struct hg_log_slot *chosen = NULL;
    for (uint32_t i = 0; i < log->slot_count; i++) {
        struct hg_log_slot *slot = &log->slots[i];
        if (slot->state == HG_LOG_SLOT_EMPTY)
            return slot;
        if (slot->state == HG_LOG_SLOT_READING || slot->state == HG_LOG_SLOT_WAITING || slot->is_pinned)
            continue;
        if (slot->sequence >= wanted_first && slot->sequence < wanted_end)
            continue;
        if (chosen == NULL || slot->used < chosen->used)
            chosen = slot;
    }
    return chosen;
}

static void slot_submit(struct hg_log *log, struct hg_log_slot *slot)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, slot->sequence, &segment, &offset, &payload_bytes);
    slot->bytes = hg_log_write_bytes(payload_bytes);
    if (!log->disk->read(log->disk, hg_log_tag(HG_LOG_TAG_READ, (uint64_t)(slot - log->slots)), slot->buffer,
                         slot->bytes, hg_log_file_offset(log, segment, offset)))
        return;
    slot->state = HG_LOG_SLOT_READING;
    log->has_submitted = true;
    log->stats.reads++;
    log->stats.read_bytes += slot->bytes;
}

static void slot_start(struct hg_log *log, struct hg_log_slot *slot, uint64_t sequence)
{
    slot->sequence = sequence;
    slot->used = ++log->slot_clock;
    slot->failures = 0;
    slot->state = HG_LOG_SLOT_WAITING;
    slot_submit(log, slot);
}

bool hg_log_read_advance(struct hg_log *log)
{
    bool did = false;
    for (uint32_t i = 0; i < log->slot_count; i++) {
        struct hg_log_slot *slot = &log->slots[i];
        if (slot->state != HG_LOG_SLOT_WAITING)
            continue;
        if (slot->sequence < log->tail_sequence)
            slot->state = HG_LOG_SLOT_EMPTY;
        else
            slot_submit(log, slot);
        did |= slot->state != HG_LOG_SLOT_WAITING;
    }
    return did;
}

bool hg_log_read_is_right(const struct hg_log *log, uint64_t sequence, const uint8_t *at)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)at;
    const struct hg_log_hole *hole = hg_log_hole_of(&log->superblock.holes, sequence);
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    if (hole != NULL)
        return hg_log_hole_copy_is_right(hole, header, log->geometry.log_uuid,
                                         hg_log_write_bytes(payload_bytes));
    return hg_log_write_header_is_valid(header, log->geometry.log_uuid) && header->sequence == sequence &&
           header->segment == segment && header->segment_offset == offset &&
           header->payload_bytes == payload_bytes &&
           hg_log_write_payload_is_valid(header, at + HG_LOG_BLOCK_BYTES);
}

void hg_log_read_completed(struct hg_log *log, uint64_t slot_index, int32_t result)
{
    hg_assert(slot_index < log->slot_count);
    struct hg_log_slot *slot = &log->slots[slot_index];
    hg_assert(slot->state == HG_LOG_SLOT_READING);
    slot->used = ++log->slot_clock;
    if (slot->sequence < log->tail_sequence) {
        slot->state = HG_LOG_SLOT_EMPTY; /* its segment may have been overwritten meanwhile */
    } else if (result == (int32_t)slot->bytes && hg_log_read_is_right(log, slot->sequence, slot->buffer)) {
        slot->state = HG_LOG_SLOT_VALID;
    } else if (++slot->failures < HG_LOG_READ_TRIES) {
        slot->state = HG_LOG_SLOT_WAITING; /* read again in this turn or the next */
        log->stats.reads_again++;
    } else {
        slot->state = HG_LOG_SLOT_BAD;
        log->stats.corrupt_writes++;
    }
}

static int cached_at(struct hg_log *log, uint64_t sequence, const uint8_t **payload, uint32_t *payload_bytes)
{
    const struct hg_log_entry *entry = hg_log_entry_of(log, sequence);
    hg_assert(entry->sequence == sequence && entry->state == HG_LOG_ENTRY_WRITTEN);
    *payload = hg_log_entry_buffer(log, entry) + HG_LOG_BLOCK_BYTES;
    *payload_bytes = entry->payload_bytes;
    log->pin_first = hg_min_u64(log->pin_first, sequence);
    return 1;
}

int hg_log_at(struct hg_log *log, uint64_t sequence, const uint8_t **payload, uint32_t *payload_bytes)
{
    if (log->state != HG_LOG_READY)
        return 0;
    if (sequence < log->tail_sequence)
        return -ENOENT;
    if (sequence > log->durable_sequence)
        return -ERANGE;
    if (sequence >= log->cache_first)
        return cached_at(log, sequence, payload, payload_bytes);
    if (hg_log_place_is_empty(log, sequence)) {
        *payload = log->arena;
        *payload_bytes = 0;
        return 1;
    }
    struct hg_log_slot *slot = slot_find(log, sequence);
    if (slot == NULL) {
        slot = slot_choose(log, sequence, sequence + 1);
        if (slot != NULL)
            slot_start(log, slot, sequence);
        return 0;
    }
    if (slot->state == HG_LOG_SLOT_BAD) {
        slot->state = HG_LOG_SLOT_EMPTY; /* asked again, it is read again */
        return -EBADMSG;
    }
    if (slot->state != HG_LOG_SLOT_VALID)
        return 0;
    slot->is_pinned = true;
    slot->used = ++log->slot_clock;
    *payload = slot->buffer + HG_LOG_BLOCK_BYTES;
    *payload_bytes = ((const struct hg_log_write_header *)slot->buffer)->payload_bytes;
    return 1;
}

void hg_log_prefetch(struct hg_log *log, uint64_t sequence, uint32_t count)
{
    if (log->state != HG_LOG_READY)
        return;
    uint64_t first = hg_max_u64(sequence, log->tail_sequence);
    uint64_t end = hg_min_u64(sequence + count, hg_min_u64(log->cache_first, log->durable_sequence + 1));
    for (uint64_t at = first; at < end; at++) {
        if (slot_find(log, at) != NULL || hg_log_place_is_empty(log, at))
            continue;
        struct hg_log_slot *slot = slot_choose(log, first, end);
        if (slot == NULL)
            return;
        slot_start(log, slot, at);
    }
}
