/* SPDX-License-Identifier: Apache-2.0
 *
 * Lanes with parity: every byte still comes once and in order whatever the link does, and what a loss costs.
 */
#include "tests/unit/dataplane/transport/lane_sim_checked.h"

/* All that a link can do, with every mode, packets of every size, light and heavy load. */
static void test_bad_links(void)
{
    static const uint32_t losses[] = {0, 1, 10, 50, 200};
    static const uint32_t mtus[] = {1500, 9000, 600, 1500};
    static const uint8_t modes[] = {HG_FEC_AUTO, HG_FEC_AUTO, HG_FEC_AUTO, 1, 2, 4, 8};
    uint64_t recovered = 0;
    uint64_t spurious = 0;
    for (uint64_t seed = 1; seed <= 240; seed++) {
        uint64_t random = seed * 7919;
        struct sim_config config = sim_config_default(seed);
        config.fec = modes[sim_random(&random) % HG_COUNT(modes)];
        config.congestion = (uint8_t)(sim_random(&random) % HG_CC_KIND_COUNT);
        config.link.loss_per_mille = losses[sim_random(&random) % HG_COUNT(losses)];
        config.link.burst_packets = (uint32_t)(sim_random(&random) % 3 * 4);
        config.link.duplicate_per_mille = (uint32_t)(sim_random(&random) % 3 * 50);
        config.link.reorder_per_mille = (uint32_t)(sim_random(&random) % 3 * 100);
        config.link.delay_ns = (5 + sim_random(&random) % 100) * HG_NS_PER_MS;
        config.link.jitter_ns = sim_random(&random) % 3 * HG_NS_PER_MS;
        config.link.reorder_ns = sim_random(&random) % 4 * 300 * HG_NS_PER_MS;
        config.mtu_bytes = mtus[sim_random(&random) % HG_COUNT(mtus)];
        config.packets_in_flight_max = 64u << sim_random(&random) % 5;
        config.rate_bytes_per_s = 1000000u << sim_random(&random) % 8;
        config.batch_bytes_max = 300u << sim_random(&random) % 9;
        config.read_null_per_mille = (uint32_t)(sim_random(&random) % 3 * 200);
        config.again_per_mille = (uint32_t)(sim_random(&random) % 3 * 300);
        config.alias_count = 1 + (uint32_t)(sim_random(&random) % SIM_ALIASES_MAX);
        config.gap_ns = sim_random(&random) % 2 * 5 * HG_NS_PER_MS;
        config.batches[0] = 60;
        config.deadline_ns = 600 * HG_NS_PER_S;
        struct sim_result result = run_checked(&config, "bad link");
        for (uint32_t i = 0; i < 2; i++) {
            recovered += result.stats[i].fec_recovered;
            spurious += result.stats[i].packets_spurious;
            CU_ASSERT(result.stats[i].fec_recovered_there <= result.stats[1 - i].fec_recovered);
            CU_ASSERT(result.stats[i].fec_parity_received <= result.stats[1 - i].fec_parity_sent);
        }
    }
    CU_ASSERT(recovered > 500 && spurious > 500);
}

static void test_off_costs_nothing(void)
{
    struct sim_config config = sim_config_default(3);
    config.link.loss_per_mille = 20;
    config.link.delay_ns = 30 * HG_NS_PER_MS;
    struct sim_result result = run_checked(&config, "off");
    CU_ASSERT(result.stats[0].fec_groups + result.stats[0].fec_parity_sent == 0);
    config.fec = HG_FEC_AUTO;
    config.link.delay_ns = 2 * HG_NS_PER_MS; /* a repair is as fast */
    result = run_checked(&config, "near");
    CU_ASSERT(result.stats[0].fec_parity_sent + result.stats[1].fec_parity_sent == 0);
    CU_ASSERT_STRING_EQUAL(result.stats[0].fec, "off: near");
}

/* A backlog has no latency to save: next to no parity. */
static void test_backlog(void)
{
    struct sim_config config = sim_config_default(4);
    config.fec = HG_FEC_AUTO;
    config.batches[0] = 3000;
    config.batches[1] = 0;
    config.control_count = 0;
    config.rate_bytes_per_s = 10000000;
    config.link.delay_ns = 20 * HG_NS_PER_MS;
    config.link.loss_per_mille = 10;
    struct sim_result result = run_checked(&config, "backlog");
    CU_ASSERT(result.stats[0].packets_sent > 15000);
    CU_ASSERT(result.stats[0].fec_parity_sent * 100 < result.stats[0].packets_sent);
}

/* Small commits on a long link that loses one packet in a hundred: with parity at most a third of the stalls
 * are left, though losses are seen as before. */
static void test_stalls(void)
{
    static const struct {
        uint32_t batch_bytes_max, burst, share;
    } cases[] = {{600, 1, 10}, {8000, 1, 10}, {60000, 1, 3}};
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        struct sim_result without = {0}, with = {0};
        uint64_t stalls[2] = {0, 0};
        uint64_t lost[2] = {0, 0};
        for (uint64_t seed = 1; seed <= 6; seed++) {
            struct sim_config config = sim_config_default(seed);
            config.batches[0] = 600;
            config.batches[1] = 0;
            config.control_count = 0;
            config.alias_count = 1;
            config.batch_bytes_max = cases[i].batch_bytes_max;
            config.link.delay_ns = 40 * HG_NS_PER_MS;
            config.link.loss_per_mille = 10;
            config.link.burst_packets = cases[i].burst;
            config.gap_ns = 10 * HG_NS_PER_MS;
            config.stall_ns = 10 * HG_NS_PER_MS;
            without = run_checked(&config, "without parity");
            config.fec = HG_FEC_AUTO;
            with = run_checked(&config, "with parity");
            stalls[0] += without.stalls;
            stalls[1] += with.stalls;
            lost[0] += with.lost;
            lost[1] += with.stats[0].packets_lost + with.stats[1].packets_lost;
            CU_ASSERT(with.stats[0].fec_recovered_there == with.stats[1].fec_recovered);
        }
        if (stalls[1] * cases[i].share > stalls[0]) {
            printf("\nup to %u bytes: %llu stalls without, %llu with\n", cases[i].batch_bytes_max,
                   (unsigned long long)stalls[0], (unsigned long long)stalls[1]);
        }
        CU_ASSERT(stalls[0] > 30);
        CU_ASSERT(stalls[1] * cases[i].share <= stalls[0]);
        /* Acks are lost, too, and nobody notices. */
        CU_ASSERT(lost[1] * 2 > lost[0]);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lane_fec", NULL, NULL);
    CU_add_test(suite, "bad links", test_bad_links);
    CU_add_test(suite, "off costs nothing", test_off_costs_nothing);
    CU_add_test(suite, "backlog", test_backlog);
    CU_add_test(suite, "stalls", test_stalls);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
