/* SPDX-License-Identifier: Apache-2.0
 *
 * The log in fair weather: appending, group commit, reading, back-pressure, reuse, checkpoints.
 */
#include "log_harness.h"

/* A copy waits for a millisecond, then for its own write. */
#define RING_BEHIND_NS_MAX (2 * HG_NS_PER_MS)

static struct harness h;

static void append_until(uint32_t writes)
{
    for (uint32_t i = 0; i < writes; i++) {
        while (harness_append(&h, 4, 500) == 0)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        hg_log_close_write(h.log);
    }
    harness_settle(&h);
}

static void test_append_and_read(void)
{
    harness_create(&h, 1, 8);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(hg_log_next_sequence(h.log), 1);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 0);
    CU_ASSERT_EQUAL(hg_log_restarts(h.log), 1);
    CU_ASSERT_FALSE(hg_log_wants_close(h.log));
    CU_ASSERT_EQUAL(harness_append(&h, 5, 100), 1);
    CU_ASSERT_EQUAL(hg_log_next_sequence(h.log), 2);
    CU_ASSERT_EQUAL(harness_append(&h, 5, 100), 1); /* gathered in the same write */
    CU_ASSERT_TRUE(hg_log_wants_close(h.log));
    const uint8_t *payload;
    uint32_t bytes;
    CU_ASSERT_EQUAL(hg_log_at(h.log, 1, &payload, &bytes), -ERANGE);
    harness_settle(&h);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 1);
    CU_ASSERT_EQUAL(hg_log_at(h.log, 0, &payload, &bytes), -ENOENT);
    append_until(20);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 21);
    harness_check_reads(&h);
    /* The same from disk. */
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(hg_log_restarts(h.log), 2);
    CU_ASSERT_EQUAL(hg_log_recovery_percent(h.log), 100);
    harness_check_recovered(&h);
    CU_ASSERT_EQUAL(h.recovered, h.count);
    CU_ASSERT(h.count > 20);
    harness_check_reads(&h);
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT(stats.reads < 21); /* several that lie one behind the other are one read */
    CU_ASSERT(stats.read_bytes > 0 &&
              stats.read_bytes <= hg_log_bytes_from(h.log, 1)); /* each is read once */
    CU_ASSERT_EQUAL(stats.recovered_writes, 21);
    harness_destroy(&h);
}

/* Many small writes share few flushes, and none is acknowledged before its flush. */
static void test_group_commit(void)
{
    struct hg_log_stats stats;
    harness_create(&h, 2, 32);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    hg_log_stats_get(h.log, &stats);
    uint64_t flushes_before = stats.flushes, writes = 0;
    for (int i = 0; i < 2000; i++) {
        harness_append(&h, 1, 50);
        if (hg_log_wants_close(h.log)) {
            hg_log_close_write(h.log);
            writes++;
        }
        h.now_ns += 2000;
        uint64_t deadline_ns;
        hg_disk_sim_time_set(h.disk, h.now_ns);
        hg_log_turn(h.log, h.now_ns, &deadline_ns);
    }
    harness_settle(&h);
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT(stats.flushes - flushes_before < writes);
    CU_ASSERT(writes < 1000); /* gathered */
    CU_ASSERT(h.count > 500); /* the rest was pushed back */
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), hg_log_next_sequence(h.log) - 1);
    CU_ASSERT(stats.flush_ns_max >= stats.flush_ns_last && stats.flush_ns_max > 0);
    h.now_ns += HG_NS_PER_S; /* so that the next flush looks at all of them */
    uint64_t deadline_ns;
    hg_disk_sim_time_set(h.disk, h.now_ns);
    hg_log_turn(h.log, h.now_ns, &deadline_ns);
    harness_append(&h, 1, 50);
    harness_settle(&h);
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT(stats.durable_ns_p99 > stats.flush_ns_max / 2 &&
              stats.durable_ns_p99 < 10 * stats.flush_ns_max);
    harness_check_reads(&h);
    harness_destroy(&h);
}

