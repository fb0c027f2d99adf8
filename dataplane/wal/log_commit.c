/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes to the device and when it is durable: writes, one flush at a time that covers all writes reaped
 * before it (or none, where each write is durable by itself), and the header ring, which gets copies of
 * durable writes only.
 */
#include "dataplane/wal/log_internal.h"

#include <errno.h>
#include <string.h>

/* 0 = all done; 1 = short, try once more; -1 = failed, and said so. */
static int result_judge(struct hg_log *log, const char *what, uint64_t number, int32_t result, uint64_t bytes,
                        bool *was_short)
{
    if (result >= 0 && (uint64_t)result == bytes) {
        *was_short = false;
        return 0;
    }
    if (result >= 0 && !*was_short) {
        *was_short = true;
        log->stats.writes_again++;
        return 1;
    }
    hg_log_fail(log,
                "%s %llu: %s; nothing after it was acknowledged: restart, and recovery reads the disk anew",
                what, (unsigned long long)number, result < 0 ? strerror(-result) : "short twice");
    return -1;
}

static void flush_time_note(struct hg_log *log, uint64_t took_ns)
{
    log->stats.flush_ns_last = took_ns;
    log->stats.flush_ns_max = hg_max_u64(log->stats.flush_ns_max, took_ns);
}

void hg_log_write_completed(struct hg_log *log, uint64_t sequence, int32_t result)
{
    struct hg_log_entry *entry = hg_log_entry_of(log, sequence);
    uint32_t bytes = hg_log_write_bytes(entry->payload_bytes);

    hg_assert(entry->sequence == sequence && entry->state == HG_LOG_ENTRY_IN_FLIGHT);
    switch (result_judge(log, "write of sequence", sequence, result, bytes, &entry->is_rewritten)) {
    case 0:
        break;
    case 1: /* nothing of it was acknowledged, so the same bytes may go to the same place */
        entry->state = HG_LOG_ENTRY_CLOSED;
        log->submit_next = hg_min_u64(log->submit_next, sequence);
        return;
    default:
        return;
    }
    entry->state = HG_LOG_ENTRY_WRITTEN;
    if (log->disk->is_dsync)
        flush_time_note(log, log->now_ns - entry->submitted_ns);
    log->writes_uncompleted--;
    while (log->written_sequence < log->closed_sequence &&
           hg_log_entry_of(log, log->written_sequence + 1)->state == HG_LOG_ENTRY_WRITTEN)
        log->written_sequence++;
#ifdef HG_SEEDED_BUG_ACK_BEFORE_FLUSH
    log->durable_sequence = log->written_sequence;
#endif
}

/* Each write that becomes durable now. */
static void latency_note(struct hg_log *log)
{
    for (uint64_t sequence = log->flushed_sequence + 1; sequence <= log->flush_sequence; sequence++)
        hg_latency_add(&log->latency, log->now_ns - hg_log_entry_of(log, sequence)->opened_ns, log->now_ns);
    if (log->durable_p99_ns != 0 && log->now_ns - log->durable_p99_looked_ns < HG_LOG_LATENCY_LOOK_NS)
        return;
    log->durable_p99_ns = hg_latency_quantile_ns(&log->latency, 990);
    log->durable_p99_looked_ns = log->now_ns;
}

/* All writes up to flush_sequence are durable, and so is the superblock if it was written before. */
static void durable_take(struct hg_log *log)
{
    if (log->flush_sequence > log->flushed_sequence) {
        latency_note(log);
        log->flushed_sequence = log->flush_sequence;
        log->durable_sequence = hg_max_u64(log->durable_sequence, log->flush_sequence);
    }
    if (log->flush_has_superblock)
        hg_log_superblock_flushed(log);
}

void hg_log_flush_completed(struct hg_log *log, int32_t result)
{
    log->is_flushing = false;
    if (result != 0 && log->state == HG_LOG_RECOVERING) {
        hg_log_fail(log, "recovery: a flush: %s; what was durable still is: check the device, then restart",
                    strerror(result < 0 ? -result : EIO));
        return;
    }
    if (result != 0) {
        hg_log_fail(
            log,
            "flush after write %llu: %s; writes after %llu are not acknowledged and a failed flush is never "
            "repeated: restart, and recovery reads the disk anew",
            (unsigned long long)log->flush_sequence, strerror(result < 0 ? -result : EIO),
            (unsigned long long)log->durable_sequence);
        return;
    }
    flush_time_note(log, log->now_ns - log->flush_ns);
    durable_take(log);
}

