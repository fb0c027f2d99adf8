/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery: choose the superblock, read the header ring, walk the writes from the tail, decide each by the
 * table, then make sure that what was found is durable, repair the ring and raise `restarts`. Nothing is
 * written before the end of the log is known but a header block that the ring could restore, and nothing
 * durable is ever overwritten by anything else; so a crash at any step leaves a log that recovers to the
 * same.
 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_recovery_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hg_log_recovery_io *hg_log_recovery_io_of(const struct hg_log *log)
{
    return &log->recovery->io;
}

struct hg_log_recovery *hg_log_recovery_create(void)
{
    struct hg_log_recovery *recovery = calloc(1, sizeof(*recovery));
    hg_assert(recovery != NULL);
    return recovery;
}

uint32_t hg_log_recovery_percent_of(const struct hg_log *log)
{
    const struct hg_log_recovery *r = log->recovery;
    uint64_t first = log->superblock.tail_sequence;
    if (r->phase < HG_RECOVERY_SCAN || r->durable <= first || r->sequence <= first)
        return r->phase > HG_RECOVERY_SCAN ? 99 : 0;
    return (uint32_t)hg_min_u64(99, (r->sequence - first) * 100 / (r->durable - first + 1));
}

/* ---- windows ---- */

/* The expected write in memory, at least `bytes` of it or as much as the segment has. NULL: a window was
 * started. */
static const uint8_t *window_at(struct hg_log *log, uint32_t bytes)
{
    struct hg_log_recovery *r = log->recovery;
    uint64_t at = hg_log_file_offset(log, r->segment, r->offset);
    uint64_t need = hg_min_u64(bytes, log->geometry.segment_bytes - r->offset);
    if (r->io.window_bytes > 0 && at >= r->io.window_offset &&
        at - r->io.window_offset + need <= r->io.window_bytes)
        return r->io.window + (at - r->io.window_offset);
    hg_log_recovery_window_start(log, r->segment, r->offset);
    r->io.window_bytes =
        hg_max_u64(r->io.window_bytes, need); /* a header that is wrong may reach into a hole */
    return NULL;
}

/* ---- one write ---- */

static struct hg_log_walk walk_of(const struct hg_log *log)
{
    const struct hg_log_recovery *r = log->recovery;
    return (struct hg_log_walk){.log_uuid = log->geometry.log_uuid,
                                .segment_bytes = log->geometry.segment_bytes,
                                .write_bytes_max = log->write_bytes_max,
                                .sequence = r->sequence,
                                .segment = r->segment,
                                .offset = r->offset,
                                .has_previous = r->has_previous,
                                .previous_crc32c = r->previous_crc32c,
                                .previous_restarts = r->previous_restarts};
}

static const struct hg_log_write_header *ring_copy(const struct hg_log *log)
{
    uint64_t slot = log->recovery->sequence % HG_LOG_RING_BLOCKS;
    return log->recovery->ring_sequence[slot] == log->recovery->sequence ? &log->mirror[slot] : NULL;
}

/* `bytes`: of it, that were judged. */
static void write_judge(struct hg_log *log, const uint8_t *at, uint32_t bytes)
{
    struct hg_log_recovery *r = log->recovery;
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)at;
    struct hg_log_walk walk = walk_of(log);
    if (hg_log_write_header_is_valid(header, log->geometry.log_uuid))
        hg_log_recovery_learn(r, header);
    r->found = hg_log_walk_judge(&walk, at);
    r->copy = hg_log_walk_judge_copy(&walk, ring_copy(log), at);
    if (r->copy == HG_LOG_COPY_ABSENT && r->ring_is_unread[r->sequence % HG_LOG_RING_BLOCKS])
        r->copy = HG_LOG_COPY_UNREADABLE;
    r->write_unread =
        hg_log_recovery_unreadable_in(log, hg_log_file_offset(log, r->segment, r->offset), bytes);
}

