/* SPDX-License-Identifier: Apache-2.0
 *
 * A log's life: open, turn, state, statistics.
 */
#include "dataplane/wal/log_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define COMPLETIONS 64u
#define PLACE_SHIFT 18

uint64_t hg_log_arena_bytes_min(uint32_t write_payload_bytes_max)
{
    return (uint64_t)HG_LOG_FIXED_BLOCKS * HG_LOG_BLOCK_BYTES +
           (uint64_t)(HG_LOG_READ_SLOTS_MIN + HG_LOG_ENTRIES_MIN) *
               hg_log_write_bytes_max(write_payload_bytes_max);
}

void hg_log_fail(struct hg_log *log, const char *format, ...)
{
    va_list arguments;
    if (log->state == HG_LOG_FAILED)
        return; /* the first cause is the one to tell */
    int bytes = snprintf(log->message, sizeof(log->message), "log %u: ", log->superblock.log_id);
    va_start(arguments, format);
    vsnprintf(log->message + bytes, sizeof(log->message) - (size_t)bytes, format, arguments);
    va_end(arguments);
    log->state = HG_LOG_FAILED;
}

bool hg_log_layout(struct hg_log *log)
{
    uint64_t write_bytes = hg_log_write_bytes_max(log->geometry.write_payload_bytes_max);
    if (log->arena_bytes < hg_log_arena_bytes_min(log->geometry.write_payload_bytes_max))
        return false;
    uint8_t *at = log->arena + (uint64_t)HG_LOG_FIXED_BLOCKS * HG_LOG_BLOCK_BYTES;
    uint64_t bytes = log->arena_bytes - (uint64_t)HG_LOG_FIXED_BLOCKS * HG_LOG_BLOCK_BYTES;
    log->write_bytes_max = (uint32_t)write_bytes;
    log->slot_count =
        bytes / write_bytes >= 3 * HG_LOG_READ_SLOTS_MAX ? HG_LOG_READ_SLOTS_MAX : HG_LOG_READ_SLOTS_MIN;
    for (uint32_t i = 0; i < log->slot_count; i++, at += write_bytes)
        log->slots[i].buffer = at;
    log->write_arena = at;
    log->write_arena_bytes = bytes - log->slot_count * write_bytes;
    log->write_arena_bytes -= log->write_arena_bytes % HG_LOG_BLOCK_BYTES;
    return true;
}

struct hg_log *hg_log_open(const struct hg_log_config *config)
{
    hg_assert(config->disk != NULL && config->ops != NULL && config->arena != NULL);
    hg_assert((uintptr_t)config->arena % HG_LOG_BLOCK_BYTES == 0);
    if (config->arena_bytes < hg_log_arena_bytes_min(HG_LOG_BLOCK_BYTES))
        return NULL;
    struct hg_log *log = calloc(1, sizeof(*log));
    hg_assert(log != NULL);
    log->disk = config->disk;
    log->ops = *config->ops;
    log->ctx = config->ctx;
    log->cluster = config->cluster;
    log->may_mark = config->may_mark && config->ops->recovered_rotten != NULL;
    log->scrub.bytes_per_s = config->scrub_bytes_per_s;
    log->arena = config->arena;
    log->arena_bytes = config->arena_bytes;
    log->superblock_buffers = (struct hg_log_superblock *)log->arena;
    log->mirror = (struct hg_log_write_header *)(log->arena + HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES);
    log->pin_first = UINT64_MAX;
    log->keep_sequence = UINT64_MAX;
    uint64_t places = hg_log_places_count(log->disk->size_bytes);
    uint64_t entries = hg_log_places_count(log->arena_bytes);
    log->segment_first_count = hg_log_segment_first_count(log->disk->size_bytes);
    log->places_mask = places - 1;
    log->entries_mask = entries - 1;
    log->places = calloc(places, sizeof(log->places[0]));
    log->entries = calloc(entries, sizeof(log->entries[0]));
    log->segment_first = calloc(log->segment_first_count, sizeof(log->segment_first[0]));
    log->recovery = hg_log_recovery_create();
    hg_assert(log->places != NULL && log->entries != NULL && log->segment_first != NULL);
    return log;
}

