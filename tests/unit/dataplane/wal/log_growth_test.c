/* SPDX-License-Identifier: Apache-2.0
 *
 * A log that gets longer while it is in use: where segments lie before and after, at every position of the
 * ring, and power loss after every sector of every write of it.
 */
#include "dataplane/wal/log_audit.h"
#include "dataplane/wal/log_growth.h"
#include "log_harness.h"
#include "tests/unit/sanitized.h"

#define SEGMENTS 8u
#define MORE     5u

static struct harness h;

static uint64_t place_number(const struct hg_log_geometry *geometry, uint64_t segment)
{
    uint64_t at = hg_log_segment_place(geometry, segment);
    CU_ASSERT_EQUAL((at - HG_LOG_SEGMENTS_OFFSET) % geometry->segment_bytes, 0);
    return (at - HG_LOG_SEGMENTS_OFFSET) / geometry->segment_bytes;
}

/* Any segment_count in a row lie in places of their own, all of the file. */
static void places_check(const struct hg_log_geometry *geometry, uint64_t first)
{
    bool taken[256] = {false};
    hg_assert(geometry->segment_count <= HG_COUNT(taken));
    for (uint64_t i = 0; i < geometry->segment_count; i++) {
        uint64_t place = place_number(geometry, first + i);
        CU_ASSERT_FATAL(place < geometry->segment_count && !taken[place]);
        taken[place] = true;
    }
}

static void test_never_grown(void)
{
    struct hg_log_geometry geometry = {.segment_bytes = SEGMENT_BYTES, .segment_count = SEGMENTS};
    for (uint64_t segment = 0; segment < 3ull * SEGMENTS; segment++)
        CU_ASSERT_EQUAL(place_number(&geometry, segment), segment % SEGMENTS);
}

/* As often as it may, at random positions of the ring: what is in use never changes its place, the new places
 * are the next to be used, and the table is one that is believed when it is read back. */
static void test_places(void)
{
    struct hg_random random;
    hg_random_init(&random, 5);
    for (uint32_t round = 0; round < 200; round++) {
        struct hg_log_geometry geometry = {.segment_bytes = SEGMENT_BYTES, .segment_count = SEGMENTS};
        uint64_t head = hg_random_below(&random, round % 2 == 0 ? 40 : UINT64_C(1) << 60);
        while (geometry.growth.count < HG_LOG_GROWTHS_MAX) {
            struct hg_log_geometry before = geometry;
            uint32_t more = 1 + (uint32_t)hg_random_below(&random, MORE);
            head += hg_random_below(&random, 60);
            uint64_t first = head + 1 - hg_min_u64(head + 1, before.segment_count);
            hg_log_growth_add(&geometry, head, more);
            CU_ASSERT_EQUAL(geometry.segment_count, before.segment_count + more);
            CU_ASSERT_PTR_NULL(hg_log_growth_problem(&geometry.growth, geometry.segment_count));
            for (uint64_t segment = first; segment <= head; segment++)
                CU_ASSERT_EQUAL(place_number(&geometry, segment), place_number(&before, segment));
            for (uint32_t i = 0; i < more; i++)
                CU_ASSERT_EQUAL(place_number(&geometry, head + 1 + i), before.segment_count + i);
            places_check(&geometry, first);
            places_check(&geometry, head + hg_random_below(&random, 100));
        }
    }
}

static void test_tables_refused(void)
{
    struct hg_log_geometry geometry = {.segment_bytes = SEGMENT_BYTES, .segment_count = SEGMENTS};
    hg_log_growth_add(&geometry, 3, MORE);
    const struct hg_log_growth_table right = geometry.growth;
    struct hg_log_growth_table table = right;
    CU_ASSERT_PTR_NULL(hg_log_growth_problem(&table, SEGMENTS + MORE));
    CU_ASSERT_PTR_NOT_NULL(hg_log_growth_problem(&table, HG_LOG_SEGMENTS_MIN + MORE - 1));
    table.shift = SEGMENTS + MORE;
    CU_ASSERT_PTR_NOT_NULL(hg_log_growth_problem(&table, SEGMENTS + MORE));
    table = right;
    table.steps[0].at = SEGMENTS + 1;
    CU_ASSERT_PTR_NOT_NULL(hg_log_growth_problem(&table, SEGMENTS + MORE));
    table.steps[0].at = 0;
    CU_ASSERT_PTR_NOT_NULL(hg_log_growth_problem(&table, SEGMENTS + MORE));
    table = right;
    table.steps[0].segments = SEGMENTS + MORE;
    CU_ASSERT_PTR_NOT_NULL(hg_log_growth_problem(&table, SEGMENTS + MORE));
    table.steps[0].segments = 0;
    CU_ASSERT_PTR_NOT_NULL(hg_log_growth_problem(&table, SEGMENTS + MORE));
    table = right;
    table.count = HG_LOG_GROWTHS_MAX + 1;
    CU_ASSERT_PTR_NOT_NULL(hg_log_growth_problem(&table, SEGMENTS + MORE));
    table = (struct hg_log_growth_table){.shift = 1};
    CU_ASSERT_PTR_NOT_NULL(hg_log_growth_problem(&table, SEGMENTS));
}