/* Bytes of the expected write that must be in memory to judge it. */
static uint32_t bytes_to_judge(struct hg_log *log, const uint8_t *at)
{
    struct hg_log_walk walk = walk_of(log);
    return hg_log_walk_bytes(&walk, at, ring_copy(log));
}

static bool records_report(struct hg_log *log, const struct hg_batch_header *header)
{
    const uint8_t *at = (const uint8_t *)header + sizeof(*header);
    for (uint32_t i = 0; i < header->frame_count; i++, at += sizeof(struct hg_local_record)) {
        struct hg_local_record record;
        memcpy(&record, at, sizeof(record));
        if (record.type != HG_LOCAL_SESSION && /* it has no name; the streams look at it */
            (!hg_local_record_is_known(record.type) || memchr(record.name, 0, sizeof(record.name)) == NULL))
            return false;
        if (log->ops.recovered_record != NULL)
            log->ops.recovered_record(log->ctx, &record);
    }
    return true;
}

static void corrupt_report(struct hg_log *log)
{
    const struct hg_log_recovery *r = log->recovery;
    bool is_fork = r->verdict == HG_LOG_VERDICT_FORK;
    log->is_corrupt = true;
    log->stats.corrupt_writes++;
    hg_log_fail(
        log,
        "write of sequence %llu at byte %llu of the file %s (durable up to %llu); nothing was changed or "
        "truncated: %s",
        (unsigned long long)r->sequence, (unsigned long long)hg_log_file_offset(log, r->segment, r->offset),
        is_fork ? "does not follow from the write before it" : "was durable and is corrupt",
        (unsigned long long)r->durable,
        is_fork ? "was an old image of the disk restored? Compare with the peers before anything else"
                : "repair this log from a peer");
}

static void unreadable_report(struct hg_log *log, uint64_t block)
{
    const struct hg_log_recovery *r = log->recovery;
    hg_log_fail(
        log,
        "write of sequence %llu at byte %llu can't be judged: the block at byte %llu can't be read: %s; "
        "nothing was changed or truncated: check the device, then restart, or repair this log from a "
        "peer",
        (unsigned long long)r->sequence, (unsigned long long)hg_log_file_offset(log, r->segment, r->offset),
        (unsigned long long)block, hg_log_recovery_error_text(log));
}

/* Of a batch of a marked write the header alone may be there. */
static bool batch_report(struct hg_log *log, const struct hg_log_write_header *header, uint64_t sequence,
                         const uint8_t *payload, uint32_t offset)
{
    const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + offset);
    bool is_marked =
        log->recovery->marked_count > 0 && log->recovery->marked[log->recovery->marked_count - 1] == sequence;
    if (is_marked && !hg_log_write_range_is_whole(header, payload, offset, hg_batch_bytes(batch)))
        return log->ops.recovered_rotten(log->ctx, sequence, batch);
    if (log->ops.recovered_batch != NULL)
        log->ops.recovered_batch(log->ctx, sequence, batch);
    return true;
}

/* The batches of a write whose blocks are right: what does not parse was written by a newer or a broken
 * build. */
static bool batches_report(struct hg_log *log, const struct hg_log_write_header *header, uint64_t sequence,
                           const uint8_t *payload)
{
    uint32_t count = 0;
    for (uint32_t offset = 0; offset < header->payload_bytes; count++) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + offset);
        enum hg_batch_reason reason = hg_batch_check_header(batch, header->payload_bytes - offset);
        bool is_fine = reason == HG_BATCH_REASON_OK;
        if (is_fine && (batch->flags & HG_BATCH_LOCAL) != 0)
            is_fine = records_report(log, batch);
        else if (is_fine && !batch_report(log, header, sequence, payload, offset)) {
            log->recovery->verdict = HG_LOG_VERDICT_CORRUPT;
            corrupt_report(log);
            return false;
        }
        if (!is_fine) {
            log->is_corrupt = true;
            hg_log_fail(log,
                        "write of sequence %llu holds at its byte %u a batch that this build cannot read "
                        "(%s); nothing "
                        "was changed: run the newest version that wrote this log",
                        (unsigned long long)header->sequence, offset,
                        reason == HG_BATCH_REASON_OK ? "a local record of unknown type"
                                                     : hg_batch_reason_text(reason));
            return false;
        }
        offset += hg_batch_bytes(batch);
    }
    if (count == header->batch_count)
        return true;
    log->is_corrupt = true;
    hg_log_fail(log, "write of sequence %llu holds %u batches, its header says %u; nothing was changed",
                (unsigned long long)header->sequence, count, header->batch_count);
    return false;
}

