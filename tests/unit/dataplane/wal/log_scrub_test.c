/* SPDX-License-Identifier: Apache-2.0
 *
 * Scrub: rot at rest is found without a reader, at a bounded rate, with what the device has left; what is
 * whole is never called rotten, also while segments are used again under it.
 */
#include "dataplane/wal/log_heal.h"
#include "dataplane/wal/log_scrub.h"
#include "log_harness.h"

#define RATE (1u << 20)

static struct harness h;

static struct hg_log_stats stats(void)
{
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    return stats;
}

static void scrub_open(uint64_t bytes_per_s)
{
    struct hg_log_config config = {.disk = h.disk,
                                   .arena = h.arena,
                                   .arena_bytes = h.arena_bytes,
                                   .cluster = 7,
                                   .scrub_bytes_per_s = bytes_per_s,
                                   .ops = &harness_ops,
                                   .ctx = &h};
    h.recovered = h.first;
    h.recovered_wrong = false;
    hg_disk_sim_time_set(h.disk, h.now_ns);
    h.log = hg_log_open(&config);
    CU_ASSERT_PTR_NOT_NULL_FATAL(h.log);
    while (hg_log_state(h.log) == HG_LOG_RECOVERING)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    CU_ASSERT_EQUAL_FATAL(hg_log_state(h.log), HG_LOG_READY);
}

static void prepare(uint64_t seed, uint32_t writes, uint64_t bytes_per_s)
{
    harness_create(&h, seed, 24);
    scrub_open(bytes_per_s);
    for (uint32_t i = 0; i < writes; i++) {
        CU_ASSERT_FATAL(harness_append(&h, 4, 1500) != 0);
        hg_log_close_write(h.log);
        while (hg_log_durable_sequence(h.log) < i + 1)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    }
}

static void run_ns(uint64_t ns)
{
    uint64_t until_ns = h.now_ns + ns;
    struct hg_log_heal_want want;
    while (h.now_ns < until_ns && harness_turn(&h))
        while (hg_log_heal_wants(h.log, &want)) /* there is no peer */
            hg_log_heal_give_up(h.log);
}

static uint64_t offset_of(uint64_t sequence)
{
    return harness_offset_in(&h, hg_disk_sim_bytes(h.disk), sequence);
}

/* Every block of a write in turn; the log stays up, and the rest is still read. */
static void test_rot(void)
{
    prepare(1, 40, RATE);
    run_ns(12 * HG_NS_PER_S);
    CU_ASSERT(stats().scrub_passes > 0);
    CU_ASSERT_EQUAL(stats().scrub_corrupt, 0);
    uint64_t found = 0;
    for (uint32_t i = 0; i < 3; i++) { /* the header last: that is mended without anybody */
        uint32_t block = (i + 1) % 3;
        uint64_t at = offset_of(5) + (uint64_t)block * HG_LOG_BLOCK_BYTES + 50;
        hg_disk_sim_bytes(h.disk)[at] ^= 1;
        hg_disk_sim_settle(h.disk);
        uint64_t passes = stats().scrub_passes;
        while (stats().scrub_passes < passes + 2)
            run_ns(HG_NS_PER_S);
        CU_ASSERT(stats().scrub_corrupt > found);
        CU_ASSERT_EQUAL(stats().scrub_corrupt_sequence, 5);
        CU_ASSERT_EQUAL(hg_log_state(h.log), HG_LOG_READY);
        hg_disk_sim_bytes(h.disk)[at] ^= 1;
        hg_disk_sim_settle(h.disk);
        passes = stats().scrub_passes;
        while (stats().scrub_passes < passes + 2)
            run_ns(HG_NS_PER_S);
        found = stats().scrub_corrupt;
    }
    CU_ASSERT(stats().scrub_pass_end_ns > 0);
    while (stats().repairs == 0 && h.now_ns < 600 * HG_NS_PER_S)
        run_ns(HG_NS_PER_S);
    CU_ASSERT_EQUAL(stats().repairs, 1);
    harness_check_reads(&h);
    harness_destroy(&h);
}