static void test_refusals(void)
{
    struct hg_log_geometry geometry = {.segment_bytes = SEGMENT_BYTES, .segment_count = SEGMENTS};
    uint64_t bytes = hg_log_file_bytes(&geometry);
    uint32_t count;
    char why[256];
    CU_ASSERT_PTR_NOT_NULL(hg_log_grow_problem(&geometry, 0, &count, why, sizeof(why)));
    CU_ASSERT_PTR_NOT_NULL(
        hg_log_grow_problem(&geometry, bytes + SEGMENT_BYTES - 1, &count, why, sizeof(why)));
    CU_ASSERT_PTR_NULL(hg_log_grow_problem(&geometry, bytes + SEGMENT_BYTES, &count, why, sizeof(why)));
    CU_ASSERT_EQUAL(count, SEGMENTS + 1);
    uint64_t most = HG_LOG_SEGMENTS_OFFSET + (uint64_t)SEGMENT_BYTES * HG_LOG_SEGMENTS_MAX;
    CU_ASSERT_PTR_NULL(hg_log_grow_problem(&geometry, most, &count, why, sizeof(why)));
    CU_ASSERT_PTR_NOT_NULL(hg_log_grow_problem(&geometry, most + SEGMENT_BYTES, &count, why, sizeof(why)));
    CU_ASSERT_PTR_NOT_NULL(hg_log_grow_problem(&geometry, UINT64_MAX, &count, why, sizeof(why)));
    while (geometry.growth.count < HG_LOG_GROWTHS_MAX)
        hg_log_growth_add(&geometry, 3, 1);
    bytes = hg_log_file_bytes(&geometry);
    CU_ASSERT_PTR_NOT_NULL(hg_log_grow_problem(&geometry, bytes + SEGMENT_BYTES, &count, why, sizeof(why)));
}

/* ---- a log in use ---- */

/* Appends until so many segments are behind; `keeps`: how many of the newest nobody releases. */
static void write_on(uint64_t segments, uint64_t keeps)
{
    uint64_t sequence = hg_log_next_sequence(h.log);
    uint64_t more = segments * 4;
    for (uint64_t i = 0; i < more; i++) {
        if (harness_append(&h, 12, 2500) == 0)
            return;
        harness_settle(&h);
        sequence = hg_log_next_sequence(h.log);
        if (sequence > keeps * 4)
            harness_release(&h, sequence - keeps * 4);
    }
}

static uint32_t segment_count(void)
{
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    return stats.segment_count;
}

/* The file is longer, the log is not yet. */
static struct hg_log_growth *extend(uint32_t more)
{
    struct hg_log_geometry longer;
    hg_log_geometry_get(h.log, &longer);
    struct hg_log_growth *growth = hg_log_growth_create(&longer, longer.segment_count + more);
    longer.segment_count += more;
    if (hg_log_file_bytes(&longer) > h.disk->size_bytes)
        hg_disk_sim_extend(h.disk, hg_log_file_bytes(&longer));
    return growth;
}

static void grow(uint32_t more)
{
    uint32_t before = segment_count();
    harness_settle(&h);
    struct hg_log_growth *growth = extend(more);
    hg_log_grow(h.log, growth);
    while (hg_log_is_growing(h.log))
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    hg_log_growth_free(growth);
    CU_ASSERT_EQUAL_FATAL(segment_count(), before + more);
}

struct audited {
    uint64_t findings;
};

static int audit_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    (void)ctx;
    memcpy(data, hg_disk_sim_bytes(h.disk) + offset, bytes);
    return 0;
}

static void audit_finding(void *ctx, const struct hg_log_finding *finding)
{
    struct audited *audited = ctx;
    audited->findings += hg_log_finding_severity(finding->kind) != HG_LOG_SEVERITY_WORN;
}

/* helio-log verify finds all of it, and nothing wrong. */
static void audit_check(void)
{
    static const struct hg_log_audit_ops ops = {.read = audit_read, .finding = audit_finding};
    struct audited audited = {0};
    struct hg_log_audit_config config = {
        .ops = &ops, .ctx = &audited, .size_bytes = h.disk->size_bytes, .has_frames = true};
    struct hg_log_audit_result result;
    hg_log_audit(&config, &result);
    CU_ASSERT_EQUAL_FATAL(audited.findings, 0);
    CU_ASSERT_EQUAL_FATAL(result.sequence_next - 1, hg_log_durable_sequence(h.log));
}

static void come_back(bool power)
{
    harness_crash(&h, power);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    harness_check_reads(&h);
}

/* At every position of the ring, with as much in use as there is room for; then around the longer ring twice.
 */
