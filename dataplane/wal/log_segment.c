/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments and the superblock: which segments are in use, when the tail moves, and how that is written down
 * before anything is overwritten.
 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_internal.h"

#include <string.h>

uint32_t hg_log_segments_free(const struct hg_log *log)
{
    uint64_t used = log->head_segment - log->tail_segment + 1;
    hg_assert(used <= log->geometry.segment_count);
    return log->geometry.segment_count - (uint32_t)used;
}

uint32_t hg_log_segments_kept(const struct hg_log *log, enum hg_log_user user)
{
    if (user == HG_LOG_USER_LOCAL)
        return 0;
    uint32_t share = (uint32_t)hg_max_u64(2, log->geometry.segment_count / 8);
    return HG_LOG_SEGMENTS_FREE_MIN + (user == HG_LOG_USER_PRODUCER ? share : 0);
}

void hg_log_release(struct hg_log *log, uint64_t sequence)
{
    /* What is not durable yet is not released in advance: somebody may register for it meanwhile. */
    log->release_sequence = hg_min_u64(sequence, log->durable_sequence + 1);
}

void hg_log_keep(struct hg_log *log, uint64_t sequence)
{
    log->keep_sequence = sequence;
}

uint64_t hg_log_appended_bytes(const struct hg_log *log)
{
    return log->next_segment * log->geometry.segment_bytes + log->next_offset;
}

uint64_t hg_log_bytes_from(const struct hg_log *log, uint64_t sequence)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    sequence = hg_max_u64(sequence, log->tail_sequence);
    if (sequence > log->closed_sequence)
        return 0;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    return hg_log_appended_bytes(log) - (segment * log->geometry.segment_bytes + offset);
}

uint64_t hg_log_sequence_behind(const struct hg_log *log, uint64_t bytes)
{
    uint64_t whole = bytes / log->geometry.segment_bytes + (bytes % log->geometry.segment_bytes != 0);
    if (whole >= log->head_segment - log->tail_segment)
        return log->tail_sequence;
    return log->segment_first[(log->head_segment - whole) % log->geometry.segment_count];
}

uint64_t hg_log_segment_last(const struct hg_log *log, uint64_t sequence)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    sequence = hg_max_u64(sequence, log->tail_sequence);
    if (sequence > log->closed_sequence)
        return log->next_sequence - 1;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    const struct hg_log_hole *hole = hg_log_hole_of(&log->superblock.holes, sequence);
    if (hole != NULL) /* its copy may lie elsewhere */
        segment = hole->segment;
    if (segment == log->head_segment)
        return log->next_sequence - 1;
    return log->segment_first[(segment + 1) % log->geometry.segment_count] - 1;
}

uint64_t hg_log_segment_first(const struct hg_log *log, uint64_t sequence)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    sequence = hg_max_u64(sequence, log->tail_sequence);
    if (sequence > log->closed_sequence)
        return log->segment_first[log->head_segment % log->geometry.segment_count];
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    const struct hg_log_hole *hole = hg_log_hole_of(&log->superblock.holes, sequence);
    if (hole != NULL) /* its copy may lie elsewhere */
        segment = hole->segment;
    return log->segment_first[segment % log->geometry.segment_count];
}

bool hg_log_is_scarce(const struct hg_log *log)
{
    return log->state == HG_LOG_READY &&
           hg_log_segments_free(log) <= hg_log_segments_kept(log, HG_LOG_USER_PRODUCER);
}

void hg_log_epoch_promise(struct hg_log *log, uint32_t group, uint64_t epoch)
{
    hg_assert(group < HG_GROUPS_MAX && log->state == HG_LOG_READY && epoch >= log->epoch_wanted[group]);
    log->epochs_are_due = log->epochs_are_due || epoch != log->epoch_wanted[group];
    log->epoch_wanted[group] = epoch;
}

uint64_t hg_log_epoch_promised(const struct hg_log *log, uint32_t group)
{
    hg_assert(group < HG_GROUPS_MAX);
    return log->epoch_promised[group];
}

void hg_log_members_keep(struct hg_log *log, uint32_t group, uint32_t generation)
{
    hg_assert(group < HG_GROUPS_MAX && log->state == HG_LOG_READY &&
              generation >= log->members_wanted[group]);
    log->epochs_are_due = log->epochs_are_due || generation != log->members_wanted[group];
    log->members_wanted[group] = generation;
}

uint32_t hg_log_members_kept(const struct hg_log *log, uint32_t group)
{
    hg_assert(group < HG_GROUPS_MAX);
    return log->members_kept[group];
}

uint32_t hg_log_members_wanted(const struct hg_log *log, uint32_t group)
{
    hg_assert(group < HG_GROUPS_MAX);
    return log->members_wanted[group];
}

void hg_log_superblock_again(struct hg_log *log)
{
    log->superblock_to_submit = 3u << 2 * (1 - log->superblock_pair);
    log->superblock_is_busy = true;
}

