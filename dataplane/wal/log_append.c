/* SPDX-License-Identifier: Apache-2.0
 *
 * The open write, and the arena that it and the newest writes live in: a ring of buffers of varying size. A
 * write that is open has all the room that follows it, and gives back the rest when it closes.
 */
#include "dataplane/wal/log_internal.h"

/* From here on the ring begins again at its front when that can be had: memory that was just used is in the
 * caches, and each line of an arena that is gone round is a miss. Writes in flight and unflushed fit, and
 * twice what readers of late were behind. */
static uint64_t arena_hot_bytes(const struct hg_log *log)
{
    uint64_t least = hg_min_u64(HG_LOG_ARENA_HOT_BYTES, log->write_arena_bytes / HG_LOG_ENTRIES_MIN);
    return hg_max_u64(least, 2 * HG_LOG_WRITES_FULL_MAX * log->closed_bytes) + 2 * log->reach_bytes;
}

struct room {
    uint64_t offset;
    uint64_t bytes;
    bool is_behind; /* the head, up to the arena's end */
};

/* Where `need` contiguous bytes are. A head that has met the tail means full, unless nothing is in memory. */
static bool arena_find(struct hg_log *log, uint64_t need, bool is_hot, struct room *room)
{
    uint64_t size = log->write_arena_bytes, head = log->arena_head;
    *room = (struct room){.bytes = size};
    if (log->cache_first == log->next_sequence)
        return true;
    uint64_t tail = hg_log_entry_of(log, log->cache_first)->arena_offset;
    if (head <= tail)
        *room = (struct room){.offset = head, .bytes = tail - head};
    else if (size - head < need || (is_hot && tail >= need))
        *room = (struct room){.offset = 0, .bytes = tail};
    else
        *room = (struct room){.offset = head, .bytes = size - head, .is_behind = true};
    return room->bytes >= need;
}

/* Drops the oldest writes until there is room for another, or none may go. */
static bool arena_make_room(struct hg_log *log, uint64_t need, struct room *room)
{
    hg_assert(log->open == NULL);
    bool is_hot = log->arena_head >= arena_hot_bytes(log);
    for (;;) {
        bool is_found = arena_find(log, need, is_hot, room);
        if (is_found && !(is_hot && room->is_behind))
            return true;
        if (log->cache_first > log->durable_sequence || log->cache_first > log->flushed_sequence ||
            log->cache_first >= log->mirror_next || log->cache_first >= log->pin_first)
            return is_found;
        log->cache_first++;
    }
}

/* A write that is opened finds room for one twice as large as those before it; what begins a segment, whose
 * table is the caller's, for the largest. */
static uint64_t room_needed(const struct hg_log *log, uint32_t payload_bytes)
{
    uint64_t bytes =
        hg_max_u64(hg_log_write_bytes(payload_bytes), hg_align_up(2 * log->closed_bytes, HG_LOG_BLOCK_BYTES));
    return log->next_offset == 0 ? log->write_bytes_max : hg_min_u64(bytes, log->write_bytes_max);
}

void hg_log_arena_make_room(struct hg_log *log)
{
    struct room room;
    if (log->open == NULL)
        (void)arena_make_room(log, room_needed(log, log->blocked_bytes), &room);
}

/* The header of a write that is opened: as much of it as its blocks' checksums need. */
static void header_begin(struct hg_log *log, const struct hg_log_entry *entry)
{
    struct hg_log_write_header *header = (struct hg_log_write_header *)hg_log_entry_buffer(log, entry);
    memset(header, 0, sizeof(*header));
    memcpy(header->log_uuid, log->geometry.log_uuid, sizeof(header->log_uuid));
    header->sequence = entry->sequence;
}

/* Blocks are summed as they fill up: the bytes were just written, and a write that is full waits for nothing
 * more when the device is ready for it. */
static void blocks_sum(struct hg_log *log, struct hg_log_entry *entry)
{
    uint8_t *buffer = hg_log_entry_buffer(log, entry);
    uint32_t full = entry->payload_bytes / HG_LOG_BLOCK_BYTES;
    hg_log_write_blocks_sum((struct hg_log_write_header *)buffer, buffer + HG_LOG_BLOCK_BYTES,
                            entry->blocks_summed, full);
    entry->blocks_summed = full;
}

