/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading durable writes: from the arena while they are there, else through a few read slots, which those who
 * walk the log near one another share.
 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_internal.h"

#include <errno.h>

static struct hg_log_slot *slot_find(struct hg_log *log, uint64_t sequence)
{
    for (uint32_t i = 0; i < log->slot_count; i++)
        if (log->slots[i].state != HG_LOG_SLOT_EMPTY && sequence >= log->slots[i].sequence &&
            sequence < log->slots[i].sequence_end)
            return &log->slots[i];
    return NULL;
}

/* ---- walkers ---- */

static struct hg_log_walker *walker_of(struct hg_log *log, uint32_t *id)
{
    struct hg_log_walker *walker = &log->walkers[*id % HG_LOG_WALKERS_MAX];
    if (*id != 0 && walker->id == *id)
        return walker;
    for (uint32_t i = 0; i < HG_LOG_WALKERS_MAX; i++) { /* the one that was idle for longest */
        if (log->walkers[i].seen_ns < walker->seen_ns || log->walkers[i].id == 0)
            walker = &log->walkers[i];
        if (walker->id == 0)
            break;
    }
    log->walker_ids += HG_LOG_WALKERS_MAX;
    if (log->walker_ids == 0) /* 0 is nobody's */
        log->walker_ids = HG_LOG_WALKERS_MAX;
    walker->id = log->walker_ids + (uint32_t)(walker - log->walkers);
    *id = walker->id;
    return walker;
}

/* How many writes away the slot is from whoever comes to it next; 0 = somebody is in it, UINT64_MAX = nobody
 * will. Who stands still is not waited for. */
static uint64_t slot_distance(const struct hg_log *log, const struct hg_log_slot *slot)
{
    uint64_t nearest = UINT64_MAX;
    for (uint32_t i = 0; i < HG_LOG_WALKERS_MAX; i++) {
        const struct hg_log_walker *walker = &log->walkers[i];
        if (walker->id == 0 || log->now_ns - walker->seen_ns > HG_LOG_WALKER_IDLE_NS ||
            walker->sequence >= slot->sequence_end)
            continue;
        uint64_t distance = walker->sequence >= slot->sequence ? 0 : slot->sequence - walker->sequence;
        nearest = hg_min_u64(nearest, distance);
    }
    return nearest;
}

static bool slot_is_busy(const struct hg_log *log, const struct hg_log_slot *slot)
{
    bool fresh = slot->state == HG_LOG_SLOT_VALID && !slot->was_given &&
                 log->now_ns - slot->read_ns < HG_LOG_SLOT_FRESH_NS;
    return slot->state == HG_LOG_SLOT_READING || slot->state == HG_LOG_SLOT_WAITING || slot->is_pinned ||
           fresh;
}

/* An empty slot, else the one that is needed last of all, if that is later than `distance` writes; who needs
 * a write now (0) may take one that others are in, too. So those who walk the same part of the log share what
 * was read of it, and none reads ahead at the cost of what another comes to sooner. */
static struct hg_log_slot *slot_choose(struct hg_log *log, uint64_t distance)
{
    struct hg_log_slot *chosen = NULL;
    uint64_t chosen_distance = 0;
    for (uint32_t i = 0; i < log->slot_count; i++) {
        struct hg_log_slot *slot = &log->slots[i];
        if (slot->state == HG_LOG_SLOT_EMPTY)
            return slot;
        if (slot_is_busy(log, slot))
            continue;
        uint64_t slot_away = slot_distance(log, slot);
        if (chosen != NULL &&
            (slot_away < chosen_distance || (slot_away == chosen_distance && slot->used >= chosen->used)))
            continue;
        chosen = slot;
        chosen_distance = slot_away;
    }
    return distance == 0 || chosen_distance > distance ? chosen : NULL;
}

/* ---- slots ---- */