void hg_log_close(struct hg_log *log)
{
    free(log->places);
    free(log->entries);
    free(log->segment_first);
    free(log->recovery);
    hg_log_scrub_free(log);
    hg_log_heal_free(log);
    hg_log_pieces_free(&log->salvage.pieces);
    free(log);
}

uint64_t hg_log_file_offset(const struct hg_log *log, uint64_t segment, uint32_t offset)
{
    return hg_log_segment_place(&log->geometry, segment) + offset;
}

void hg_log_place_set(struct hg_log *log, uint64_t sequence, uint64_t segment, uint32_t offset,
                      uint32_t bytes)
{
    uint64_t block =
        segment * (log->geometry.segment_bytes / HG_LOG_BLOCK_BYTES) + offset / HG_LOG_BLOCK_BYTES;
    hg_assert(block >> (64 - PLACE_SHIFT) == 0 && bytes / HG_BATCH_ALIGN_BYTES < 1u << PLACE_SHIFT);
    log->places[sequence & log->places_mask] = block << PLACE_SHIFT | bytes / HG_BATCH_ALIGN_BYTES;
    if (log->growth != NULL)
        hg_log_growth_place_set(log->growth, sequence, log->places[sequence & log->places_mask]);
}

void hg_log_place_get(const struct hg_log *log, uint64_t sequence, uint64_t *segment, uint32_t *offset,
                      uint32_t *bytes)
{
    uint64_t place = log->places[sequence & log->places_mask];
    uint64_t segment_blocks = log->geometry.segment_bytes / HG_LOG_BLOCK_BYTES;
    *bytes = (uint32_t)(place & ((1u << PLACE_SHIFT) - 1)) * HG_BATCH_ALIGN_BYTES;
    place >>= PLACE_SHIFT;
    *segment = place / segment_blocks;
    *offset = (uint32_t)(place % segment_blocks) * HG_LOG_BLOCK_BYTES;
}

static void completion_take(struct hg_log *log, const struct hg_disk_completion *completion)
{
    uint64_t id = completion->tag & ((UINT64_C(1) << HG_LOG_TAG_SHIFT) - 1);
    switch ((enum hg_log_tag)(completion->tag >> HG_LOG_TAG_SHIFT)) {
    case HG_LOG_TAG_WRITE:
        hg_log_write_completed(log, id, completion->result);
        return;
    case HG_LOG_TAG_FLUSH:
        hg_log_flush_completed(log, completion->result);
        return;
    case HG_LOG_TAG_RING:
        hg_log_ring_completed(log, completion->result);
        return;
    case HG_LOG_TAG_SUPERBLOCK:
        hg_log_superblock_completed(log, id, completion->result);
        return;
    case HG_LOG_TAG_READ:
        hg_log_read_completed(log, id, completion->result);
        return;
    case HG_LOG_TAG_SCRUB:
        hg_log_scrub_completed(log, completion->result);
        return;
    case HG_LOG_TAG_HEAL:
        hg_log_heal_completed(log, completion->result);
        return;
    case HG_LOG_TAG_SALVAGE:
        hg_log_salvage_completed(log, completion->result);
        return;
    case HG_LOG_TAG_RECOVERY:
        hg_log_recovery_completed(log, id, completion->op, completion->result);
        return;
    }
    hg_assert(!"a completion of ours");
}

static bool reap(struct hg_log *log)
{
    struct hg_disk_completion completions[COMPLETIONS];
    bool did = false;
    uint32_t count;
    log->has_submitted = false;
    do {
        count = log->disk->poll(log->disk, completions, COMPLETIONS);
        for (uint32_t i = 0; i < count; i++)
            completion_take(log, &completions[i]);
        did = did || count > 0;
    } while (count == COMPLETIONS);
    return did;
}

