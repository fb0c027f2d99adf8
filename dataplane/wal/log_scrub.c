/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_scrub.h"
#include "dataplane/wal/log_internal.h"

#include <stdlib.h>

#define AGAIN_NS HG_NS_PER_MS /* where the disk's queue was full */

void hg_log_scrub_prepare(struct hg_log *log)
{
    struct hg_log_scrub *scrub = &log->scrub;
    if (scrub->bytes_per_s == 0)
        return;
    scrub->buffer_bytes = (uint32_t)hg_max_u64(log->write_bytes_max, HG_LOG_SCRUB_READ_BYTES);
    scrub->buffer = aligned_alloc(HG_LOG_BLOCK_BYTES, scrub->buffer_bytes);
    hg_assert(scrub->buffer != NULL);
}

void hg_log_scrub_free(struct hg_log *log)
{
    free(log->scrub.buffer);
}

/* The first write that is not looked at: of the segment that is being written, or not on the device yet. */
static uint64_t pass_end(const struct hg_log *log)
{
    uint64_t first = log->segment_first[log->head_segment % log->geometry.segment_count];
    return hg_min_u64(first, log->flushed_sequence + 1);
}

static bool is_idle(const struct hg_log *log)
{
    if (log->closed_sequence != log->flushed_sequence || log->is_flushing || log->superblock_is_busy)
        return false;
    for (uint32_t i = 0; i < log->slot_count; i++)
        if (log->slots[i].state == HG_LOG_SLOT_READING || log->slots[i].state == HG_LOG_SLOT_WAITING)
            return false;
    return true;
}

static void pass_over(struct hg_log *log)
{
    struct hg_log_scrub *scrub = &log->scrub;
    if (scrub->pass_bytes > 0) {
        scrub->passes++;
        scrub->pass_end_ns = log->now_ns;
    }
    scrub->pass_bytes = 0;
    scrub->sequence = log->tail_sequence;
    scrub->has_previous = false;
    scrub->due_ns = log->now_ns + HG_LOG_SCRUB_PAUSE_NS;
}

/* As many writes as lie behind each other and fit one read; one alone when that failed before. */
static void chunk_choose(struct hg_log *log, uint64_t end, uint64_t *file_offset)
{
    struct hg_log_scrub *scrub = &log->scrub;
    uint64_t segment, segment_next;
    uint32_t offset, offset_next, payload_bytes;
    uint32_t most = scrub->failures > 0 ? 0 : HG_LOG_SCRUB_READ_BYTES;
    hg_log_place_get(log, scrub->sequence, &segment, &offset, &payload_bytes);
    *file_offset = hg_log_file_offset(log, segment, offset);
    scrub->first = scrub->sequence;
    scrub->bytes = hg_log_write_bytes(payload_bytes);
    for (scrub->end = scrub->first + 1; scrub->end < end; scrub->end++) {
        hg_log_place_get(log, scrub->end, &segment_next, &offset_next, &payload_bytes);
        uint32_t bytes = hg_log_write_bytes(payload_bytes);
        if (payload_bytes == 0 || segment_next != segment || offset_next != offset + scrub->bytes ||
            scrub->bytes + bytes > most)
            return;
        scrub->bytes += bytes;
    }
}

static bool read_start(struct hg_log *log, uint64_t end)
{
    struct hg_log_scrub *scrub = &log->scrub;
    uint64_t file_offset;
    chunk_choose(log, end, &file_offset);
    hg_assert(scrub->bytes <= scrub->buffer_bytes);
    scrub->is_reading =
        log->disk->read(log->disk, hg_log_tag(HG_LOG_TAG_SCRUB, 0), scrub->buffer, scrub->bytes, file_offset);
    if (!scrub->is_reading) {
        scrub->due_ns = log->now_ns + AGAIN_NS;
        return false;
    }
    log->has_submitted = true;
    return true;
}