void hg_log_superblock_start(struct hg_log *log)
{
    hg_assert(!log->superblock_is_busy);
    memcpy(log->superblock.epoch_promised, log->epoch_wanted, sizeof(log->superblock.epoch_promised));
    memcpy(log->superblock.members_generation, log->members_wanted,
           sizeof(log->superblock.members_generation));
    log->epochs_are_due = false;
    log->superblock.generation++;
    log->superblock.hlc_ceiling = log->hlc_ceiling;
    log->superblock.durable_sequence = hg_max_u64(log->superblock.durable_sequence, log->flushed_sequence);
    hg_log_superblock_pair_fill(log->superblock_buffers, log->superblock_pair, &log->superblock);
    log->superblock_pair = 1 - log->superblock_pair;
    hg_log_superblock_again(log);
}

bool hg_log_superblock_submit(struct hg_log *log)
{
    bool did = false;
    for (uint32_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
        if ((log->superblock_to_submit & 1u << copy) == 0)
            continue;
        if (!log->disk->write(log->disk, hg_log_tag(HG_LOG_TAG_SUPERBLOCK, copy),
                              &log->superblock_buffers[copy], HG_LOG_BLOCK_BYTES,
                              (uint64_t)copy * HG_LOG_BLOCK_BYTES))
            break;
        log->superblock_to_submit &= ~(1u << copy);
        log->superblock_in_flight++;
        log->superblock_ns = log->now_ns;
        log->has_submitted = true;
        log->stats.written_bytes += HG_LOG_BLOCK_BYTES;
        did = true;
    }
    return did;
}

void hg_log_superblock_completed(struct hg_log *log, uint64_t copy, int32_t result)
{
    hg_assert(log->superblock_is_busy && log->superblock_in_flight > 0);
    log->superblock_in_flight--;
    if (result < 0 || (result != (int32_t)HG_LOG_BLOCK_BYTES && log->superblock_was_short)) {
        hg_log_fail(log, "superblock copy %llu: %s; restart, and recovery reads the disk anew",
                    (unsigned long long)copy, result < 0 ? strerror(-result) : "short twice");
        return;
    }
    if (result != (int32_t)HG_LOG_BLOCK_BYTES) {
        log->superblock_was_short = true;
        log->stats.writes_again++;
        log->superblock_to_submit |= 1u << copy;
        return;
    }
    log->superblock_is_written = log->superblock_in_flight == 0 && log->superblock_to_submit == 0;
}

void hg_log_superblock_flushed(struct hg_log *log)
{
    log->superblock_is_written = false;
    log->superblock_is_busy = false;
    log->superblock_was_short = false;
    memcpy(log->epoch_promised, log->superblock.epoch_promised, sizeof(log->epoch_promised));
    memcpy(log->members_kept, log->superblock.members_generation, sizeof(log->members_kept));
    hg_log_growth_superblock_flushed(log);
    hg_log_heal_superblock_flushed(log);
    if (log->superblock.tail_sequence == log->tail_sequence)
        return;
    log->tail_segment = log->superblock.tail_segment;
    log->tail_sequence = log->superblock.tail_sequence;
    if (log->ops.trimmed != NULL)
        log->ops.trimmed(log->ctx, log->tail_sequence);
}

/* How many segments should be free before the tail rests: history is kept for those who come late. */
static uint32_t free_wanted(const struct hg_log *log)
{
    return (uint32_t)hg_max_u64(log->geometry.segment_count / 4,
                                hg_log_segments_kept(log, HG_LOG_USER_PRODUCER) + 1);
}

/* The furthest segment, up to `most`, that may become the tail: everything before it is released, and its own
 * first write, with the checkpoint that replaces what is lost, is durable. What is only kept goes when the
 * next segments are those that producers may not use. */
static uint64_t tail_possible(const struct hg_log *log, uint64_t most)
{
    uint64_t segment = log->tail_segment, possible = segment;
    uint32_t free_count = hg_log_segments_free(log),
             scarce = hg_log_segments_kept(log, HG_LOG_USER_PRODUCER) + 1;
    for (; segment < log->head_segment && possible < most; free_count++) {
        uint64_t first = log->segment_first[(segment + 1) % log->geometry.segment_count];
        if (first > log->release_sequence || first > log->flushed_sequence ||
            (first > log->keep_sequence && free_count > scarce))
            break;
        segment++;
        /* A copy that no entry names, because a repair was cut short there, is the first of it too. */
        if (!hg_log_hole_has_start(&log->superblock.holes, segment) && !hg_log_place_is_empty(log, first))
            possible = segment; /* else its table is lost: the tail goes over it with the next */
    }
    return possible;
}

bool hg_log_segment_advance(struct hg_log *log)
{
    uint32_t free_count = hg_log_segments_free(log), wanted = free_wanted(log);
    if (!log->superblock_is_busy && free_count < wanted) {
        uint64_t most = hg_min_u64(log->head_segment, log->tail_segment + (wanted - free_count));
        uint64_t segment = tail_possible(log, most);
        if (segment != log->tail_segment) {
            log->superblock.tail_segment = segment;
            log->superblock.tail_sequence = log->segment_first[segment % log->geometry.segment_count];
            hg_log_superblock_start(log);
        }
    }
    if (!log->superblock_is_busy && log->epochs_are_due)
        hg_log_superblock_start(log);
    return log->superblock_to_submit != 0 && hg_log_superblock_submit(log);
}