/* A write is durable only after a flush that was submitted after its completion was reaped. */
static void test_ack_needs_flush(void)
{
    uint64_t deadline_ns;
    harness_create(&h, 3, 8);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_settle(&h);
    harness_append(&h, 1, 10);
    hg_log_close_write(h.log);
    hg_log_turn(h.log, h.now_ns, &deadline_ns);
    h.now_ns = hg_disk_sim_next_ns(h.disk);
    hg_disk_sim_time_set(h.disk, h.now_ns);
    hg_log_turn(h.log, h.now_ns, &deadline_ns); /* write reaped, flush submitted */
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 0);
    h.now_ns = hg_disk_sim_next_ns(h.disk);
    hg_disk_sim_time_set(h.disk, h.now_ns);
    hg_log_turn(h.log, h.now_ns, &deadline_ns);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 1);
    /* The ring copy: not with its own data, alone after a millisecond, then flushed. */
    const struct hg_log_write_header *ring =
        (const struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + HG_LOG_RING_OFFSET);
    CU_ASSERT_EQUAL(ring[1].sequence, 0);
    CU_ASSERT_EQUAL(deadline_ns, h.now_ns + HG_NS_PER_MS);
    harness_settle(&h);
    CU_ASSERT_EQUAL(ring[1].sequence, 1);
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT_EQUAL(stats.flushes, 4); /* two of recovery, the data, the ring */
    harness_destroy(&h);
}

/* Where each write is durable by itself: its completion does, in whatever order writes complete; then a power
 * cut takes nothing of it. After recovery nobody flushes. */
static void test_ack_without_flush(void)
{
    uint64_t deadline_ns, first_seen = 0;
    struct hg_log_stats stats;
    harness_create(&h, 3, 8);
    h.disk->is_dsync = true;
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT_EQUAL(stats.flushes, 2); /* what a former process wrote, and what recovery did */
    harness_append(&h, 1, 10);
    hg_log_close_write(h.log);
    hg_log_turn(h.log, h.now_ns, &deadline_ns);
    harness_append(&h, 1, 10);
    hg_log_close_write(h.log);
    for (uint32_t i = 0; i < 100 && hg_log_durable_sequence(h.log) < 2; i++) {
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        if (first_seen == 0)
            first_seen = hg_log_durable_sequence(h.log);
    }
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 2);
    CU_ASSERT(first_seen > 0);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 2);
    for (uint32_t i = 0; i < 100; i++) {
        harness_append(&h, 1 + i % 4, 3000);
        hg_log_close_write(h.log);
        harness_turn(&h);
        harness_release(&h, hg_log_durable_sequence(h.log)); /* the superblock moves on, too */
    }
    harness_settle(&h);
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT_EQUAL(stats.flushes, 2);
    CU_ASSERT(stats.flush_ns_last > 0 && hg_log_tail_sequence(h.log) > 1);
    harness_check_reads(&h);
    harness_destroy(&h);
}

/* One write, durable, and no time without one. */
static void commit_next(void)
{
    uint64_t sequence = harness_append(&h, 1, 10);
    hg_log_close_write(h.log);
    while (hg_log_durable_sequence(h.log) < sequence)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
}

/* While writes go on the ring is never far behind: it is what tells of a device that loses data writes. */
static void test_ring_follows(void)
{
    uint64_t durable_ns[21], checked = 0;
    harness_create(&h, 3, 8);
    const struct hg_log_write_header *ring =
        (const struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + HG_LOG_RING_OFFSET);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_settle(&h);
    for (uint32_t i = 1; i <= 20; i++) {
        commit_next();
        durable_ns[i] = h.now_ns;
        for (; checked < i && h.now_ns - durable_ns[checked + 1] >= RING_BEHIND_NS_MAX; checked++)
            CU_ASSERT_EQUAL(ring[checked + 1].sequence, checked + 1);
    }
    CU_ASSERT(checked > 10);
    harness_settle(&h);
    CU_ASSERT_EQUAL(ring[20].sequence, 20);
    harness_destroy(&h);
}

static void test_reuse(void)
{
    harness_create(&h, 4, 6);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (int i = 0; i < 3000; i++) { /* dozens of times around */
        uint32_t frames = 1 + (uint32_t)hg_random_below(&h.random, 8);
        while (harness_append(&h, frames, 3000) == 0) {
            harness_release(&h, hg_log_durable_sequence(h.log));
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        }
        if (hg_log_wants_close(h.log))
            hg_log_close_write(h.log);
        if (i % 3 == 0)
            harness_turn(&h);
        if (i % 500 == 499)
            harness_check_reads(&h);
        if (i % 700 == 699) {
            harness_settle(&h);
            harness_crash(&h, true);
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
            harness_check_recovered(&h);
        }
    }
    harness_settle(&h);
    harness_check_reads(&h);
    CU_ASSERT(hg_log_tail_sequence(h.log) > 1000);
    CU_ASSERT_EQUAL(h.trimmed, hg_log_tail_sequence(h.log));
    const uint8_t *payload;
    uint32_t bytes;
    CU_ASSERT_EQUAL(hg_log_at(h.log, hg_log_tail_sequence(h.log) - 1, &payload, &bytes), -ENOENT);
    harness_destroy(&h);
}