/* What a flush that is submitted now covers. */
static void flush_cover(struct hg_log *log)
{
    log->flush_sequence = log->written_sequence;
    log->flush_has_superblock = log->superblock_is_written;
    log->ring_is_dirty = false;
}

bool hg_log_flush_start(struct hg_log *log)
{
    hg_assert(!log->is_flushing);
    if (!log->disk->flush(log->disk, hg_log_tag(HG_LOG_TAG_FLUSH, 0)))
        return false;
    log->is_flushing = true;
    log->has_submitted = true;
    flush_cover(log);
    log->flush_ns = log->now_ns;
    log->stats.flushes++;
    return true;
}

static bool ring_is_waiting(const struct hg_log *log)
{
    return log->ring_next < log->mirror_next;
}

/* Copies go together, since a write to another place costs a fifth of the throughput when each flush has one;
 * but not for long: of a device that loses data writes which it acknowledged, the ring alone tells. */
static bool ring_is_due(const struct hg_log *log)
{
    return ring_is_waiting(log) && log->ring_flight_end == 0 &&
           (log->now_ns - log->ring_waiting_ns >= HG_LOG_RING_DELAY_NS ||
            log->mirror_next - log->ring_next >= HG_LOG_RING_BLOCKS / 2);
}

/* Copies headers of durable writes into the mirror, as long as their slot is not being written. */
static void mirror_advance(struct hg_log *log)
{
    while (log->mirror_next <= log->flushed_sequence) {
        uint64_t sequence = log->mirror_next, slot = sequence % HG_LOG_RING_BLOCKS;
        if (log->ring_flight_end != 0 && sequence - log->ring_flight_first >= HG_LOG_RING_BLOCKS)
            return;
        memcpy(&log->mirror[slot], hg_log_entry_buffer(log, hg_log_entry_of(log, sequence)),
               HG_LOG_BLOCK_BYTES);
        if (!ring_is_waiting(log))
            log->ring_waiting_ns = log->now_ns;
        log->mirror_next++;
        if (log->mirror_next - log->ring_next > HG_LOG_RING_BLOCKS)
            log->ring_next = log->mirror_next - HG_LOG_RING_BLOCKS;
    }
}

/* All new copies whose slots lie in one row, in one write. */
static bool ring_submit(struct hg_log *log)
{
    uint64_t slot = log->ring_next % HG_LOG_RING_BLOCKS;
    uint64_t count = hg_min_u64(log->mirror_next - log->ring_next, HG_LOG_RING_BLOCKS - slot);
    uint32_t bytes = (uint32_t)count * HG_LOG_BLOCK_BYTES;
    if (!log->disk->write(log->disk, hg_log_tag(HG_LOG_TAG_RING, 0), &log->mirror[slot], bytes,
                          HG_LOG_RING_OFFSET + slot * HG_LOG_BLOCK_BYTES))
        return false;
    log->ring_flight_first = log->ring_next;
    log->ring_flight_end = log->ring_next + count;
    log->ring_next += count;
    log->ring_flight_ns = log->now_ns;
    log->has_submitted = true;
    log->stats.written_bytes += bytes;
    return true;
}

void hg_log_ring_completed(struct hg_log *log, int32_t result)
{
    uint64_t bytes = (log->ring_flight_end - log->ring_flight_first) * HG_LOG_BLOCK_BYTES;
    int verdict = result_judge(log, "header ring copy of write", log->ring_flight_first, result, bytes,
                               &log->ring_was_short);
    if (verdict == 1)
        log->ring_next = log->ring_flight_first;
    log->ring_flight_end = 0;
    log->ring_is_dirty = true;
}

static bool write_submit(struct hg_log *log, const struct hg_log_entry *entry, uint32_t bytes)
{
    struct hg_disk *disk = log->disk;
#ifdef HG_SEEDED_BUG_ACK_BEFORE_FLUSH
    bool is_dsync = disk->is_dsync;
    disk->is_dsync = false;
#endif
    bool is_taken = disk->write(disk, hg_log_tag(HG_LOG_TAG_WRITE, entry->sequence),
                                hg_log_entry_buffer(log, entry), bytes, entry->file_offset);
#ifdef HG_SEEDED_BUG_ACK_BEFORE_FLUSH
    disk->is_dsync = is_dsync;
#endif
    return is_taken;
}

