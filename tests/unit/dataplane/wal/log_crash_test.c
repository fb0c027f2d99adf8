/* SPDX-License-Identifier: Apache-2.0
 *
 * Random work, power loss and kills at any step, also during recovery, hundreds of seeds: what was
 * acknowledged is there with the same bytes, nothing is invented, the order is kept, and recovery never calls
 * a crash corruption.
 */
#include "log_harness.h"
#include "tests/unit/sanitized.h"

/* By default few enough for every build; `log_crash_test 20000` is a night's work. */
#define SEEDS_DEFAULT HG_TEST_SEEDS(120)

static struct harness h;
static uint64_t seeds = SEEDS_DEFAULT;
static uint64_t lives, recovery_crashes, torn, kept_beyond, reused;

/* Some turns of work; stops anywhere. */
static void work(uint32_t steps)
{
    bool reads = hg_random_chance(&h.random, 1, 4);
    uint32_t bytes_max = hg_random_chance(&h.random, 1, 2) ? 200 : 3000;
    bool releases = hg_random_chance(&h.random, 3, 4);
    for (uint32_t i = 0; i < steps; i++) {
        switch (hg_random_below(&h.random, 6)) {
        case 0:
        case 1:
            harness_append(&h, 1 + (uint32_t)hg_random_below(&h.random, 8), bytes_max);
            break;
        case 2:
            if (hg_log_wants_close(h.log) || hg_random_chance(&h.random, 1, 4))
                hg_log_close_write(h.log);
            break;
        case 3:
            if (releases && hg_log_durable_sequence(h.log) > 5)
                harness_release(&h, hg_log_durable_sequence(h.log) + 1 - hg_random_below(&h.random, 5));
            break;
        case 4:
            if (hg_random_chance(&h.random, 1, 8)) {
                struct hg_local_record record = {.type = HG_LOCAL_CONSUMER, .name = "x", .lsn = i};
                hg_log_append_records(h.log, &record, 1);
            }
            h.now_ns += hg_random_below(&h.random, 400000);
            break;
        default:
            CU_ASSERT_NOT_EQUAL_FATAL(hg_log_state(h.log), HG_LOG_FAILED);
            if (!harness_turn(&h))
                h.now_ns += 1000;
            break;
        }
        static uint32_t walker;
        if (reads && i % 64 == 0)
            hg_log_prefetch(h.log, hg_log_tail_sequence(h.log), &walker);
    }
}

/* True when recovered; false when the lights went out again on the way. */
static bool recover_or_crash(void)
{
    harness_open(&h);
    bool crashes = hg_random_chance(&h.random, 1, 3);
    uint64_t steps = crashes ? hg_random_below(&h.random, 50) : UINT64_MAX;
    while (hg_log_state(h.log) == HG_LOG_RECOVERING) {
        if (steps-- == 0)
            return false;
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    }
    if (hg_log_state(h.log) == HG_LOG_FAILED)
        fprintf(stderr, "%s\n", hg_log_message(h.log));
    return true;
}

static void one_seed(uint64_t seed)
{
    harness_create(&h, seed, HG_LOG_SEGMENTS_MIN + seed % 4);
    h.disk->is_dsync = seed / 4 % 2 == 1;
    for (int life = 0; life < 5; life++) {
        size_t first = h.first;
        while (!recover_or_crash()) {
            uint64_t promised = h.durable_promised;
            h.first = first; /* the tail it read may have been in the device's cache only */
            harness_crash(&h, hg_random_chance(&h.random, 1, 2));
            h.durable_promised = promised; /* nothing is acknowledged while recovering */
            recovery_crashes++;
        }
        CU_ASSERT_EQUAL_FATAL(hg_log_state(h.log), HG_LOG_READY);
        size_t count = h.count;
        harness_check_recovered(&h);
        torn += h.count < count;
        kept_beyond += hg_log_durable_sequence(h.log) > h.durable_promised;
        if (life % 2 == 1)
            harness_check_reads(&h);
        work(20 + (uint32_t)hg_random_below(&h.random, 1200));
        reused += hg_log_tail_sequence(h.log) > 1;
        harness_crash(&h, hg_random_chance(&h.random, 3, 4));
        lives++;
    }
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    harness_check_reads(&h);
    harness_destroy(&h);
}

static void test_crashes(void)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        one_seed(seed);
        if (CU_get_number_of_failures() != 0) {
            fprintf(stderr, "first failing seed: %llu\n", (unsigned long long)seed);
            return;
        }
    }
    /* The test is worth something only if it saw all of these. */
    CU_ASSERT(torn > seeds);
    CU_ASSERT(kept_beyond > seeds / 3);
    CU_ASSERT(reused > seeds);
    CU_ASSERT(recovery_crashes > seeds / 2);
    printf("%llu lives, %llu tails torn, %llu unacknowledged tails kept, %llu crashes in recovery ",
           (unsigned long long)lives, (unsigned long long)torn, (unsigned long long)kept_beyond,
           (unsigned long long)recovery_crashes);
}

/* Crash after every single turn of a fixed piece of work. */
static void test_crash_at_every_step(void)
{
    for (uint32_t i = 0; i < 500; i++) {
        uint32_t stop = i / 2;
        harness_create(&h, 77, HG_LOG_SEGMENTS_MIN);
        h.disk->is_dsync = i % 2 == 1;
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        for (uint32_t step = 0; step < stop; step++) {
            harness_append(&h, 3, 2000);
            hg_log_close_write(h.log);
            harness_release(&h, hg_log_durable_sequence(h.log));
            harness_turn(&h);
        }
        harness_crash(&h, true);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        harness_check_recovered(&h);
        harness_check_reads(&h);
        harness_destroy(&h);
    }
}

/* The same seed, the same disk. */
static void test_deterministic(void)
{
    uint32_t crc[2];
    for (int run = 0; run < 2; run++) {
        harness_create(&h, 5, 6);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        work(2000);
        harness_crash(&h, true);
        crc[run] = hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
        harness_destroy(&h);
    }
    CU_ASSERT_EQUAL(crc[0], crc[1]);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seeds = strtoull(argv[1], NULL, 10);
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_crash", NULL, NULL);
    CU_add_test(suite, "crash at every step", test_crash_at_every_step);
    CU_add_test(suite, "crashes", test_crashes);
    CU_add_test(suite, "deterministic", test_deterministic);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
