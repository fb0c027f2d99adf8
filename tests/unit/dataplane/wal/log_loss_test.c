/* SPDX-License-Identifier: Apache-2.0
 *
 * A durable write is corrupt, and an operator accepts its loss: the log opens without it and with all else,
 * says so for ever, and a crash at any step of accepting leaves one that refuses as before or one that opens.
 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_loss.h"
#include "log_harness.h"

static struct harness h;
static struct hg_log_finding found[8];
static uint32_t found_count, anew_count;

static void finding_take(void *ctx, const struct hg_log_finding *finding)
{
    (void)ctx;
    anew_count += finding->kind == HG_LOG_FINDING_BEGINS_ANEW;
    if (finding->kind == HG_LOG_FINDING_CORRUPT || finding->kind == HG_LOG_FINDING_LOST ||
        finding->kind == HG_LOG_FINDING_LOSS)
        found[found_count++ % HG_COUNT(found)] = *finding;
}

static struct hg_log_audit_result audit(void)
{
    static const struct hg_log_audit_ops ops = {.read = harness_device_read, .finding = finding_take};
    struct hg_log_audit_config config = {
        .ops = &ops, .ctx = &h, .size_bytes = h.disk->size_bytes, .has_frames = true};
    struct hg_log_audit_result result;
    found_count = anew_count = 0;
    hg_log_audit(&config, &result);
    return result;
}

static int accept(const struct hg_log_hole *hole, uint64_t sectors)
{
    h.sectors_left = sectors;
    return hg_log_loss_accept(&harness_device_ops, &h, hole);
}

/* A log with `writes` durable writes, all in the ring, closed. */
static void prepare(uint64_t seed, uint32_t writes)
{
    harness_create(&h, seed, 24);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (uint32_t i = 0; i < writes; i++) {
        CU_ASSERT_FATAL(harness_append(&h, 4, 1500) != 0);
        harness_settle(&h);
    }
    harness_crash(&h, true);
}

static uint64_t offset_of(uint64_t sequence)
{
    return harness_offset_in(&h, hg_disk_sim_bytes(h.disk), sequence);
}

static void damage(uint64_t offset)
{
    hg_disk_sim_bytes(h.disk)[offset] ^= 1;
    hg_disk_sim_settle(h.disk);
}

static void refuses(void)
{
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_FAILED);
    CU_ASSERT_TRUE(hg_log_is_corrupt(h.log));
    harness_crash(&h, false);
    h.durable_promised = 0;
}

/* The model forgets what is lost. */
static void model_lose(uint64_t first, uint64_t last)
{
    size_t kept = 0;
    for (size_t i = 0; i < h.count; i++) {
        if (h.batches[i].sequence >= first && h.batches[i].sequence <= last)
            free(h.batches[i].bytes);
        else
            h.batches[kept++] = h.batches[i];
    }
    h.count = kept;
}

/* All else is there, and more can be written; now and after another start. */
static void opens(uint64_t losses, uint64_t writes)
{
    struct hg_log_stats stats;
    for (int start = 0; start < 3; start++) {
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        CU_ASSERT_FALSE(h.recovered_wrong);
        CU_ASSERT_EQUAL(h.recovered, h.count);
        hg_log_stats_get(h.log, &stats);
        CU_ASSERT_EQUAL(stats.losses, losses);
        CU_ASSERT_EQUAL(stats.lost_writes, writes);
        harness_check_reads(&h);
        CU_ASSERT_FATAL(harness_append(&h, 4, 1500) != 0);
        harness_settle(&h);
        harness_check_reads(&h);
        harness_crash(&h, start == 1);
    }
    struct hg_log_audit_result result = audit();
    CU_ASSERT_EQUAL(result.outcome, HG_LOG_OUTCOME_OPENS);
    CU_ASSERT_EQUAL(result.findings[HG_LOG_SEVERITY_DAMAGED], 0);
    CU_ASSERT_EQUAL(result.superblock.holes.losses, losses);
    CU_ASSERT_EQUAL(found_count, losses);
    CU_ASSERT_EQUAL(found[0].kind, HG_LOG_FINDING_LOSS);
}