/* The ring keeps the newest copies; one that is newer than this write stays, the walk will come to it. */
static void ring_keep(struct hg_log *log, const struct hg_log_write_header *header)
{
    struct hg_log_recovery *r = log->recovery;
    uint64_t slot = header->sequence % HG_LOG_RING_BLOCKS;
    struct hg_log_write_header *copy = &log->mirror[slot];
    if (r->ring_sequence[slot] > header->sequence ||
        (r->ring_sequence[slot] == header->sequence && copy->crc32c == header->crc32c))
        return;
    memcpy(copy, header, sizeof(*copy));
    r->ring_sequence[slot] = header->sequence;
    r->ring_is_dirty[slot] = true;
}

/* At the place where an earlier recovery, or this one, found the end torn. */
static void torn_tell(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    uint64_t torn = log->superblock.tail_torn_sequence;
    if (r->torn_is_told || torn == 0 || r->sequence < torn)
        return;
    r->torn_is_told = true;
    if (log->ops.recovered_torn != NULL)
        log->ops.recovered_torn(log->ctx);
}

static bool write_take(struct hg_log *log, const struct hg_log_write_header *header, const uint8_t *payload)
{
    struct hg_log_recovery *r = log->recovery;
    /* A copy of an older write is told in that one's place. */
    bool is_moved = (header->flags & HG_LOG_WRITE_MOVED) != 0;
    torn_tell(log);
    if (!is_moved && !batches_report(log, header, r->sequence, payload))
        return false;
    hg_log_place_set(log, r->sequence, r->segment, r->offset, is_moved ? 0 : header->payload_bytes);
    if (r->offset == 0) {
        log->segment_first[r->segment % log->geometry.segment_count] = r->sequence;
        r->hole_is_open = r->hole_is_open && is_moved;
    }
    r->head_segment = r->segment;
    r->has_previous = true;
    r->previous_crc32c = header->crc32c;
    r->previous_restarts = header->restarts;
    r->hlc_ceiling = hg_max_u64(r->hlc_ceiling, header->hlc_ceiling);
    hg_log_recovery_learn(r, header);
    ring_keep(log, header);
    hg_log_place_next(log->geometry.segment_bytes, log->write_bytes_max,
                      hg_log_write_bytes(header->payload_bytes), &r->segment, &r->offset);
    r->sequence++;
    log->stats.recovered_writes++;
    return true;
}

static void evidence_start(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    uint64_t bytes = 2ull * (HG_LOG_WRITES_UNFLUSHED_MAX + 2) * log->write_bytes_max;
    r->evidence_segment = r->segment;
    r->evidence_offset = r->offset;
    r->evidence_left = hg_min_u64(bytes, log->geometry.segment_bytes * log->geometry.segment_count);
    r->io.window_bytes = 0;
    r->phase = HG_RECOVERY_EVIDENCE;
}

/* Its own block, bad already, and the ring's copy stays until a flush: in place is safe. */
static bool header_rewrite(struct hg_log *log)
{
    const struct hg_log_recovery *r = log->recovery;
    return hg_log_recovery_write(log, ring_copy(log), HG_LOG_BLOCK_BYTES,
                                 hg_log_file_offset(log, r->segment, r->offset));
}