/* Appends until something must be released that is not; returns the bytes that are left in the log. */
static uint64_t keep_run(uint64_t keep)
{
    harness_create(&h, 14, 64);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    hg_log_keep(h.log, keep);
    for (int i = 0; i < 3000; i++) {
        CU_ASSERT_FATAL(harness_append(&h, 4, 3000) != 0); /* it pushes nobody back */
        harness_settle(&h);
        harness_release(&h, hg_log_durable_sequence(h.log));
        harness_settle(&h);
    }
    CU_ASSERT(hg_log_tail_sequence(h.log) > 1);
    uint64_t left = hg_log_bytes_from(h.log, hg_log_tail_sequence(h.log));
    harness_destroy(&h);
    return left;
}

/* What is kept goes last: not at a quarter free but when producers would be pushed back. */
static void test_keep(void)
{
    uint64_t usual = keep_run(UINT64_MAX), kept = keep_run(0);
    CU_ASSERT(usual <= 48u * SEGMENT_BYTES);
    CU_ASSERT(kept > 51u * SEGMENT_BYTES && kept <= 53u * SEGMENT_BYTES); /* 64 - 10 - 1 */
}

/* Where the log was so many bytes ago. */
static void test_sequence_behind(void)
{
    harness_create(&h, 15, 16);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (int i = 0; i < 60; i++) {
        CU_ASSERT_FATAL(harness_append(&h, 4, 3000) != 0);
        harness_settle(&h);
    }
    CU_ASSERT(hg_log_appended_bytes(h.log) > 4 * SEGMENT_BYTES);
    for (uint64_t bytes = 0; bytes < 4 * SEGMENT_BYTES; bytes += 4096) {
        uint64_t sequence = hg_log_sequence_behind(h.log, bytes);
        CU_ASSERT_FATAL(hg_log_bytes_from(h.log, sequence) >= bytes);
        CU_ASSERT_FATAL(hg_log_bytes_from(h.log, sequence) < bytes + 2 * SEGMENT_BYTES);
    }
    CU_ASSERT_EQUAL(hg_log_sequence_behind(h.log, UINT64_MAX), 1);
    CU_ASSERT_EQUAL(hg_log_bytes_from(h.log, hg_log_next_sequence(h.log)), 0);
    harness_destroy(&h);
}

static void test_pressure_segments(void)
{
    enum hg_log_pressure pressure = HG_LOG_PRESSURE_NONE;
    struct hg_local_record record = {.type = HG_LOCAL_CONSUMER, .name = "tail"};
    struct hg_log_stats stats;
    harness_create(&h, 5, 6);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (int idle = 0; idle < 3;) {
        if (harness_append(&h, 4, 2000) != 0) {
            idle = 0;
            continue;
        }
        hg_log_close_write(h.log);
        idle += !harness_turn(&h);
    }
    CU_ASSERT_PTR_NULL(hg_log_reserve(h.log, 64, &pressure));
    CU_ASSERT_EQUAL(pressure, HG_LOG_PRESSURE_SEGMENTS);
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT_EQUAL(stats.segments_free, stats.segments_kept);
    CU_ASSERT_EQUAL(stats.segment_count, 6);
    /* Local records still go in, so that a consumer can move on and release. */
    uint64_t sequence = hg_log_append_records(h.log, &record, 1);
    CU_ASSERT(sequence != 0);
    harness_settle(&h);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), sequence);
    CU_ASSERT_EQUAL(hg_log_tail_sequence(h.log), 1); /* nothing was dropped */
    harness_check_reads(&h);
    harness_release(&h, UINT64_MAX);
    harness_settle(&h);
    CU_ASSERT(hg_log_tail_sequence(h.log) > 1);
    CU_ASSERT(harness_append(&h, 4, 2000) != 0);
    harness_settle(&h);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    CU_ASSERT_EQUAL(h.records_other, 1);
    harness_destroy(&h);
}

static void test_pressure_arena(void)
{
    enum hg_log_pressure pressure = HG_LOG_PRESSURE_NONE;
    harness_create(&h, 6, 32);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    int appended = 0;
    while (harness_append(&h, 8, 3500) != 0) /* no turn: nothing gets written */
        appended++;
    CU_ASSERT(appended >= 4 && appended < 200);
    CU_ASSERT_PTR_NULL(hg_log_reserve(h.log, 64, &pressure));
    CU_ASSERT_EQUAL(pressure, HG_LOG_PRESSURE_ARENA);
    harness_settle(&h);
    CU_ASSERT(harness_append(&h, 8, 3500) != 0);
    harness_settle(&h);
    harness_check_reads(&h);
    harness_destroy(&h);
}