static struct hg_log_hole hole_find(uint64_t sequence, uint64_t last)
{
    struct hg_log_hole hole;
    struct hg_log_audit_result result = audit();
    CU_ASSERT_EQUAL_FATAL(result.outcome, HG_LOG_OUTCOME_CORRUPT);
    CU_ASSERT_EQUAL_FATAL(found_count, 1);
    CU_ASSERT_EQUAL_FATAL(found[0].sequence, sequence);
    CU_ASSERT_EQUAL_FATAL(found[0].sequence_last, last);
    CU_ASSERT_PTR_NULL_FATAL(hg_log_loss_of(&found[0], &hole));
    return hole;
}

/* A payload in the middle, and one whose length nothing tells any more. */
static void test_middle(void)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        prepare(seed, 14);
        uint64_t at = offset_of(7);
        damage(at + HG_LOG_BLOCK_BYTES + 100);
        if (seed % 2 == 0) {
            damage(at + 33);
            harness_ring_erase(&h, 7);
            hg_disk_sim_settle(h.disk);
        }
        refuses();
        struct hg_log_hole hole = hole_find(7, 7);
        CU_ASSERT_EQUAL(accept(&hole, UINT64_MAX), 0);
        model_lose(7, 7);
        opens(1, 1);
        CU_ASSERT(anew_count > 0);
        CU_ASSERT_EQUAL(accept(&hole, UINT64_MAX), 1);
        harness_destroy(&h);
    }
}

/* Nothing whole comes behind it, and its length is not known: the log goes on in the next segment. */
static void test_end(void)
{
    prepare(11, 5);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY); /* its superblock knows of write 5 */
    harness_crash(&h, false);
    uint64_t at = offset_of(4), end = offset_of(5);
    memset(hg_disk_sim_bytes(h.disk) + at, 0, HG_LOG_BLOCK_BYTES);
    memset(hg_disk_sim_bytes(h.disk) + end, 0, HG_LOG_BLOCK_BYTES);
    harness_ring_erase(&h, 4);
    harness_ring_erase(&h, 5);
    hg_disk_sim_settle(h.disk);
    refuses();
    struct hg_log_hole hole = hole_find(4, 5);
    CU_ASSERT_EQUAL(hole.next_segment, 1);
    CU_ASSERT_EQUAL(hole.next_offset, 0);
    CU_ASSERT_EQUAL(accept(&hole, UINT64_MAX), 0);
    model_lose(4, 5);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_TRUE(hg_log_tail_is_torn(h.log)); /* what was in there may have been acknowledged */
    harness_crash(&h, false);
    opens(1, 2);
    harness_destroy(&h);
}

/* The table of streams at a segment's start is lost: the log never begins with that segment. */
static void test_start_of_segment(void)
{
    prepare(21, 60);
    uint64_t first = 2;
    while (offset_of(first) < HG_LOG_SEGMENTS_OFFSET + SEGMENT_BYTES)
        first++;
    damage(offset_of(first) + HG_LOG_BLOCK_BYTES);
    refuses();
    struct hg_log_hole hole = hole_find(first, first);
    CU_ASSERT_EQUAL(accept(&hole, UINT64_MAX), 0);
    model_lose(first, first);
    opens(1, 1);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    bool has_passed = false;
    for (uint32_t i = 0; i < 400; i++) {
        harness_release(&h, hg_min_u64(hg_log_durable_sequence(h.log), first + 1 + i / 4));
        (void)harness_append(&h, 4, 1500);
        harness_settle(&h);
        CU_ASSERT_FATAL(hg_log_tail_sequence(h.log) == 1 || hg_log_tail_sequence(h.log) > first);
        has_passed |= hg_log_tail_sequence(h.log) > first;
    }
    CU_ASSERT_TRUE(has_passed);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_FALSE(h.recovered_wrong);
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT_EQUAL(stats.losses, 1); /* told for ever */
    harness_destroy(&h);
}