/* It is told of what it has, and where it is: a reader finds it corrupt, and then it is repaired. */
static bool write_mark(struct hg_log *log, const struct hg_log_write_header *header, const uint8_t *payload)
{
    struct hg_log_recovery *r = log->recovery;
    r->marked[r->marked_count++] = r->sequence;
    if (!write_take(log, header, payload))
        return false;
    log->stats.corrupt_writes++;
    log->stats.marked_writes++;
    return true;
}

/* The table's, but for what is concluded from the absence of what can't be read. */
static void verdict_reach(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    bool may_mark = log->may_mark && r->marked_count < HG_LOG_HEAL_WRITES_MAX;
    enum hg_log_reach reach = hg_log_recovery_reach(r->sequence, r->durable, may_mark);
    r->verdict = hg_log_recovery_verdict(r->found, r->copy, reach);
    bool is_end = r->verdict == HG_LOG_VERDICT_TORN || r->verdict == HG_LOG_VERDICT_END;
    bool is_tail_old =
        r->superblock_unread != HG_LOG_READABLE && r->sequence == log->superblock.tail_sequence;
    if (r->write_unread != HG_LOG_READABLE || (is_end && r->evidence_unread != HG_LOG_READABLE) ||
        (!is_end && is_tail_old))
        r->verdict = hg_log_verdict_unread(r->verdict);
    /* Headers behind it may prove that it was durable. */
    bool is_unread_beyond = r->verdict == HG_LOG_VERDICT_UNREADABLE && reach == HG_LOG_REACH_BEYOND;
    r->wants_evidence = !r->evidence_is_done && (is_end || is_unread_beyond);
}

/* The block for which the verdict is not known. */
static uint64_t verdict_unread(const struct hg_log *log)
{
    const struct hg_log_recovery *r = log->recovery;
    uint64_t slot = r->sequence % HG_LOG_RING_BLOCKS;
    if (r->write_unread != HG_LOG_READABLE)
        return r->write_unread;
    if (r->copy == HG_LOG_COPY_UNREADABLE)
        return HG_LOG_RING_OFFSET + slot * HG_LOG_BLOCK_BYTES;
    return r->evidence_unread != HG_LOG_READABLE ? r->evidence_unread : r->superblock_unread;
}

/* By the table. True: go on with the walk. */
static bool write_decide(struct hg_log *log, const uint8_t *at)
{
    struct hg_log_recovery *r = log->recovery;
    verdict_reach(log);
    if (r->wants_evidence) {
        evidence_start(log);
        return true;
    }
    switch (r->verdict) {
    case HG_LOG_VERDICT_PRESENT:
        return write_take(log, (const struct hg_log_write_header *)at, at + HG_LOG_BLOCK_BYTES);
    case HG_LOG_VERDICT_PRESENT_COPY:
        if (!header_rewrite(log))
            return false;
        log->stats.corrupt_writes++;
        return write_take(log, ring_copy(log), at + HG_LOG_BLOCK_BYTES);
    case HG_LOG_VERDICT_MARKED:
        if (at == NULL) { /* headers behind it raised D: it is read and judged again, as is what follows */
            r->phase = HG_RECOVERY_SCAN;
            r->evidence_is_done = false;
            log->stats.discarded_writes = 0;
            return true;
        }
        return write_mark(log, (const struct hg_log_write_header *)at, at + HG_LOG_BLOCK_BYTES);
    case HG_LOG_VERDICT_MARKED_COPY:
        return header_rewrite(log) && write_mark(log, ring_copy(log), at + HG_LOG_BLOCK_BYTES);
    case HG_LOG_VERDICT_FORK:
    case HG_LOG_VERDICT_CORRUPT:
        corrupt_report(log);
        return false;
    case HG_LOG_VERDICT_TORN:
    case HG_LOG_VERDICT_END:
        r->phase = HG_RECOVERY_RESTORE;
        return true;
    case HG_LOG_VERDICT_UNREADABLE:
        unreadable_report(log, verdict_unread(log));
        return false;
    }
    hg_assert(!"a verdict");
    return false;
}