/* Streams whose batches are all recycled come back by the table at a segment's start. */
static void test_checkpoint(void)
{
    harness_create(&h, 7, 8);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    while (h.lsn[2] == 1)
        CU_ASSERT_FATAL(harness_append(&h, 4, 100) != 0);
    h.streams_active = 2; /* the third rests from here on */
    for (int i = 0; i < 400; i++)
        while (harness_append(&h, 4, 3000) == 0) {
            harness_release(&h, hg_log_durable_sequence(h.log));
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        }
    harness_settle(&h);
    uint64_t expected = h.lsn[2];
    CU_ASSERT(hg_log_tail_sequence(h.log) > 10);
    for (size_t i = h.first; i < h.count; i++)
        CU_ASSERT_FATAL(h.batches[i].stream != 3); /* all of them are recycled */
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(h.checkpoint_lsn[2], expected);
    CU_ASSERT(h.checkpoints >= STREAMS);
    harness_destroy(&h);
}

/* The tail never names a write that is not durable, not even when everything was released and one is open. */
static void test_tail_is_durable(void)
{
    harness_create(&h, 11, HG_LOG_SEGMENTS_MIN); /* so few that the tail follows the head */
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (int i = 0; i < 200; i++) {
        CU_ASSERT_FATAL(harness_append(&h, 4, 3000) != 0);
        harness_release(&h, UINT64_MAX);
        while (harness_turn(&h)) /* the write stays open */
            ;
        CU_ASSERT_FATAL(hg_log_tail_sequence(h.log) <= hg_max_u64(1, hg_log_durable_sequence(h.log)));
        harness_settle(&h);
    }
    CU_ASSERT(hg_log_tail_sequence(h.log) > 10);
    harness_destroy(&h);
}

static void test_hlc_ceiling(void)
{
    harness_create(&h, 8, 8);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    hg_log_hlc_ceiling_set(h.log, 1000);
    hg_log_hlc_ceiling_set(h.log, 500);
    CU_ASSERT_EQUAL(hg_log_hlc_ceiling(h.log), 1000);
    append_until(1);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(hg_log_hlc_ceiling(h.log), 1000);
    harness_destroy(&h);
}

static void test_pinned_while_read(void)
{
    const uint8_t *payload;
    uint32_t bytes;
    uint8_t copy[PAYLOAD_BYTES_MAX];
    harness_create(&h, 9, 16);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    append_until(12);
    uint64_t oldest = hg_log_durable_sequence(h.log);
    while (oldest > 1 && hg_log_at(h.log, oldest - 1, &payload, &bytes) == 1)
        oldest--;
    harness_settle(&h);
    CU_ASSERT_EQUAL_FATAL(hg_log_at(h.log, oldest, &payload, &bytes), 1);
    memcpy(copy, payload, bytes);
    while (harness_append(&h, 8, 3500) != 0) /* fills the arena within the turn */
        ;
    CU_ASSERT_EQUAL(memcmp(copy, payload, bytes), 0);
    harness_settle(&h);
    harness_check_reads(&h);
    harness_destroy(&h);
}

/* A log with much more memory than what is under way needs. Its size. */
static uint64_t create_roomy(void)
{
    for (uint64_t seed = 20;; seed++) {
        harness_create(&h, seed, 32);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        uint64_t bytes = h.arena_bytes - hg_log_arena_bytes_min(PAYLOAD_BYTES_MAX);
        if (bytes >= (512u << 10))
            return bytes;
        harness_destroy(&h);
    }
}