/* The lights go out after any number of sectors of accepting. */
static void test_crash(void)
{
    prepare(31, 9);
    damage(offset_of(5) + HG_LOG_BLOCK_BYTES + 1);
    struct hg_log_hole hole = hole_find(5, 5);
    uint8_t superblocks[HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES];
    uint64_t sectors = 6 * HG_LOG_BLOCK_BYTES / HG_DISK_SIM_SECTOR_BYTES; /* the pair in force twice */
    uint32_t refused = 0, opened = 0;
    memcpy(superblocks, hg_disk_sim_bytes(h.disk), sizeof(superblocks));
    for (uint64_t cut = 0; cut < sectors; cut++) {
        memcpy(hg_disk_sim_bytes(h.disk), superblocks, sizeof(superblocks));
        hg_disk_sim_settle(h.disk);
        CU_ASSERT_EQUAL(accept(&hole, cut), -EIO);
        hg_disk_sim_settle(h.disk);
        struct hg_log_audit_result result = audit();
        CU_ASSERT(result.outcome == HG_LOG_OUTCOME_OPENS || result.outcome == HG_LOG_OUTCOME_CORRUPT);
        refused += result.outcome == HG_LOG_OUTCOME_CORRUPT;
        opened += result.outcome == HG_LOG_OUTCOME_OPENS;
        CU_ASSERT(accept(&hole, UINT64_MAX) >= 0);
        CU_ASSERT_EQUAL(audit().outcome, HG_LOG_OUTCOME_OPENS);
        CU_ASSERT_EQUAL(accept(&hole, UINT64_MAX), 1);
    }
    CU_ASSERT(refused > 0 && opened > 0);
    model_lose(5, 5);
    opens(1, 1);
    harness_destroy(&h);
}

/* A failed flush let go of the pair in force, and the lights go out after any number of sectors: what the
 * other pair has was answered. */
static void test_let_go(void)
{
    struct harness_cache cache;
    uint64_t bytes = HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES;
    uint64_t sectors = 0;
    bool is_done = false;
    prepare(61, 1);
    for (; !is_done; sectors++) {
        struct hg_log_superblock next;
        harness_cache_make(&cache, hg_disk_sim_bytes(h.disk), bytes);
        struct hg_log_superblock *medium = (struct hg_log_superblock *)cache.medium;
        int chosen = hg_log_superblock_choose(medium);
        CU_ASSERT_FATAL(chosen >= 0);
        uint32_t pair = chosen < 2 ? 0 : 1;
        next = medium[chosen];
        uint64_t generation = ++next.generation;
        next.epoch_promised[3] = 5;
        hg_log_superblock_pair_fill(medium, 1 - pair, &next);
        memcpy(cache.view, cache.medium, bytes);
        next.generation++;
        hg_log_superblock_pair_fill((struct hg_log_superblock *)cache.view, pair, &next);
        cache.sectors_left = sectors;
        is_done = hg_log_torn_keep(&harness_cache_ops, &cache, 7) == 0;
        chosen = hg_log_superblock_choose(medium);
        CU_ASSERT_FATAL(chosen >= 0);
        CU_ASSERT(medium[chosen].generation >= generation);
        CU_ASSERT_EQUAL(medium[chosen].epoch_promised[3], 5);
        CU_ASSERT(!is_done || medium[chosen].tail_torn_sequence == 7);
        harness_cache_free(&cache);
    }
    CU_ASSERT(sectors > 3 * 2 * HG_LOG_BLOCK_BYTES / HG_DISK_SIM_SECTOR_BYTES);
    harness_destroy(&h);
}