enum copy_state { COPY_READING, COPY_BAD, COPY_TAKEN };

/* The write that has what was in the hole, in memory: nothing of it is believed before all of it was checked.
 */
static enum copy_state copy_take(struct hg_log *log, const struct hg_log_hole *hole)
{
    struct hg_log_recovery *r = log->recovery;
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)r->io.window;
    uint64_t at = hg_log_file_offset(log, hole->copy_segment, hole->copy_offset);
    uint64_t room = hg_min_u64(log->write_bytes_max,
                               hg_log_recovery_bytes_to_hole(log, hole->copy_segment, hole->copy_offset));
    if (r->io.window_bytes == 0 || r->io.window_offset != at) {
        hg_log_recovery_window_start(log, hole->copy_segment, hole->copy_offset);
        r->io.window_bytes = room;
        return COPY_READING;
    }
    r->io.window_bytes = 0; /* whatever comes next lies elsewhere */
    if (!hg_log_hole_copy_is_right(hole, header, log->geometry.log_uuid, (uint32_t)room)) {
        uint64_t unread = hg_log_recovery_unreadable_in(log, at, room);
        r->verdict = HG_LOG_VERDICT_CORRUPT;
        if (unread != HG_LOG_READABLE)
            unreadable_report(log, unread);
        else
            corrupt_report(log);
        return COPY_BAD;
    }
    if (!batches_report(log, header, hole->sequence_first, r->io.window + HG_LOG_BLOCK_BYTES))
        return COPY_BAD;
    hg_log_place_set(log, hole->sequence_first, hole->copy_segment, hole->copy_offset, header->payload_bytes);
    log->stats.recovered_writes++;
    return COPY_TAKEN;
}

/* The expected write is in a hole of the superblock's table: on behind it. */
static bool hole_pass(struct hg_log *log, const struct hg_log_hole *hole)
{
    struct hg_log_recovery *r = log->recovery;
    uint64_t segments_end = log->superblock.tail_segment + log->geometry.segment_count;
    uint64_t segment_last = hg_log_hole_segment_last(hole);
    if (hole->sequence_first != r->sequence || hole->segment != r->segment || hole->offset != r->offset ||
        segment_last >= segments_end) {
        hg_log_fail(log, "its superblock names a loss from write %llu on that is not at its place here",
                    (unsigned long long)hole->sequence_first);
        hg_log_recovery_refuse(log);
        return false;
    }
    torn_tell(log);
    for (uint64_t sequence = hole->sequence_first; sequence <= hole->sequence_last; sequence++)
        hg_log_place_set(log, sequence, hole->segment, hole->offset, 0);
    if (hg_log_hole_is_repaired(hole)) {
        enum copy_state copy = copy_take(log, hole);
        if (copy != COPY_TAKEN)
            return copy == COPY_READING;
    }
    for (uint64_t segment = r->offset == 0 ? r->segment : r->segment + 1; segment <= segment_last; segment++)
        log->segment_first[segment % log->geometry.segment_count] = hole->sequence_last + 1;
    if (r->offset == 0)
        log->segment_first[r->segment % log->geometry.segment_count] = r->sequence;
    if (!hg_log_hole_is_repaired(hole) && log->ops.recovered_hole != NULL)
        log->ops.recovered_hole(log->ctx, hole->sequence_first, hole->sequence_last);
    struct hg_log_walk walk = walk_of(log);
    hg_log_walk_pass(&walk, hole);
    r->head_segment = segment_last;
    r->has_previous = walk.has_previous;
    r->sequence = walk.sequence;
    r->segment = walk.segment;
    r->offset = walk.offset;
    r->durable = hg_max_u64(r->durable, hole->sequence_last);
    r->hole_is_open = r->hole_is_open || hole->kind != HG_LOG_HOLE_MOVED;
    return true;
}