static void slot_submit(struct hg_log *log, struct hg_log_slot *slot)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, slot->sequence, &segment, &offset, &payload_bytes);
    slot->file_offset = hg_log_file_offset(log, segment, offset);
    if (!log->disk->read(log->disk, hg_log_tag(HG_LOG_TAG_READ, (uint64_t)(slot - log->slots)), slot->buffer,
                         slot->bytes, slot->file_offset))
        return;
    slot->state = HG_LOG_SLOT_READING;
    log->has_submitted = true;
    log->stats.reads++;
    log->stats.read_bytes += slot->bytes;
}

/* Writes that lie one behind the other, from `sequence` up to `end`, as far as a slot holds them. */
static void slot_start(struct hg_log *log, struct hg_log_slot *slot, uint64_t sequence, uint64_t end)
{
    uint64_t segment, segment_next;
    uint32_t offset, offset_next, payload_bytes;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    slot->state = HG_LOG_SLOT_EMPTY; /* it does not end its own run */
    slot->sequence = sequence;
    slot->sequence_end = sequence + 1;
    slot->bytes = hg_log_write_bytes(payload_bytes);
    for (; slot->sequence_end < end && slot_find(log, slot->sequence_end) == NULL; slot->sequence_end++) {
        if (hg_log_place_is_empty(log, slot->sequence_end))
            break;
        hg_log_place_get(log, slot->sequence_end, &segment_next, &offset_next, &payload_bytes);
        uint32_t bytes = hg_log_write_bytes(payload_bytes);
        if (segment_next != segment || offset_next != offset + slot->bytes ||
            slot->bytes + bytes > log->write_bytes_max)
            break;
        slot->bytes += bytes;
    }
    slot->used = ++log->slot_clock;
    slot->failures = 0;
    slot->was_given = false;
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

/* Where in the slot the write is; NULL when it has been put elsewhere since. */
static const struct hg_log_write_header *slot_write(const struct hg_log *log, const struct hg_log_slot *slot,
                                                    uint64_t sequence)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    uint64_t at = hg_log_file_offset(log, segment, offset);
    if (at < slot->file_offset || at + hg_log_write_bytes(payload_bytes) > slot->file_offset + slot->bytes)
        return NULL;
    return (const struct hg_log_write_header *)(slot->buffer + (at - slot->file_offset));
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

/* What follows a write that is not right is read anew by who comes to it. */
static void slot_cut(const struct hg_log *log, struct hg_log_slot *slot, uint64_t sequence_end)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    slot->sequence_end = hg_max_u64(sequence_end, slot->sequence + 1);
    hg_log_place_get(log, slot->sequence, &segment, &offset, &payload_bytes);
    if (sequence_end <= slot->sequence)
        slot->bytes = hg_log_write_bytes(payload_bytes);
}

void hg_log_read_completed(struct hg_log *log, uint64_t slot_index, int32_t result)
{
    hg_assert(slot_index < log->slot_count);
    struct hg_log_slot *slot = &log->slots[slot_index];
    hg_assert(slot->state == HG_LOG_SLOT_READING);
    slot->used = ++log->slot_clock;
    slot->read_ns = log->now_ns;
    if (slot->sequence < log->tail_sequence) {
        slot->state = HG_LOG_SLOT_EMPTY; /* its segment may have been overwritten meanwhile */
        return;
    }
    if (slot_write(log, slot, slot->sequence) == NULL) {
        slot->state = HG_LOG_SLOT_EMPTY; /* it was repaired meanwhile: this is what lay there before */
        return;
    }
    uint64_t right = slot->sequence;
    while (result == (int32_t)slot->bytes && right < slot->sequence_end) {
        const struct hg_log_write_header *header = slot_write(log, slot, right);
        if (header == NULL || !hg_log_read_is_right(log, right, (const uint8_t *)header))
            break;
        right++;
    }
    bool first_is_right = right > slot->sequence;
    slot_cut(log, slot, right);
    if (first_is_right) {
        slot->state = HG_LOG_SLOT_VALID;
    } else if (++slot->failures < HG_LOG_READ_TRIES) {
        slot->state = HG_LOG_SLOT_WAITING; /* it alone is read again in this turn or the next */
        log->stats.reads_again++;
    } else {
        slot->state = HG_LOG_SLOT_BAD;
        log->stats.corrupt_writes++;
        hg_log_heal_note(log, slot->sequence);
    }
}

