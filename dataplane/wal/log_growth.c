/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_growth.h"
#include "dataplane/wal/log_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define COPIED_A_TURN 16384u /* places: the turn stays short */

struct hg_log_growth {
    uint32_t segment_count;
    uint64_t bytes; /* of the file then */
    uint64_t *places;
    uint64_t places_mask;
    uint64_t *segment_first;
    uint64_t segment_first_count;
    uint64_t copied_end; /* places of writes below are copied; newer ones are set in both */
    uint64_t copy_end;
    uint32_t superblocks_wanted; /* until both pairs of copies have it */
    bool is_settling;
};

/* ---- places ---- */

uint64_t hg_log_segment_place(const struct hg_log_geometry *geometry, uint64_t segment)
{
    const struct hg_log_growth_table *table = &geometry->growth;
    uint64_t count = geometry->segment_count;
    uint64_t position = (segment % count + table->shift) % count;
    for (uint32_t i = table->count; i > 0; i--) {
        const struct hg_log_growth_step *step = &table->steps[i - 1];
        count -= step->segments;
        if (position < step->at)
            continue;
        position -= step->at;
        if (position < step->segments) {
            position += count;
            break;
        }
        position = position + step->at - step->segments;
    }
    return HG_LOG_SEGMENTS_OFFSET + position * geometry->segment_bytes;
}

const char *hg_log_growth_problem(const struct hg_log_growth_table *table, uint32_t segment_count)
{
    static const char text[] = "its table of growth does not fit its number of segments";
    uint64_t count = segment_count;
    if (table->count == 0)
        return table->shift == 0 ? NULL : text;
    if (table->count > HG_LOG_GROWTHS_MAX || table->shift >= count)
        return text;
    for (uint32_t i = table->count; i > 0; i--) {
        const struct hg_log_growth_step *step = &table->steps[i - 1];
        if (step->segments == 0 || step->segments >= count)
            return text;
        count -= step->segments;
        if (step->at == 0 || step->at > count)
            return text;
    }
    return count < HG_LOG_SEGMENTS_MIN ? text : NULL;
}

void hg_log_growth_add(struct hg_log_geometry *geometry, uint64_t head, uint32_t segments)
{
    struct hg_log_growth_table *table = &geometry->growth;
    uint64_t before = geometry->segment_count, after = before + segments;
    uint64_t position = (head % before + table->shift) % before;
    hg_assert(segments > 0 && after <= HG_LOG_SEGMENTS_MAX && table->count < HG_LOG_GROWTHS_MAX);
    table->steps[table->count++] =
        (struct hg_log_growth_step){.at = (uint32_t)position + 1, .segments = segments};
    table->shift = (position + after - head % after) % after;
    geometry->segment_count = (uint32_t)after;
}

/* ---- memory ---- */

static uint64_t power_of_two_at_least(uint64_t value)
{
    uint64_t power = 1;
    while (power < value)
        power *= 2;
    return power;
}

uint64_t hg_log_places_count(uint64_t bytes)
{
    return power_of_two_at_least(bytes / (2 * HG_LOG_BLOCK_BYTES) + 1);
}

uint64_t hg_log_segment_first_count(uint64_t bytes)
{
    return bytes / (4 * HG_LOG_BLOCK_BYTES) + 1;
}

const char *hg_log_grow_problem(const struct hg_log_geometry *geometry, uint64_t bytes,
                                uint32_t *segment_count, char *why, size_t why_bytes)
{
    uint64_t now = hg_log_file_bytes(geometry), segment = geometry->segment_bytes;
    uint64_t count = bytes < HG_LOG_SEGMENTS_OFFSET ? 0 : (bytes - HG_LOG_SEGMENTS_OFFSET) / segment;
    *segment_count = (uint32_t)hg_min_u64(count, HG_LOG_SEGMENTS_MAX);
    if (count <= geometry->segment_count)
        snprintf(why, why_bytes,
                 "it has %llu bytes, in %u segments of %llu KiB, and a log never gets smaller: a size from "
                 "%llu on "
                 "gives it one more",
                 (unsigned long long)now, geometry->segment_count, (unsigned long long)(segment >> 10),
                 (unsigned long long)(now + segment));
    else if (count > HG_LOG_SEGMENTS_MAX)
        snprintf(
            why, why_bytes,
            "a log has %u segments at most, of %llu KiB in this one: make a new log with larger segments",
            HG_LOG_SEGMENTS_MAX, (unsigned long long)(segment >> 10));
    else if (geometry->growth.count >= HG_LOG_GROWTHS_MAX)
        snprintf(why, why_bytes,
                 "it grew %u times, and there is no room to write down another: make a new log",
                 HG_LOG_GROWTHS_MAX);
    else
        return NULL;
    return why;
}