static bool scan_step(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    if (!hg_log_recovery_window_is_ready(log))
        return false;
    const struct hg_log_hole *hole = hg_log_hole_of(&log->superblock.holes, r->sequence);
    if (hole != NULL)
        return hole_pass(log, hole);
    const uint8_t *at = window_at(log, HG_LOG_BLOCK_BYTES);
    if (at == NULL)
        return true;
    uint32_t bytes = bytes_to_judge(log, at);
    at = window_at(log, bytes);
    if (at == NULL)
        return true;
    r->write_unread = r->evidence_unread = HG_LOG_READABLE;
    if (r->segment - log->superblock.tail_segment >= log->geometry.segment_count) {
        r->found = HG_LOG_FOUND_STALE; /* the log is full: the tail lies here */
        r->copy = HG_LOG_COPY_ABSENT;
    } else {
        write_judge(log, at, bytes);
    }
    log->tail_is_torn = (r->found == HG_LOG_FOUND_BAD || r->found == HG_LOG_FOUND_ROTTEN) &&
                        !hg_log_is_zero(at, HG_LOG_BLOCK_BYTES); /* if this is the end */
    return write_decide(log, at);
}

/* The search begins with the write that is to be the end: a single reading that was wrong is none. */
static bool end_is_whole(struct hg_log *log)
{
    const struct hg_log_recovery *r = log->recovery;
    struct hg_log_walk walk = walk_of(log);
    if (r->evidence_segment != r->segment || r->evidence_offset != r->offset ||
        bytes_to_judge(log, r->io.window) > r->io.window_bytes)
        return false;
    enum hg_log_write_found found = hg_log_walk_judge(&walk, r->io.window);
    return found == HG_LOG_FOUND_CHAINED || found == HG_LOG_FOUND_UNCHAINED;
}

/* Looks at every block behind the end for headers of ours: D, and how much is discarded. */
static bool evidence_step(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    if (!hg_log_recovery_window_is_ready(log))
        return false;
    if (end_is_whole(log)) {
        log->stats.reads_again++;
        r->phase = HG_RECOVERY_SCAN; /* and judge it by this window */
        return true;
    }
    for (uint64_t at = 0; at < r->io.window_bytes; at += HG_LOG_BLOCK_BYTES) {
        const struct hg_log_write_header *header = (const struct hg_log_write_header *)(r->io.window + at);
        if (header->magic != HG_LOG_WRITE_MAGIC ||
            !hg_log_write_header_is_valid(header, log->geometry.log_uuid) ||
            hg_log_file_offset(log, header->segment, header->segment_offset) != r->io.window_offset + at)
            continue;
        bool is_behind = header->sequence > r->sequence && header->restarts >= r->previous_restarts;
        uint64_t slot = header->sequence % HG_LOG_RING_BLOCKS;
        hg_log_recovery_learn(r, header);
        log->stats.discarded_writes += is_behind;
        if (is_behind && r->ring_is_unread[slot]) /* and what is in the ring was durable */
            r->evidence_unread = HG_LOG_RING_OFFSET + slot * HG_LOG_BLOCK_BYTES;
    }
    /* A header may lie in a block that can't be read; but not beyond the last segment that may be written. */
    if (r->evidence_segment - log->superblock.tail_segment < log->geometry.segment_count)
        r->evidence_unread = hg_min_u64(
            r->evidence_unread, hg_log_recovery_unreadable_in(log, r->io.window_offset, r->io.window_bytes));
    r->evidence_offset += r->io.window_bytes;
    r->evidence_left -= hg_min_u64(r->evidence_left, r->io.window_bytes);
    if (r->evidence_offset == log->geometry.segment_bytes) {
        r->evidence_segment++;
        r->evidence_offset = 0;
    }
    if (r->evidence_left > 0) {
        hg_log_recovery_window_start(log, r->evidence_segment, r->evidence_offset);
        return true;
    }
    r->evidence_is_done = true;
    r->io.window_bytes = 0;
    return write_decide(log, NULL);
}

/* ---- the end ---- */