bool hg_log_scrub_advance(struct hg_log *log)
{
    struct hg_log_scrub *scrub = &log->scrub;
    if (scrub->buffer == NULL || scrub->is_reading || log->now_ns < scrub->due_ns ||
        (!is_idle(log) && log->now_ns - scrub->due_ns < HG_LOG_SCRUB_WAIT_NS))
        return false;
    uint64_t end = pass_end(log);
    if (scrub->sequence < log->tail_sequence) {
        scrub->sequence = log->tail_sequence;
        scrub->has_previous = false;
        scrub->failures = 0;
    }
    while (scrub->sequence < end && hg_log_place_is_empty(log, scrub->sequence)) {
        scrub->sequence++;
        scrub->has_previous = false;
    }
    if (scrub->sequence < end)
        return read_start(log, end);
    pass_over(log);
    return false;
}

static void corrupt_note(struct hg_log *log, bool is_whole)
{
    struct hg_log_scrub *scrub = &log->scrub;
    scrub->corrupt++;
    scrub->corrupt_sequence = scrub->sequence;
    scrub->sequence++;
    scrub->failures = 0;
    scrub->has_previous = false;
    log->stats.corrupt_writes++;
    if (is_whole)
        log->heal.untracked++; /* of another history: nothing of it is missing */
    else
        hg_log_heal_note(log, scrub->corrupt_sequence);
}

/* It is read again by itself before it is called corrupt: a device may err once. */
static void bad_take(struct hg_log *log, bool is_whole)
{
    struct hg_log_scrub *scrub = &log->scrub;
    if (++scrub->failures < HG_LOG_READ_TRIES)
        log->stats.reads_again++;
    else
        corrupt_note(log, is_whole);
}

/* Write `scrub->sequence`, at `at`. False: it is not as it was written. */
static bool write_check(struct hg_log *log, const uint8_t *at)
{
    struct hg_log_scrub *scrub = &log->scrub;
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)at;
    if (!hg_log_read_is_right(log, scrub->sequence, at) ||
        (scrub->has_previous && (header->flags & HG_LOG_WRITE_MOVED) == 0 &&
         header->previous_crc32c != scrub->previous_crc32c))
        return false;
    scrub->has_previous = (header->flags & HG_LOG_WRITE_MOVED) == 0;
    scrub->previous_crc32c = header->crc32c;
    scrub->failures = 0;
    return true;
}

void hg_log_scrub_completed(struct hg_log *log, int32_t result)
{
    struct hg_log_scrub *scrub = &log->scrub;
    hg_assert(scrub->is_reading);
    scrub->is_reading = false;
    scrub->pass_bytes += scrub->bytes;
    scrub->bytes_read += scrub->bytes;
    scrub->due_ns = log->now_ns + (uint64_t)scrub->bytes * HG_NS_PER_S / scrub->bytes_per_s;
    if (scrub->first < log->tail_sequence)
        return; /* its segment may have been overwritten meanwhile */
    const uint8_t *at = scrub->buffer;
    for (scrub->sequence = scrub->first; scrub->sequence < scrub->end;) {
        uint64_t segment;
        uint32_t offset, payload_bytes;
        hg_log_place_get(log, scrub->sequence, &segment, &offset, &payload_bytes);
        bool is_read = result == (int32_t)scrub->bytes;
        if (!is_read || !write_check(log, at)) {
            bad_take(log, is_read && hg_log_read_is_right(log, scrub->sequence, at));
            return;
        }
        at += hg_log_write_bytes(payload_bytes);
        scrub->sequence++;
    }
}

uint64_t hg_log_scrub_deadline_ns(const struct hg_log *log)
{
    const struct hg_log_scrub *scrub = &log->scrub;
    if (scrub->buffer == NULL || scrub->is_reading)
        return HG_TIME_NEVER;
    return log->now_ns < scrub->due_ns ? scrub->due_ns : scrub->due_ns + HG_LOG_SCRUB_WAIT_NS;
}

uint32_t hg_log_scrub_percent(const struct hg_log *log)
{
    uint64_t first = log->tail_sequence, end = pass_end(log), at = log->scrub.sequence;
    if (log->scrub.pass_bytes == 0 || at <= first || end <= first)
        return 0;
    return (uint32_t)(hg_min_u64(at - first, end - first) * 100 / (end - first));
}