/* What is whole, of another history, or not there to begin with can't be accepted as lost. */
static void test_refused(void)
{
    struct hg_log_hole hole, other;
    prepare(41, 9);
    struct hg_log_audit_result result = audit();
    CU_ASSERT_EQUAL(result.outcome, HG_LOG_OUTCOME_OPENS);
    CU_ASSERT_EQUAL(found_count, 0);
    static const enum hg_log_finding_kind kinds[] = {HG_LOG_FINDING_FORK, HG_LOG_FINDING_UNREADABLE,
                                                     HG_LOG_FINDING_HEADER, HG_LOG_FINDING_CHAIN};
    for (size_t i = 0; i < HG_COUNT(kinds); i++) {
        struct hg_log_finding finding = {
            .kind = kinds[i], .sequence = 3, .sequence_last = 3, .has_next = true};
        CU_ASSERT_PTR_NOT_NULL(hg_log_loss_of(&finding, &hole));
    }
    struct hg_log_finding full = {.kind = HG_LOG_FINDING_CORRUPT, .sequence = 3, .sequence_last = 3};
    CU_ASSERT_PTR_NOT_NULL(hg_log_loss_of(&full, &hole));
    damage(offset_of(5) + HG_LOG_BLOCK_BYTES + 1);
    hole = hole_find(5, 5);
    other = hole;
    other.sequence_first--;
    CU_ASSERT_EQUAL(accept(&hole, UINT64_MAX), 0);
    uint32_t before = hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    CU_ASSERT_EQUAL(accept(&other, UINT64_MAX), -EINVAL);
    other = hole;
    other.next_segment = other.segment;
    other.next_offset = other.offset;
    other.sequence_first = other.sequence_last = 8;
    CU_ASSERT_EQUAL(accept(&other, UINT64_MAX), -EINVAL);
    CU_ASSERT_EQUAL(before, hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes));
    harness_destroy(&h);
}

/* The table is bounded: those that lie before the tail make room, none that still counts does. */
static void test_table(void)
{
    struct hg_log_superblock superblock = {.segment_bytes = SEGMENT_BYTES, .tail_sequence = 1};
    for (uint32_t i = 0; i <= HG_LOG_HOLES_MAX; i++) {
        struct hg_log_hole hole = {.kind = HG_LOG_HOLE_LOST,
                                   .sequence_first = 10 + 3 * i,
                                   .sequence_last = 11 + 3 * i,
                                   .segment = i,
                                   .next_segment = i + 1};
        CU_ASSERT_EQUAL(hg_log_hole_add(&superblock, &hole), i < HG_LOG_HOLES_MAX ? 0 : -ENOSPC);
        superblock.tail_sequence = i < HG_LOG_HOLES_MAX ? 1 : 12;
        CU_ASSERT_EQUAL(hg_log_hole_add(&superblock, &hole), i < HG_LOG_HOLES_MAX ? -EEXIST : 0);
        CU_ASSERT_TRUE(hg_log_holes_are_valid(&superblock));
        CU_ASSERT_PTR_NOT_NULL(hg_log_hole_of(&superblock.holes, 11 + 3 * i));
        CU_ASSERT_PTR_NULL(hg_log_hole_of(&superblock.holes, 12 + 3 * i));
        CU_ASSERT_TRUE(hg_log_hole_has_start(&superblock.holes, i));
        CU_ASSERT_FALSE(hg_log_hole_has_start(&superblock.holes, i + 1));
    }
    CU_ASSERT_EQUAL(superblock.holes.losses, HG_LOG_HOLES_MAX + 1);
    CU_ASSERT_EQUAL(superblock.holes.lost_writes, 2 * (HG_LOG_HOLES_MAX + 1));
    CU_ASSERT_PTR_NULL(hg_log_hole_of(&superblock.holes, 10));
    superblock.holes.holes[3].sequence_last = UINT64_MAX / 8; /* more than there is room for */
    CU_ASSERT_FALSE(hg_log_holes_are_valid(&superblock));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_loss", NULL, NULL);
    CU_add_test(suite, "in the middle", test_middle);
    CU_add_test(suite, "at the end", test_end);
    CU_add_test(suite, "start of a segment", test_start_of_segment);
    CU_add_test(suite, "crash at every step", test_crash);
    CU_add_test(suite, "a pair that a flush let go of", test_let_go);
    CU_add_test(suite, "refused", test_refused);
    CU_add_test(suite, "the table", test_table);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