/* What was read a second time is the write that the walk took. `bytes`: that were read. */
static bool restore_is_right(const struct hg_log *log, const struct hg_log_write_header *header,
                             uint32_t payload_bytes, uint32_t bytes)
{
    return hg_log_write_header_is_valid(header, log->geometry.log_uuid) &&
           header->sequence == log->recovery->restore_sequence &&
           (payload_bytes == 0 || header->payload_bytes == payload_bytes) &&
           hg_log_write_bytes(header->payload_bytes) <= bytes &&
           hg_log_write_payload_is_valid(header, (const uint8_t *)header + HG_LOG_BLOCK_BYTES);
}

/* Writes beyond D are there to be read, but a flush that failed in an earlier process may have let go of
 * them: a later flush would then succeed without them. So they are written again, the same bytes to the same
 * place, for our own flush to cover. Copies of older writes, too: they are links of the chain. Last the pair
 * of superblocks that was chosen, for the next update overwrites the other one. */
static bool restore_step(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)r->io.window;
    uint64_t segment;
    uint32_t offset, payload_bytes;
    if (r->io.pending > 0)
        return false;
    r->restore_sequence = hg_max_u64(r->restore_sequence, hg_max_u64(r->durable, log->tail_sequence - 1) + 1);
    if (r->restore_sequence >= r->sequence) {
        hg_log_superblock_again(log);
        r->phase = HG_RECOVERY_SETTLE;
        return true;
    }
    hg_log_place_get(log, r->restore_sequence, &segment, &offset, &payload_bytes);
    uint64_t at = hg_log_file_offset(log, segment, offset);
    uint32_t bytes =
        payload_bytes != 0 /* else it is a copy, its header alone says how large: holes are <= D */
            ? hg_log_write_bytes(payload_bytes)
            : (uint32_t)hg_min_u64(log->write_bytes_max, hg_log_recovery_bytes_to_hole(log, segment, offset));
    if (!r->restore_is_read) {
        r->io.window_bytes = 0;
        r->io.window_offset = at;
        r->restore_is_read = hg_log_recovery_read(log, bytes, at);
        return r->restore_is_read;
    }
    if (!restore_is_right(log, header, payload_bytes, bytes)) {
        uint64_t unread = hg_log_recovery_unreadable_in(log, at, bytes);
        if (unread != HG_LOG_READABLE) {
            unreadable_report(log, unread);
            return false;
        }
        hg_log_fail(log,
                    "write of sequence %llu reads differently a second time; check the device, then restart",
                    (unsigned long long)r->restore_sequence);
        return false;
    }
    if (!hg_log_recovery_write(log, header, hg_log_write_bytes(header->payload_bytes), at))
        return false;
    r->restore_is_read = false;
    r->restore_sequence++;
    return true;
}

static bool ring_repair(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    while (r->ring_slot < HG_LOG_RING_BLOCKS) {
        uint32_t first = r->ring_slot, end = first;
        while (end < HG_LOG_RING_BLOCKS && r->ring_is_dirty[end])
            end++;
        if (end == first) {
            r->ring_slot++;
            continue;
        }
        if (!hg_log_recovery_write(log, &log->mirror[first], (end - first) * HG_LOG_BLOCK_BYTES,
                                   HG_LOG_RING_OFFSET + (uint64_t)first * HG_LOG_BLOCK_BYTES))
            return false;
        r->ring_slot = end;
    }
    return true;
}