bool hg_log_turn(struct hg_log *log, uint64_t now_ns, uint64_t *deadline_ns)
{
    hg_assert(now_ns >= log->now_ns);
    log->now_ns = now_ns;
    log->pin_first = UINT64_MAX;
    for (uint32_t i = 0; i < log->slot_count; i++)
        log->slots[i].is_pinned = false;
    bool did = reap(log);
    if (log->state == HG_LOG_RECOVERING)
        did |= hg_log_recovery_advance(log);
    if (log->state == HG_LOG_READY) {
        did |= hg_log_commit_advance(log);
        did |= hg_log_segment_advance(log);
        did |= hg_log_growth_advance(log);
        did |= hg_log_read_advance(log);
        did |= hg_log_scrub_advance(log);
        did |= hg_log_heal_advance(log);
        did |= hg_log_salvage_advance(log);
        /* Now, while nothing is pinned, so that readers of the oldest writes cannot keep new ones out. */
        hg_log_arena_make_room(log);
    }
    if (log->has_submitted)
        did |= reap(log);
    *deadline_ns = HG_TIME_NEVER;
    if (log->state == HG_LOG_READY)
        *deadline_ns = hg_min_u64(hg_min_u64(hg_log_commit_deadline_ns(log), hg_log_scrub_deadline_ns(log)),
                                  hg_min_u64(hg_log_heal_deadline_ns(log), hg_log_salvage_deadline_ns(log)));
    return did;
}

enum hg_log_state hg_log_state(const struct hg_log *log)
{
    return log->state;
}

const char *hg_log_message(const struct hg_log *log)
{
    return log->message;
}

bool hg_log_is_corrupt(const struct hg_log *log)
{
    return log->is_corrupt;
}

bool hg_log_is_unusable(const struct hg_log *log)
{
    return log->is_unusable;
}

uint32_t hg_log_recovery_percent(const struct hg_log *log)
{
    return log->state == HG_LOG_READY ? 100 : hg_log_recovery_percent_of(log);
}

uint64_t hg_log_durable_sequence(const struct hg_log *log)
{
    return log->durable_sequence;
}

uint64_t hg_log_durable_p99_ns(const struct hg_log *log)
{
    return log->durable_p99_ns;
}

uint64_t hg_log_next_sequence(const struct hg_log *log)
{
    return log->next_sequence;
}

uint64_t hg_log_append_sequence(const struct hg_log *log)
{
    return log->open != NULL ? log->open->sequence : log->next_sequence;
}

uint32_t hg_log_batch_bytes_max(const struct hg_log *log)
{
    return log->geometry.write_payload_bytes_max;
}

uint32_t hg_log_restarts(const struct hg_log *log)
{
    return log->superblock.restarts;
}

void hg_log_hlc_ceiling_set(struct hg_log *log, uint64_t ceiling)
{
    log->hlc_ceiling = hg_max_u64(log->hlc_ceiling, ceiling);
}

uint64_t hg_log_hlc_ceiling(const struct hg_log *log)
{
    return log->hlc_ceiling;
}

bool hg_log_tail_is_torn(const struct hg_log *log)
{
    return log->tail_is_torn;
}

const uint8_t *hg_log_uuid(const struct hg_log *log)
{
    return log->geometry.log_uuid;
}

uint64_t hg_log_tail_sequence(const struct hg_log *log)
{
    return log->tail_sequence;
}

void hg_log_stats_get(const struct hg_log *log, struct hg_log_stats *stats)
{
    *stats = log->stats;
    stats->durable_ns_p99 = log->durable_p99_ns;
    stats->scrub_bytes_per_s = log->scrub.bytes_per_s;
    stats->scrub_bytes = log->scrub.bytes_read;
    stats->scrub_passes = log->scrub.passes;
    stats->scrub_pass_end_ns = log->scrub.pass_end_ns;
    stats->scrub_corrupt = log->scrub.corrupt;
    stats->scrub_corrupt_sequence = log->scrub.corrupt_sequence;
    stats->scrub_percent = log->state == HG_LOG_READY ? hg_log_scrub_percent(log) : 0;
    stats->repairs = log->superblock.holes.repairs;
    stats->losses = log->superblock.holes.losses;
    stats->lost_writes = log->superblock.holes.lost_writes;
    stats->segment_count = log->geometry.segment_count;
    stats->segment_bytes = log->geometry.segment_bytes;
    stats->segments_kept = hg_log_segments_kept(log, HG_LOG_USER_PRODUCER);
    stats->segments_free = log->state == HG_LOG_READY ? hg_log_segments_free(log) : 0;
}