static bool writes_submit(struct hg_log *log)
{
    bool did = false;
    for (; log->submit_next <= log->closed_sequence; log->submit_next++) {
        struct hg_log_entry *entry = hg_log_entry_of(log, log->submit_next);
        uint32_t bytes = hg_log_write_bytes(entry->payload_bytes);
        if (entry->state != HG_LOG_ENTRY_CLOSED)
            continue; /* passed again on the way back to a short one */
        if (!write_submit(log, entry, bytes))
            return did;
        entry->state = HG_LOG_ENTRY_IN_FLIGHT;
        entry->submitted_ns = log->now_ns;
        log->has_submitted = true;
        log->stats.writes++;
        log->stats.payload_bytes += entry->payload_bytes;
        log->stats.written_bytes += bytes;
        did = true;
    }
    return did;
}

/* Nothing of the data is on its way. */
static bool is_idle(const struct hg_log *log)
{
    return log->closed_sequence == log->flushed_sequence && !log->is_flushing;
}

/* Each write was durable when it completed: nothing is left for a flush to do. Recovery has no use of this:
 * it flushes also what a former process wrote, whichever way that was. */
static void written_take(struct hg_log *log)
{
    hg_assert(!log->is_flushing);
    flush_cover(log);
    durable_take(log);
}

bool hg_log_commit_advance(struct hg_log *log)
{
    if (log->disk->is_dsync)
        written_take(log);
    mirror_advance(log);
    bool did = writes_submit(log);
    if (ring_is_due(log))
        did |= ring_submit(log);
    bool is_flush_due =
        log->written_sequence > log->flushed_sequence || log->superblock_is_written ||
        (log->ring_is_dirty && is_idle(log) && !ring_is_waiting(log) && log->ring_flight_end == 0);
    if (is_flush_due && !log->is_flushing)
        did |= hg_log_flush_start(log);
    return did;
}

/* The open write stays open for more: the last segments are for peers' batches, and small writes are mostly
 * padding. */
static bool is_gathering(const struct hg_log *log)
{
    return log->open != NULL && hg_log_segments_free(log) < hg_log_segments_kept(log, HG_LOG_USER_PRODUCER) &&
           log->open->payload_bytes < log->geometry.write_payload_bytes_max / 4 * 3 &&
           log->now_ns - log->open->opened_ns < HG_LOG_GATHER_SCARCE_NS;
}

uint64_t hg_log_commit_deadline_ns(const struct hg_log *log)
{
    uint64_t deadline_ns = is_gathering(log) ? log->open->opened_ns + HG_LOG_GATHER_SCARCE_NS : HG_TIME_NEVER;
    if (ring_is_waiting(log) && log->ring_flight_end == 0)
        deadline_ns = hg_min_u64(deadline_ns, log->ring_waiting_ns + HG_LOG_RING_DELAY_NS);
    return deadline_ns;
}

uint64_t hg_log_pending_since_ns(const struct hg_log *log)
{
    const struct hg_log_entry *oldest = &log->entries[(log->written_sequence + 1) & log->entries_mask];
    uint64_t since_ns = HG_TIME_NEVER;
    if (log->written_sequence < log->closed_sequence && oldest->state == HG_LOG_ENTRY_IN_FLIGHT)
        since_ns = oldest->submitted_ns;
    if (log->is_flushing)
        since_ns = hg_min_u64(since_ns, log->flush_ns);
    if (log->ring_flight_end != 0)
        since_ns = hg_min_u64(since_ns, log->ring_flight_ns);
    if (log->superblock_in_flight > 0)
        since_ns = hg_min_u64(since_ns, log->superblock_ns);
    return since_ns;
}

uint32_t hg_log_open_bytes(const struct hg_log *log)
{
    return log->open != NULL ? log->open->payload_bytes : 0;
}

bool hg_log_slot_free(const struct hg_log *log)
{
    uint64_t covered = log->is_flushing ? log->flush_sequence : log->flushed_sequence;
    uint32_t most =
        hg_log_open_bytes(log) >= HG_LOG_WRITE_FULL_BYTES ? HG_LOG_WRITES_FULL_MAX : HG_LOG_WRITES_GATHER_MAX;
    return log->state == HG_LOG_READY && log->writes_uncompleted < most &&
           log->closed_sequence - covered < HG_LOG_GATHER_FLUSH;
}

bool hg_log_wants_close(const struct hg_log *log)
{
    return log->open != NULL && log->open->payload_bytes > 0 && hg_log_slot_free(log) && !is_gathering(log);
}