/* One write of 8 KiB, durable and released; who reads is so many writes behind. */
static const uint8_t *append_and_read_behind(uint64_t behind)
{
    const uint8_t *payload = NULL;
    uint32_t bytes;
    CU_ASSERT_FATAL(harness_append(&h, 1, 3000) != 0);
    harness_settle(&h);
    uint64_t newest = hg_log_durable_sequence(h.log);
    harness_release(&h, newest);
    if (newest <= behind)
        return NULL;
    while (hg_log_at(h.log, newest - behind, &payload, &bytes) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    return payload;
}

/* Nobody needs what was written long ago: its memory is used again before all of the arena is gone round, and
 * all the same who reads somewhat behind finds it there. */
static void test_arena_is_hot(void)
{
    static const uint64_t behind[] = {0, 10};
    for (size_t i = 0; i < HG_COUNT(behind); i++) {
        uint64_t roomy_bytes = create_roomy();
        const uint8_t *first = NULL, *last = NULL;
        struct hg_log_stats before, after;
        for (int round = 0; round < 500; round++) {
            if (round == 100)
                hg_log_stats_get(h.log, &before);
            const uint8_t *at = append_and_read_behind(behind[i]);
            if (at == NULL)
                continue;
            first = first == NULL || at < first ? at : first;
            last = at > last ? at : last;
        }
        hg_log_stats_get(h.log, &after);
        CU_ASSERT(behind[i] != 0 || last - first < (ptrdiff_t)(roomy_bytes / 2));
        CU_ASSERT_EQUAL(after.reads, before.reads); /* from memory */
        harness_destroy(&h);
    }
}

/* What fits where a write was opened is not all that its next user wants. */
static void test_arena_reserved_for_less(void)
{
    create_roomy();
    for (int round = 0; round < 600; round++) {
        (void)hg_log_reserve(h.log, 64, NULL); /* not committed */
        while (harness_append(&h, round % 7 == 0 ? 8 : 1, round % 7 == 0 ? 3500 : 300) == 0)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        if (round % 3 == 0)
            hg_log_close_write(h.log);
        if (round % 50 == 0)
            harness_settle(&h);
        harness_release(&h, hg_log_durable_sequence(h.log));
    }
    harness_settle(&h);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log) + 1, hg_log_next_sequence(h.log));
    harness_check_reads(&h);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    harness_destroy(&h);
}

static void test_refusals(void)
{
    struct hg_log_geometry geometry;
    harness_create(&h, 10, 8);
    CU_ASSERT_EQUAL(hg_log_format(h.disk, &h.geometry), -EEXIST);
    geometry = h.geometry;
    geometry.segment_count = 3;
    CU_ASSERT_EQUAL(hg_log_format(h.disk, &geometry), -EINVAL);
    geometry.segment_count = 9;
    CU_ASSERT_EQUAL(hg_log_format(h.disk, &geometry), -EINVAL); /* larger than the disk */
    geometry = h.geometry;
    geometry.segment_bytes = PAYLOAD_BYTES_MAX;
    CU_ASSERT_EQUAL(hg_log_format(h.disk, &geometry), -EINVAL);
    struct hg_log_config config = {
        .disk = h.disk, .arena = h.arena, .arena_bytes = 4096, .cluster = 7, .ops = &harness_ops, .ctx = &h};
    CU_ASSERT_PTR_NULL(hg_log_open(&config));
    config.arena_bytes = h.arena_bytes;
    config.cluster = 8;
    struct hg_log *log = hg_log_open(&config);
    uint64_t deadline_ns;
    hg_disk_sim_time_set(h.disk, 0);
    for (int i = 0; i < 100 && hg_log_state(log) == HG_LOG_RECOVERING; i++) {
        hg_disk_sim_time_set(h.disk, (uint64_t)i * HG_NS_PER_MS);
        hg_log_turn(log, (uint64_t)i * HG_NS_PER_MS, &deadline_ns);
    }
    CU_ASSERT_EQUAL(hg_log_state(log), HG_LOG_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(log), "cluster"));
    hg_log_close(log);
    harness_destroy(&h);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log", NULL, NULL);
    CU_add_test(suite, "append and read", test_append_and_read);
    CU_add_test(suite, "group commit", test_group_commit);
    CU_add_test(suite, "an acknowledgement needs a flush", test_ack_needs_flush);
    CU_add_test(suite, "an acknowledgement without one", test_ack_without_flush);
    CU_add_test(suite, "headers follow into the ring while writes go on", test_ring_follows);
    CU_add_test(suite, "reuse", test_reuse);
    CU_add_test(suite, "kept while there is room", test_keep);
    CU_add_test(suite, "so many bytes ago", test_sequence_behind);
    CU_add_test(suite, "pressure: segments", test_pressure_segments);
    CU_add_test(suite, "pressure: arena", test_pressure_arena);
    CU_add_test(suite, "checkpoint", test_checkpoint);
    CU_add_test(suite, "the tail is durable", test_tail_is_durable);
    CU_add_test(suite, "hlc ceiling", test_hlc_ceiling);
    CU_add_test(suite, "pinned while read", test_pinned_while_read);
    CU_add_test(suite, "memory that was just used is used again", test_arena_is_hot);
    CU_add_test(suite, "an open write has too little room", test_arena_reserved_for_less);
    CU_add_test(suite, "refusals", test_refusals);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