/* The streams and consumers as they stand, so that a segment can be recycled without forgetting any. */
static void checkpoint_append(struct hg_log *log)
{
    struct hg_log_entry *entry = log->open;
    uint8_t *payload = hg_log_entry_buffer(log, entry) + HG_LOG_BLOCK_BYTES;
    struct hg_local_record *records = (struct hg_local_record *)(payload + sizeof(struct hg_batch_header));
    uint32_t payload_bytes_max = log->geometry.write_payload_bytes_max;
    uint32_t max =
        (payload_bytes_max - (uint32_t)sizeof(struct hg_batch_header)) / (uint32_t)sizeof(*records);
    uint32_t count = log->ops.checkpoint == NULL ? 0 : log->ops.checkpoint(log->ctx, records, max);
    hg_assert(count <= max);
    if (count == 0)
        return;
    struct hg_batch_origin origin = {.cluster = log->geometry.cluster,
                                     .log_restarts = log->superblock.restarts};
    entry->payload_bytes = hg_batch_seal_records(&origin, count, payload, payload_bytes_max);
    entry->batch_count = 1;
    log->stats.batches++;
}

/* Whether this user may write into the open write, or into a new one. */
static bool segment_allows(const struct hg_log *log, enum hg_log_user user)
{
    uint32_t needed = log->open == NULL && log->next_segment > log->head_segment;
    uint32_t free_count = hg_log_segments_free(log);
    return free_count >= needed && free_count - needed >= hg_log_segments_kept(log, user);
}

static void reach_decay(struct hg_log *log)
{
    if (log->now_ns - log->reach_ns < HG_LOG_REACH_NS)
        return;
    log->reach_bytes /= 2;
    log->reach_ns = log->now_ns;
}

static bool write_open(struct hg_log *log, uint32_t payload_bytes, enum hg_log_pressure *pressure)
{
    struct room room;
    reach_decay(log);
    if (log->closed_sequence - log->flushed_sequence >= HG_LOG_WRITES_UNFLUSHED_MAX ||
        (log->next_segment > log->head_segment && hg_log_growth_is_settling(log)) ||
        !arena_make_room(log, room_needed(log, payload_bytes), &room)) {
        *pressure = HG_LOG_PRESSURE_ARENA;
        log->blocked_bytes = payload_bytes;
        return false;
    }
    log->blocked_bytes = 0;
    struct hg_log_entry *entry = hg_log_entry_of(log, log->next_sequence);
    memset(entry, 0, sizeof(*entry));
    entry->sequence = log->next_sequence;
    entry->file_offset = hg_log_file_offset(log, log->next_segment, log->next_offset);
    entry->arena_offset = room.offset;
    entry->payload_bytes_max =
        (uint32_t)hg_min_u64(room.bytes - HG_LOG_BLOCK_BYTES, log->geometry.write_payload_bytes_max);
    entry->opened_ns = log->now_ns;
    entry->state = HG_LOG_ENTRY_OPEN;
    log->arena_head = room.offset;
    log->open = entry;
    header_begin(log, entry);
    log->next_sequence++;
    if (log->next_offset == 0) {
        log->head_segment = log->next_segment;
        log->segment_first[log->next_segment % log->geometry.segment_count] = entry->sequence;
        checkpoint_append(log);
    }
    return true;
}

/* The open write, in which there is nothing yet, has too little room. */
static void write_abandon(struct hg_log *log)
{
    if (log->open == NULL || log->open->payload_bytes > 0)
        return;
    log->next_sequence = log->open->sequence;
    log->open = NULL;
}

static void header_fill(struct hg_log *log, const struct hg_log_entry *entry,
                        struct hg_log_write_header *header)
{
    header->restarts = log->superblock.restarts;
    header->batch_count = entry->batch_count;
    header->durable_sequence = log->flushed_sequence;
    header->segment = log->next_segment;
    header->segment_offset = log->next_offset;
    header->payload_bytes = entry->payload_bytes;
    header->previous_crc32c = log->previous_crc32c;
    header->hlc_ceiling = log->hlc_ceiling;
    header->moved_sequence = entry->moved_sequence;
    header->flags = entry->moved_sequence != 0 ? HG_LOG_WRITE_MOVED : 0;
}

void hg_log_close_write(struct hg_log *log)
{
    struct hg_log_entry *entry = log->open;
    if (entry == NULL || entry->payload_bytes == 0 || log->state != HG_LOG_READY)
        return;
    uint8_t *buffer = hg_log_entry_buffer(log, entry);
    uint8_t *payload = buffer + HG_LOG_BLOCK_BYTES;
    struct hg_log_write_header *header = (struct hg_log_write_header *)buffer;
    uint32_t bytes = hg_log_write_bytes(entry->payload_bytes);

    hg_assert(entry->sequence == log->closed_sequence + 1 && entry->batch_count > 0);
    memset(payload + entry->payload_bytes, 0, bytes - HG_LOG_BLOCK_BYTES - entry->payload_bytes);
    header_fill(log, entry, header);
    hg_log_write_header_seal_rest(header, payload, entry->blocks_summed);
    log->previous_crc32c = header->crc32c;
    hg_log_place_set(log, entry->sequence, log->next_segment, log->next_offset,
                     entry->moved_sequence != 0 ? 0 : entry->payload_bytes);
    hg_log_place_next(log->geometry.segment_bytes, log->write_bytes_max, bytes, &log->next_segment,
                      &log->next_offset);
    log->arena_head = entry->arena_offset + bytes;
    log->closed_bytes = hg_max_u64(bytes, log->closed_bytes - log->closed_bytes / 16);
    entry->state = HG_LOG_ENTRY_CLOSED;
    log->closed_sequence = entry->sequence;
    log->writes_uncompleted++;
    log->open = NULL;
    log->reserved_bytes = 0;
}