static void test_grows_anywhere(void)
{
    for (uint64_t position = 0; position < 2ull * SEGMENTS; position++) {
        harness_create(&h, position + 1, SEGMENTS);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        write_on(position, 4);
        write_on(SEGMENTS, UINT64_MAX / 8); /* until it is full */
        CU_ASSERT_TRUE(hg_log_is_scarce(h.log));
        CU_ASSERT_EQUAL(harness_append(&h, 12, 2500), 0);
        grow(MORE);
        CU_ASSERT_FALSE(hg_log_is_scarce(h.log));
        CU_ASSERT_NOT_EQUAL(harness_append(&h, 12, 2500), 0);
        harness_settle(&h);
        harness_check_reads(&h);
        audit_check();
        come_back(position % 2 == 0);
        CU_ASSERT_EQUAL(segment_count(), SEGMENTS + MORE);
        write_on(2ull * (SEGMENTS + MORE), 6);
        grow(1);
        write_on(SEGMENTS + MORE, 6);
        harness_check_reads(&h);
        audit_check();
        come_back(true);
        CU_ASSERT_EQUAL(segment_count(), SEGMENTS + MORE + 1);
        harness_destroy(&h);
        if (CU_get_number_of_failures() != 0)
            return;
    }
}

/* The lights go out, or the process dies, after every step of growing under load; then the same again at the
 * size that came of it. */
static void test_crash_at_every_step(void)
{
    uint64_t old_size = 0, new_size = 0, held = 0;
    for (uint32_t round = 0; round < HG_TEST_SEEDS(160); round++) {
        uint32_t stop = round % 32;
        harness_create(&h, 1000 + round, SEGMENTS);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        write_on(3 + round % (2 * SEGMENTS), 4);
        harness_settle(&h);
        struct hg_log_growth *growth = extend(MORE);
        hg_log_grow(h.log, growth);
        for (uint32_t step = 0; step < stop; step++) {
            held += harness_append(&h, 12, 2500) == 0;
            hg_log_close_write(h.log);
            harness_release(&h, hg_log_durable_sequence(h.log));
            harness_turn(&h);
        }
        come_back(round % 3 != 0);
        hg_log_growth_free(growth);
        CU_ASSERT_FATAL(segment_count() == SEGMENTS || segment_count() == SEGMENTS + MORE);
        old_size += segment_count() == SEGMENTS;
        new_size += segment_count() != SEGMENTS;
        audit_check();
        write_on(SEGMENTS, 4);
        grow(MORE);
        write_on(2 * SEGMENTS, 4);
        come_back(true);
        audit_check();
        harness_destroy(&h);
        if (CU_get_number_of_failures() != 0)
            return;
    }
    CU_ASSERT(old_size > 5);
    CU_ASSERT(new_size > 5);
    printf("%llu times the old size, %llu the new one, %llu appends held ", (unsigned long long)old_size,
           (unsigned long long)new_size, (unsigned long long)held);
}

/* Of the copies of the superblock that say so, the first `sectors` sectors are on the device: byte for byte,
 * in the order of writing. */
static void test_crash_after_every_sector(void)
{
    uint32_t bytes = HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES;
    uint32_t sectors = bytes / HG_DISK_SIM_SECTOR_BYTES;
    uint8_t *before = malloc(bytes), *after = malloc(bytes);
    uint64_t sizes[2] = {0, 0};
    for (uint32_t done = 0; done <= sectors; done++) {
        harness_create(&h, 3, SEGMENTS);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        write_on(SEGMENTS + 3, 4);
        harness_settle(&h);
        memcpy(before, hg_disk_sim_bytes(h.disk), bytes);
        grow(MORE);
        memcpy(after, hg_disk_sim_bytes(h.disk), bytes);
        harness_crash(&h, false);
        /* The pair that was not in force goes first. */
        const struct hg_log_superblock *copies = (const struct hg_log_superblock *)after;
        uint32_t first = copies[0].generation < copies[2].generation ? 0 : bytes / 2;
        memcpy(hg_disk_sim_bytes(h.disk), before, bytes);
        for (uint32_t i = 0; i < done; i++) {
            uint32_t at = (first + i * HG_DISK_SIM_SECTOR_BYTES) % bytes;
            memcpy(hg_disk_sim_bytes(h.disk) + at, after + at, HG_DISK_SIM_SECTOR_BYTES);
        }
        hg_disk_sim_settle(h.disk);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        harness_check_recovered(&h);
        harness_check_reads(&h);
        CU_ASSERT_EQUAL(segment_count(),
                        done * HG_DISK_SIM_SECTOR_BYTES < bytes / 2 ? SEGMENTS : SEGMENTS + MORE);
        sizes[segment_count() != SEGMENTS]++;
        write_on(2 * SEGMENTS, 4);
        come_back(true);
        audit_check();
        harness_destroy(&h);
    }
    CU_ASSERT(sizes[0] > 0 && sizes[1] > 0);
    free(before);
    free(after);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_growth", NULL, NULL);
    CU_add_test(suite, "the places of a log that never grew", test_never_grown);
    CU_add_test(suite, "what is in use stays where it is", test_places);
    CU_add_test(suite, "a table that cannot be is refused", test_tables_refused);
    CU_add_test(suite, "sizes that are refused", test_refusals);
    CU_add_test(suite, "full logs grow at every position", test_grows_anywhere);
    CU_add_test(suite, "crash at every step", test_crash_at_every_step);
    CU_add_test(suite, "crash after every sector of the superblocks", test_crash_after_every_sector);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