static void become_ready(struct hg_log *log)
{
    const struct hg_log_recovery *r = log->recovery;
    uint64_t last = r->sequence - 1;
    log->head_segment = r->head_segment;
    log->next_segment = r->segment;
    log->next_offset = r->offset;
    log->previous_crc32c = r->previous_crc32c;
    log->next_sequence = log->submit_next = log->mirror_next = log->ring_next = log->cache_first =
        r->sequence;
    log->closed_sequence = log->written_sequence = log->flushed_sequence = log->durable_sequence = last;
    log->tail_is_torn = log->tail_is_torn || r->hole_is_open;
    if (log->stats.recovered_writes == 0)
        snprintf(log->message, sizeof(log->message), "log %u: empty, restart %u", log->superblock.log_id,
                 log->superblock.restarts);
    else
        snprintf(log->message, sizeof(log->message),
                 "log %u: recovered writes %llu to %llu, restart %u; %s, %llu later writes discarded (never "
                 "acknowledged)%s",
                 log->superblock.log_id, (unsigned long long)log->tail_sequence, (unsigned long long)last,
                 log->superblock.restarts,
                 r->verdict == HG_LOG_VERDICT_END ? "then blocks of earlier writes" : "then nothing whole",
                 (unsigned long long)log->stats.discarded_writes,
                 r->io.unreadable_count > 0 ? "; blocks of it can't be read" : "");
    hg_log_scrub_prepare(log);
    hg_log_heal_prepare(log);
    hg_log_pieces_prepare(log, &log->salvage.pieces);
    for (uint32_t i = 0; i < r->marked_count; i++)
        hg_log_heal_note(log, r->marked[i]);
    log->state = HG_LOG_READY;
}

static bool repair_start(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    log->superblock.restarts = r->restarts_max + 1;
    log->superblock.durable_sequence = r->sequence - 1; /* the flush of HG_RECOVERY_SETTLE is done */
    if (log->tail_is_torn) {
        log->superblock.tail_torn_sequence = r->sequence;
        r->torn_is_told = false;
    }
    torn_tell(log);
    hg_log_hlc_ceiling_set(log, r->hlc_ceiling);
    hg_log_superblock_start(log);
    r->phase = HG_RECOVERY_REPAIRING;
    return true;
}

static bool phase_step(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    switch (r->phase) {
    case HG_RECOVERY_START:
        return hg_log_recovery_superblocks_read(log);
    case HG_RECOVERY_SUPERBLOCKS:
        return r->io.pending == 0 && hg_log_recovery_superblocks_take(log);
    case HG_RECOVERY_RING:
        return r->io.pending == 0 && hg_log_recovery_ring_take(log);
    case HG_RECOVERY_SCAN:
        return scan_step(log);
    case HG_RECOVERY_EVIDENCE:
        if (r->io.window_bytes == 0)
            hg_log_recovery_window_start(log, r->evidence_segment, r->evidence_offset);
        return evidence_step(log);
    case HG_RECOVERY_RESTORE:
        return restore_step(log);
    case HG_RECOVERY_SETTLE: /* what was read may be in the device's cache only */
        (void)hg_log_superblock_submit(log);
        if (r->io.pending > 0 || !log->superblock_is_written || !hg_log_flush_start(log))
            return false;
        r->phase = HG_RECOVERY_SETTLING;
        return true;
    case HG_RECOVERY_SETTLING:
        r->phase = log->is_flushing ? HG_RECOVERY_SETTLING : HG_RECOVERY_REPAIR;
        return !log->is_flushing;
    case HG_RECOVERY_REPAIR:
        return repair_start(log);
    case HG_RECOVERY_REPAIRING:
        (void)hg_log_superblock_submit(log);
        if (!ring_repair(log) || r->io.pending > 0 || !log->superblock_is_written || !hg_log_flush_start(log))
            return false;
        r->phase = HG_RECOVERY_FINISHING;
        return true;
    case HG_RECOVERY_FINISHING:
        if (log->is_flushing || log->superblock_is_busy)
            return false;
        become_ready(log);
        return true;
    }
    return false;
}

static bool is_doubting(const struct hg_log *log)
{
    return log->recovery->io.pending == 0 && log->recovery->io.doubt_count > 0;
}

bool hg_log_recovery_advance(struct hg_log *log)
{
    bool did = false;
    while (log->state == HG_LOG_RECOVERING &&
           (is_doubting(log) ? hg_log_recovery_doubt_step(log) : phase_step(log) || is_doubting(log)))
        did = true;
    return did;
}