static void *reserve(struct hg_log *log, uint32_t bytes, enum hg_log_user user,
                     enum hg_log_pressure *pressure)
{
    *pressure = HG_LOG_PRESSURE_ARENA;
    if (log->state != HG_LOG_READY)
        return NULL;
    bytes = (uint32_t)hg_align_up(bytes, HG_BATCH_ALIGN_BYTES);
    hg_assert(bytes > 0 && bytes <= log->geometry.write_payload_bytes_max);
    log->reserved_bytes = 0;
    if (log->open != NULL && !segment_allows(log, user)) {
        *pressure = HG_LOG_PRESSURE_SEGMENTS;
        return NULL;
    }
    /* Twice at most: a checkpoint may leave too little room in the write that it opens. */
    while (log->open == NULL || log->open->payload_bytes_max - log->open->payload_bytes < bytes) {
        hg_log_close_write(log);
        write_abandon(log);
        if (!segment_allows(log, user)) {
            *pressure = HG_LOG_PRESSURE_SEGMENTS;
            return NULL;
        }
        if (!write_open(log, bytes, pressure))
            return NULL;
    }
    log->reserved_bytes = bytes;
    *pressure = HG_LOG_PRESSURE_NONE;
    return hg_log_entry_buffer(log, log->open) + HG_LOG_BLOCK_BYTES + log->open->payload_bytes;
}

bool hg_log_is_behind(const struct hg_log *log)
{
    return log->blocked_bytes != 0;
}

void *hg_log_reserve(struct hg_log *log, uint32_t bytes, enum hg_log_pressure *pressure)
{
    enum hg_log_pressure ignored;
    return reserve(log, bytes, HG_LOG_USER_PRODUCER, pressure == NULL ? &ignored : pressure);
}

void *hg_log_reserve_taken(struct hg_log *log, uint32_t bytes, enum hg_log_pressure *pressure)
{
    enum hg_log_pressure ignored;
    return reserve(log, bytes, HG_LOG_USER_TAKER, pressure == NULL ? &ignored : pressure);
}

uint64_t hg_log_commit(struct hg_log *log, uint32_t bytes)
{
    hg_assert(log->open != NULL && bytes > 0 && bytes <= log->reserved_bytes);
    hg_assert(bytes % HG_BATCH_ALIGN_BYTES == 0);
    log->open->payload_bytes += bytes;
    log->open->batch_count++;
    blocks_sum(log, log->open);
    log->reserved_bytes = 0;
    log->stats.batches++;
    return log->open->sequence;
}

uint64_t hg_log_append_copy(struct hg_log *log, const void *payload, uint32_t bytes, uint32_t batch_count,
                            uint64_t moved_sequence)
{
    enum hg_log_pressure pressure;
    /* Twice at most: a segment's table goes before it. */
    while (log->open == NULL || log->open->payload_bytes > 0 || log->open->payload_bytes_max < bytes) {
        hg_log_close_write(log);
        write_abandon(log);
        if (!segment_allows(log, HG_LOG_USER_TAKER) || !write_open(log, bytes, &pressure))
            return 0;
    }
    struct hg_log_entry *entry = log->open;
    memcpy(hg_log_entry_buffer(log, entry) + HG_LOG_BLOCK_BYTES, payload, bytes);
    entry->payload_bytes = bytes;
    entry->batch_count = batch_count;
    entry->moved_sequence = moved_sequence;
    hg_log_close_write(log);
    return log->closed_sequence;
}

uint64_t hg_log_append_records(struct hg_log *log, const struct hg_local_record *records, uint32_t count)
{
    enum hg_log_pressure pressure;
    uint64_t bytes = sizeof(struct hg_batch_header) + (uint64_t)count * sizeof(*records);

    hg_assert(count > 0 && (log->state != HG_LOG_READY || bytes <= log->geometry.write_payload_bytes_max));
    uint8_t *out = reserve(log, (uint32_t)bytes, HG_LOG_USER_LOCAL, &pressure);
    if (out == NULL)
        return 0;
    struct hg_batch_origin origin = {.cluster = log->geometry.cluster,
                                     .log_restarts = log->superblock.restarts};
    memcpy(out + sizeof(struct hg_batch_header), records, count * sizeof(*records));
    return hg_log_commit(log, hg_batch_seal_records(&origin, count, out, (uint32_t)bytes));
}