struct hg_log_growth *hg_log_growth_create(const struct hg_log_geometry *geometry, uint32_t segment_count)
{
    struct hg_log_geometry longer = *geometry;
    struct hg_log_growth *growth = calloc(1, sizeof(*growth));
    if (growth == NULL)
        return NULL;
    longer.segment_count = segment_count;
    growth->segment_count = segment_count;
    growth->bytes = hg_log_file_bytes(&longer);
    growth->segment_first_count = hg_log_segment_first_count(growth->bytes);
    growth->places_mask = hg_log_places_count(growth->bytes) - 1;
    growth->places = calloc(growth->places_mask + 1, sizeof(growth->places[0]));
    growth->segment_first = calloc(growth->segment_first_count, sizeof(growth->segment_first[0]));
    if (growth->places != NULL && growth->segment_first != NULL)
        return growth;
    hg_log_growth_free(growth);
    return NULL;
}

void hg_log_growth_free(struct hg_log_growth *growth)
{
    if (growth == NULL)
        return;
    free(growth->places);
    free(growth->segment_first);
    free(growth);
}

/* ---- of a log in use ---- */

void hg_log_geometry_get(const struct hg_log *log, struct hg_log_geometry *geometry)
{
    *geometry = log->geometry;
}

void hg_log_grow(struct hg_log *log, struct hg_log_growth *growth)
{
    hg_assert(log->state == HG_LOG_READY && log->growth == NULL);
    hg_assert(growth->segment_count > log->geometry.segment_count &&
              log->geometry.growth.count < HG_LOG_GROWTHS_MAX);
    log->disk->size_bytes = hg_max_u64(log->disk->size_bytes, growth->bytes);
    growth->copied_end = log->tail_sequence;
    growth->copy_end = log->next_sequence;
    log->growth = growth;
}

bool hg_log_is_growing(const struct hg_log *log)
{
    return log->growth != NULL;
}

bool hg_log_growth_is_settling(const struct hg_log *log)
{
    return log->growth != NULL && log->growth->is_settling;
}

void hg_log_growth_place_set(struct hg_log_growth *growth, uint64_t sequence, uint64_t place)
{
    growth->places[sequence & growth->places_mask] = place;
}

static void swap(uint64_t **one, uint64_t **other)
{
    uint64_t *kept = *one;
    *one = *other;
    *other = kept;
}

/* All four copies have it: from now on it is the log's size. */
static void growth_take(struct hg_log *log)
{
    struct hg_log_growth *growth = log->growth;
    for (uint64_t segment = log->tail_segment; segment <= log->head_segment; segment++)
        growth->segment_first[segment % growth->segment_count] =
            log->segment_first[segment % log->geometry.segment_count];
    hg_log_geometry_of(&log->superblock, &log->geometry);
    swap(&log->places, &growth->places);
    swap(&log->segment_first, &growth->segment_first);
    log->places_mask = growth->places_mask;
    log->segment_first_count = growth->segment_first_count;
    log->growth = NULL;
}

void hg_log_growth_superblock_flushed(struct hg_log *log)
{
    if (log->growth != NULL && log->growth->is_settling && --log->growth->superblocks_wanted == 0)
        growth_take(log);
}

/* True: all are there. */
static bool places_copy(struct hg_log *log)
{
    struct hg_log_growth *growth = log->growth;
    uint64_t sequence = hg_max_u64(growth->copied_end, log->tail_sequence);
    uint64_t end = hg_min_u64(growth->copy_end, sequence + COPIED_A_TURN);
    for (; sequence < end; sequence++)
        growth->places[sequence & growth->places_mask] = log->places[sequence & log->places_mask];
    growth->copied_end = sequence;
    return sequence >= growth->copy_end;
}

bool hg_log_growth_advance(struct hg_log *log)
{
    struct hg_log_growth *growth = log->growth;
    if (growth == NULL)
        return false;
    if (growth->copied_end < growth->copy_end)
        return places_copy(log) || log->growth != NULL;
    if (log->superblock_is_busy)
        return false;
    if (!growth->is_settling) {
        struct hg_log_geometry geometry = log->geometry;
        hg_log_growth_add(&geometry, log->head_segment, growth->segment_count - geometry.segment_count);
        log->superblock.segment_count = geometry.segment_count;
        log->superblock.growth = geometry.growth;
        growth->is_settling = true;
        growth->superblocks_wanted = HG_LOG_SUPERBLOCK_COPIES / 2;
    }
    hg_log_superblock_start(log);
    return hg_log_superblock_submit(log);
}
