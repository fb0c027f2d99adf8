/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/dataplane/transport/lane_sim_checked.h"
#include <stdlib.h>

static void test_clean_link(void)
{
    struct sim_config config = sim_config_default(1);
    config.batches[0] = 300;
    config.batches[1] = 0;
    struct sim_result result = run_checked(&config, "clean link");
    CU_ASSERT(result.stats[0].packets_lost == 0);
    CU_ASSERT(result.stats[0].data_bytes_resent == 0);
    CU_ASSERT(result.stats[0].probes_sent == 0);
    CU_ASSERT(result.stats[0].batches_sent == 300);
    CU_ASSERT(result.stats[1].batches_received == 300);
    CU_ASSERT(result.stats[1].data_bytes_received == result.stats[0].data_bytes_sent);
    CU_ASSERT(result.stats[1].data_bytes_duplicate == 0);
    CU_ASSERT(result.stats[0].rtt_min_ns >= 10 * HG_NS_PER_MS &&
              result.stats[0].rtt_min_ns < 12 * HG_NS_PER_MS);
    /* 3 MB at 50 MB/s: about 60 ms besides the round trips. */
    CU_ASSERT(result.end_ns < 200 * HG_NS_PER_MS);
    /* Not more often than every packet, not much more seldom than every 32. */
    CU_ASSERT(result.stats[1].acks_sent * 40 > result.stats[1].packets_received);
    CU_ASSERT(result.stats[1].acks_sent * 4 < result.stats[1].packets_received);
}

static void test_bad_links(void)
{
    static const uint32_t losses[] = {0, 1, 10, 50, 200};
    static const uint32_t mtus[] = {1500, 9000, 600, 1500};
    for (uint64_t seed = 1; seed <= 240; seed++) {
        uint64_t random = seed * 7919;
        struct sim_config config = sim_config_default(seed);
        config.link.loss_per_mille = losses[sim_random(&random) % HG_COUNT(losses)];
        config.link.duplicate_per_mille = (uint32_t)(sim_random(&random) % 3 * 50);
        config.link.reorder_per_mille = (uint32_t)(sim_random(&random) % 3 * 100);
        config.link.delay_ns =
            (1 + sim_random(&random) % 100000) * HG_NS_PER_US / (1 + sim_random(&random) % 50);
        config.link.jitter_ns = sim_random(&random) % 3 * HG_NS_PER_MS;
        config.link.reorder_ns = sim_random(&random) % 4 * 300 * HG_NS_PER_MS;
        config.mtu_bytes = mtus[sim_random(&random) % HG_COUNT(mtus)];
        config.packets_in_flight_max = 64u << sim_random(&random) % 5;
        config.rate_bytes_per_s = sim_random(&random) % 4 == 0 ? 0 : 1000000u << sim_random(&random) % 8;
        config.batch_bytes_max = 300u << sim_random(&random) % 9;
        config.read_null_per_mille = (uint32_t)(sim_random(&random) % 3 * 200);
        config.again_per_mille = (uint32_t)(sim_random(&random) % 3 * 300);
        config.alias_count = 1 + (uint32_t)(sim_random(&random) % SIM_ALIASES_MAX);
        run_checked(&config, "bad link");
    }
}

static void test_reads_that_wait(void)
{
    struct sim_config config = sim_config_default(3);
    config.read_null_per_mille = 900;
    config.batches[0] = 100;
    struct sim_result result = run_checked(&config, "slow reads");
    CU_ASSERT(result.stats[0].read_stalls > 50);
}

/* The receiver has no room for a second: the sender must stop at the credit and go on by itself afterwards.
 */
static void test_long_again(void)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct sim_config config = sim_config_default(seed);
        config.batches[0] = 60;
        config.batches[1] = 0;
        config.batch_bytes_min = 100000;
        config.batch_bytes_max = 200000;
        config.rate_bytes_per_s = 200000000;
        config.again_until_ns = HG_NS_PER_S;
        config.link.loss_per_mille = seed % 2 ? 100 : 0;
        struct sim_result result = run_checked(&config, "long again");
        CU_ASSERT(result.stats[0].credit_stalls > 0);
        CU_ASSERT(result.end_ns > HG_NS_PER_S && result.end_ns < 3 * HG_NS_PER_S);
    }
}

static void test_blackout(void)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct sim_config config = sim_config_default(seed);
        config.batches[0] = 200;
        config.batch_bytes_max = 40000;
        config.rate_bytes_per_s = 20000000;
        config.link.delay_ns = 30 * HG_NS_PER_MS;
        config.link.cut_from_ns = 100 * HG_NS_PER_MS;
        config.link.cut_to_ns = config.link.cut_from_ns + 3 * HG_NS_PER_S;
        config.link.loss_per_mille = seed % 3 * 30;
        struct sim_result result = run_checked(&config, "blackout");
        CU_ASSERT(result.stats[0].probes_sent > 3 && result.stats[0].probes_sent < 60);
        CU_ASSERT(result.end_ns < 5 * HG_NS_PER_S);
    }
}