/* How much of the newest of the log should stay in memory. */
static void reach_note(struct hg_log *log, uint64_t sequence)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    uint64_t behind = (log->next_segment - segment) * log->geometry.segment_bytes + log->next_offset - offset;
    if (behind < log->reach_bytes || behind > log->write_arena_bytes)
        return;
    log->reach_bytes = behind;
    log->reach_ns = log->now_ns;
}

static int cached_at(struct hg_log *log, uint64_t sequence, const uint8_t **payload, uint32_t *payload_bytes)
{
    const struct hg_log_entry *entry = hg_log_entry_of(log, sequence);
    hg_assert(entry->sequence == sequence && entry->state == HG_LOG_ENTRY_WRITTEN);
    *payload = hg_log_entry_buffer(log, entry) + HG_LOG_BLOCK_BYTES;
    *payload_bytes = entry->moved_sequence != 0 ? 0 : entry->payload_bytes;
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
    reach_note(log, sequence);
    if (sequence >= log->cache_first)
        return cached_at(log, sequence, payload, payload_bytes);
    if (hg_log_place_is_empty(log, sequence)) {
        *payload = log->arena;
        *payload_bytes = 0;
        return 1;
    }
    struct hg_log_slot *slot = slot_find(log, sequence);
    if (slot == NULL) {
        slot = slot_choose(log, 0);
        if (slot != NULL)
            slot_start(log, slot, sequence, sequence + 1);
        return 0;
    }
    if (slot->state == HG_LOG_SLOT_BAD) {
        slot->state = HG_LOG_SLOT_EMPTY; /* asked again, it is read again */
        return -EBADMSG;
    }
    if (slot->state != HG_LOG_SLOT_VALID)
        return 0;
    const struct hg_log_write_header *header = slot_write(log, slot, sequence);
    if (header == NULL) { /* read anew from where it is now */
        if (sequence == slot->sequence)
            slot->state = HG_LOG_SLOT_EMPTY;
        else
            slot->sequence_end = sequence;
        return 0;
    }
    slot->is_pinned = true;
    slot->was_given = true;
    slot->used = ++log->slot_clock;
    *payload = (const uint8_t *)header + HG_LOG_BLOCK_BYTES;
    *payload_bytes = header->payload_bytes;
    return 1;
}

void hg_log_prefetch(struct hg_log *log, uint64_t sequence, uint32_t *walker_id)
{
    if (log->state != HG_LOG_READY || sequence >= log->cache_first || sequence < log->tail_sequence)
        return;
    struct hg_log_walker *walker = walker_of(log, walker_id);
    walker->sequence = sequence;
    walker->seen_ns = log->now_ns;
    uint64_t end = hg_min_u64(log->cache_first, log->durable_sequence + 1);
    for (uint32_t ahead = 0; ahead < HG_LOG_PREFETCH_SLOTS && sequence < end; ahead++) {
        if (hg_log_place_is_empty(log, sequence)) {
            sequence++;
            continue;
        }
        struct hg_log_slot *slot = slot_find(log, sequence);
        if (slot == NULL) {
            slot = slot_choose(log, sequence - walker->sequence);
            if (slot == NULL)
                return;
            slot_start(log, slot, sequence, end);
        }
        sequence = slot->sequence_end;
    }
}

void hg_log_walked(struct hg_log *log, uint64_t sequence, uint32_t *walker_id)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    if (log->state != HG_LOG_READY || sequence >= log->cache_first || sequence < log->tail_sequence)
        return;
    if (!hg_log_place_is_empty(log, sequence)) {
        hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
        log->stats.walked_bytes += hg_log_write_bytes(payload_bytes);
    }
    hg_log_prefetch(log, sequence + 1, walker_id);
}