/* A whole write of another history at its place: its blocks are right, the chain of headers is not. */
static void test_misplaced(void)
{
    prepare(2, 40, RATE);
    struct hg_log_write_header *header =
        (struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + offset_of(6));
    header->previous_crc32c ^= 1;
    hg_log_write_header_seal(header, (const uint8_t *)header + HG_LOG_BLOCK_BYTES);
    hg_disk_sim_settle(h.disk);
    run_ns(25 * HG_NS_PER_S);
    CU_ASSERT(stats().scrub_corrupt > 0);
    CU_ASSERT(stats().scrub_corrupt_sequence == 6 || stats().scrub_corrupt_sequence == 7);
    harness_destroy(&h);
}

/* A device that errs once is read again; one that goes on is named. */
static void test_errors(void)
{
    prepare(3, 40, RATE);
    hg_disk_sim_fail(h.disk, HG_DISK_READ, 1, EIO);
    uint64_t passes = stats().scrub_passes;
    while (stats().scrub_passes < passes + 2)
        run_ns(HG_NS_PER_S);
    CU_ASSERT_EQUAL(stats().scrub_corrupt, 0);
    CU_ASSERT(stats().reads_again > 0);
    hg_disk_sim_fail_all(h.disk, HG_DISK_READ, EIO);
    run_ns(30 * HG_NS_PER_S);
    CU_ASSERT(stats().scrub_corrupt > 0);
    CU_ASSERT_EQUAL(hg_log_state(h.log), HG_LOG_READY);
    harness_destroy(&h);
}

static void test_rate(void)
{
    prepare(4, 60, RATE / 8);
    while (stats().scrub_bytes == 0)
        run_ns(HG_NS_PER_S);
    uint64_t begin = stats().scrub_bytes;
    run_ns(2 * HG_NS_PER_S);
    CU_ASSERT(stats().scrub_bytes > begin);
    CU_ASSERT(stats().scrub_bytes - begin <= RATE / 4 + HG_LOG_SCRUB_READ_BYTES);
    harness_destroy(&h);
    prepare(4, 60, 0);
    run_ns(60 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(stats().scrub_bytes, 0);
    harness_destroy(&h);
}

/* Under writers that never rest it reads once a second at most; segments are used again meanwhile, and
 * nothing that is whole is called rotten. */
static void test_busy(void)
{
    prepare(5, 60, 100 * RATE);
    uint64_t reads_begin = stats().scrub_bytes, begin_ns = h.now_ns;
    for (uint32_t i = 0; i < 3000; i++) {
        harness_release(&h, hg_log_durable_sequence(h.log));
        (void)harness_append(&h, 4, 1500);
        hg_log_close_write(h.log);
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    }
    uint64_t seconds = (h.now_ns - begin_ns) / HG_NS_PER_S + 1;
    CU_ASSERT(hg_log_tail_sequence(h.log) > 60);
    CU_ASSERT(stats().scrub_bytes - reads_begin <= 40 * seconds * HG_LOG_SCRUB_READ_BYTES);
    CU_ASSERT_EQUAL(stats().scrub_corrupt, 0);
    for (uint32_t i = 0; i < 300; i++) {
        harness_release(&h, hg_log_durable_sequence(h.log));
        (void)harness_append(&h, 4, 1500);
        hg_log_close_write(h.log);
        run_ns(HG_NS_PER_S / 2);
    }
    CU_ASSERT(stats().scrub_passes > 3);
    CU_ASSERT_EQUAL(stats().scrub_corrupt, 0);
    harness_destroy(&h);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_scrub", NULL, NULL);
    CU_add_test(suite, "rot", test_rot);
    CU_add_test(suite, "another history", test_misplaced);
    CU_add_test(suite, "errors", test_errors);
    CU_add_test(suite, "rate", test_rate);
    CU_add_test(suite, "beside writers", test_busy);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