/* The path carries less than the link from the start, or from the middle of the transfer on. */
static void test_narrow_path(void)
{
    static const struct {
        uint32_t link, path, found;
        uint64_t from_ns;
    } table[] = {{1500, 1400, 1400, 0},
                 {1500, 1300, 1280, 200 * HG_NS_PER_MS},
                 {9000, 1500, 1500, 0},
                 {9000, 4100, 4000, 200 * HG_NS_PER_MS},
                 {1500, 1200, 1200, 200 * HG_NS_PER_MS}};
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        for (uint64_t seed = 1; seed <= 4; seed++) {
            struct sim_config config = sim_config_default(seed);
            config.mtu_bytes = table[i].link;
            config.batches[0] = 400;
            config.batches[1] = 0;
            config.batch_bytes_max = 40000;
            config.rate_bytes_per_s = 5000000;
            config.link.delay_ns = 10 * HG_NS_PER_MS;
            config.link.loss_per_mille = seed % 3 * 10;
            config.link.narrow_from_ns = table[i].from_ns;
            config.link.narrow_to_ns = HG_TIME_NEVER;
            config.link.narrow_bytes = table[i].path;
            struct sim_result result = run_checked(&config, "narrow path");
            CU_ASSERT_EQUAL(result.stats[0].path_mtu_bytes, table[i].found);
            CU_ASSERT(result.stats[0].pmtu_probes_lost >= HG_PMTU_PROBES_MAX);
            CU_ASSERT(result.end_ns < 5 * HG_NS_PER_S);
        }
    }
}

/* A path that was narrow for a while is used whole again. */
static void test_path_widens(void)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct sim_config config = sim_config_default(seed);
        config.mtu_bytes = 9000;
        config.batches[0] = 400;
        config.batches[1] = 0;
        config.batch_bytes_max = 40000;
        config.rate_bytes_per_s = 400000;
        config.deadline_ns = 60 * HG_NS_PER_S;
        config.link.delay_ns = 10 * HG_NS_PER_MS;
        config.link.narrow_to_ns = 2 * HG_NS_PER_S;
        config.link.narrow_bytes = 1500;
        struct sim_result result = run_checked(&config, "path widens");
        CU_ASSERT(result.end_ns > HG_PMTU_RAISE_NS_MIN);
        CU_ASSERT(result.stats[0].pmtu_probes_lost >= HG_PMTU_PROBES_MAX);
        CU_ASSERT_EQUAL(result.stats[0].path_mtu_bytes, 9000);
    }
}

static void test_largest_batch(void)
{
    struct sim_config config = sim_config_default(5);
    config.batches[0] = 6;
    config.batch_bytes_min = 1u << 20;
    config.batch_bytes_max = HG_BATCH_BYTES_MAX & ~15u;
    config.rate_bytes_per_s = 0;
    config.packets_in_flight_max = 4096;
    config.link.loss_per_mille = 20;
    config.link.reorder_per_mille = 50;
    config.link.reorder_ns = 5 * HG_NS_PER_MS;
    run_checked(&config, "largest batches");
}

static void test_small_batches(void)
{
    struct sim_config config = sim_config_default(6);
    config.batches[0] = 8000;
    config.batch_bytes_min = 256;
    config.batch_bytes_max = 256;
    config.link.loss_per_mille = 10;
    struct sim_result result = run_checked(&config, "small batches");
    /* Five ride in one packet. */
    CU_ASSERT(result.stats[0].packets_sent < 2500);
}

/* The window: with a fixed rate not more in flight than twice what the path holds. */
static void test_bytes_in_flight(void)
{
    struct sim_config config = sim_config_default(7);
    config.batches[0] = 400;
    config.rate_bytes_per_s = 10000000;
    config.link.delay_ns = 25 * HG_NS_PER_MS;
    struct sim_result result = run_checked(&config, "in flight");
    /* 10 MB/s x 50 ms = 500 kB; the first window is made for the initial guess of 100 ms. */
    CU_ASSERT(result.in_flight_max < 1200000);
    CU_ASSERT(result.in_flight_max > 400000);
}

static void test_memory(void)
{
    struct hg_lane_config config = {
        .packets_in_flight_max = 16384, .receive_bytes_max = 32u << 20, .mtu_bytes = 1500};
    CU_ASSERT(hg_lane_bytes(&config) < (48u << 20));
    CU_ASSERT(hg_lane_bytes(&config) % HG_CACHE_LINE_BYTES == 0);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lane", NULL, NULL);
    CU_add_test(suite, "clean link", test_clean_link);
    CU_add_test(suite, "bad links", test_bad_links);
    CU_add_test(suite, "reads that wait", test_reads_that_wait);
    CU_add_test(suite, "long again", test_long_again);
    CU_add_test(suite, "blackout", test_blackout);
    CU_add_test(suite, "narrow path", test_narrow_path);
    CU_add_test(suite, "a path that widens", test_path_widens);
    CU_add_test(suite, "largest batch", test_largest_batch);
    CU_add_test(suite, "small batches", test_small_batches);
    CU_add_test(suite, "bytes in flight", test_bytes_in_flight);
    CU_add_test(suite, "memory", test_memory);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
