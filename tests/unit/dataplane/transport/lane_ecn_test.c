/* SPDX-License-Identifier: Apache-2.0
 *
 * Lanes whose packets are marked: on paths that keep the codepoint, clear it, change it or drop what has it,
 * before a queue that marks, and with a peer that does not say what it saw.
 */
#include "tests/unit/dataplane/transport/bottleneck.h"
#include "tests/unit/dataplane/transport/lane_sim_checked.h"
#include "tests/unit/sanitized.h"

#define MS HG_NS_PER_MS

static bool stats_say(const struct hg_lane_stats *stats, const char *ecn)
{
    bool same = strcmp(stats->ecn, ecn) == 0;
    if (!same) {
        printf("\necn %s, expected %s\n", stats->ecn, ecn);
    }
    return same;
}

/* Loss, doubles, reordering, parity, refused packets: what is counted is always what is acknowledged. */
static void test_bad_links_keep_it(void)
{
    for (uint64_t seed = 1; seed <= HG_TEST_SEEDS(120); seed++) {
        uint64_t random = seed * 7919;
        struct sim_config config = sim_config_default(seed);
        config.ecn = true;
        config.link.loss_per_mille = (uint32_t)(sim_random(&random) % 4 * 60);
        config.link.burst_packets = 1 + (uint32_t)(sim_random(&random) % 8);
        config.link.duplicate_per_mille = (uint32_t)(sim_random(&random) % 3 * 50);
        config.link.reorder_per_mille = (uint32_t)(sim_random(&random) % 3 * 200);
        config.link.reorder_ns = sim_random(&random) % 4 * 300 * MS;
        config.link.mark_per_mille = (uint32_t)(sim_random(&random) % 4 * 100);
        config.packets_in_flight_max = 64u << sim_random(&random) % 5;
        config.rate_bytes_per_s = 1000000u << sim_random(&random) % 8;
        config.fec = sim_random(&random) % 2 ? 255 : 0;
        config.congestion = (uint8_t)(sim_random(&random) % HG_CC_KIND_COUNT);
        config.deadline_ns = 600 * HG_NS_PER_S; /* cubic takes each of them for a full queue */
        config.again_per_mille = (uint32_t)(sim_random(&random) % 3 * 300);
        config.batches[0] = 100;
        struct sim_result result = run_checked(&config, "bad link with ecn");
        for (uint32_t i = 0; i < 2; i++) {
            const struct hg_lane_stats *stats = &result.stats[i];
            CU_ASSERT(stats_say(stats, "on"));
            CU_ASSERT(stats->ecn_sent > 0 && stats->ecn_failed == 0 && stats->ecn_remarked == 0);
            CU_ASSERT(stats->ecn_marked_there <= result.stats[1 - i].ecn_marked);
        }
        CU_ASSERT(result.marked == 0 || config.link.loss_per_mille > 0 ||
                  result.stats[0].ecn_marked + result.stats[1].ecn_marked > 0);
    }
}

/* Whatever the path does to the codepoint, all arrives, in about the time that it takes without ECN. */
static void test_bad_paths(void)
{
    static const struct {
        enum sim_ecn_path path;
        uint64_t from_ns;
        const char *ecn;
        uint64_t most_ns; /* longer than without ECN */
    } table[] = {
        {SIM_ECN_BLEACHED, 0, "bleached", MS},         {SIM_ECN_BLEACHED, 100 * MS, "bleached", MS},
        {SIM_ECN_REMARKED, 0, "bleached", MS},         {SIM_ECN_REMARKED, 100 * MS, "bleached", MS},
        {SIM_ECN_DROPPED, 0, "black-hole", 4000 * MS}, {SIM_ECN_DROPPED, 100 * MS, "black-hole", 1000 * MS}};
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        struct sim_config config = sim_config_default(i + 1);
        config.batches[0] = 600;
        config.batches[1] = 0;
        config.rate_bytes_per_s = 10000000;
        struct sim_result plain = run_checked(&config, "path without ecn");
        config.ecn = true;
        config.link.ecn_path = table[i].path;
        config.link.ecn_from_ns = table[i].from_ns;
        struct sim_result result = run_checked(&config, "bad path");
        CU_ASSERT(stats_say(&result.stats[0], table[i].ecn));
        CU_ASSERT_EQUAL(result.stats[0].ecn_failed, 1);
        CU_ASSERT_EQUAL(result.stats[0].ecn_marked_there, 0);
        CU_ASSERT_EQUAL(result.stats[1].ecn_remarked > 0, table[i].path == SIM_ECN_REMARKED);
        CU_ASSERT(result.end_ns <= plain.end_ns + table[i].most_ns);
    }
}

/* A path that sets CE in all packets that are marked, or in all. */
static void test_all_ce(void)
{
    struct sim_config config = sim_config_default(1);
    config.ecn = true;
    config.batches[0] = 1000;
    config.batches[1] = 0;
    config.congestion = HG_CC_CUBIC;
    config.link.mark_per_mille = 1000;
    struct sim_result result = run_checked(&config, "all marked");
    CU_ASSERT(stats_say(&result.stats[0], "all-ce"));
    config.link.ecn_path = SIM_ECN_ALL_CE;
    result = run_checked(&config, "all CE");
    CU_ASSERT(stats_say(&result.stats[0], "invented"));
    /* Marked acks ask for no acks. */
    CU_ASSERT(result.packets < 20000);
}

/* A cut is no black hole: after it packets are marked as before. */
static void test_cut(void)
{
    for (uint64_t seed = 1; seed <= HG_TEST_SEEDS(8); seed++) {
        struct sim_config config = sim_config_default(seed);
        config.ecn = true;
        config.batches[0] = 200;
        config.batch_bytes_max = 40000;
        config.rate_bytes_per_s = 20000000;
        config.link.cut_from_ns = seed % 2 * 50 * MS;
        config.link.cut_to_ns = config.link.cut_from_ns + 2000 * MS;
        struct sim_result result = run_checked(&config, "cut with ecn");
        CU_ASSERT(stats_say(&result.stats[0], "on") && stats_say(&result.stats[1], "on"));
    }
}

#define QUEUE 400000u

static struct bottleneck_result queue_run(enum hg_cc_kind kind, bool ecn, bool hidden)
{
    const struct bottleneck_config config = {.seed = 1,
                                             .rate_bytes_per_s = 12500000,
                                             .queue_bytes = QUEUE,
                                             .mark_bytes = QUEUE / 4,
                                             .ecn = ecn,
                                             .marks_hidden = hidden,
                                             .delay_ns = 20 * MS,
                                             .flow_count = 1,
                                             .kind = kind,
                                             .measure_from_ns = 5 * HG_NS_PER_S,
                                             .end_ns = 25 * HG_NS_PER_S};
    return bottleneck_run(&config);
}

/* A queue that marks from a quarter on: the link stays busy, nothing is lost, the queue is short. */
static void test_queue_that_marks(void)
{
    static const struct {
        enum hg_cc_kind kind;
        uint32_t used_per_mille;
        uint64_t queue_bytes;
    } table[] = {{HG_CC_CUBIC, 900, QUEUE / 4}, {HG_CC_BBR, 900, QUEUE / 4}};
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        struct bottleneck_result lost = queue_run(table[i].kind, false, false);
        struct bottleneck_result marked = queue_run(table[i].kind, true, false);
        CU_ASSERT(stats_say(&marked.stats[0], "on"));
        CU_ASSERT(marked.stats[0].ecn_marked_there > 0);
        CU_ASSERT(marked.used_per_mille >= table[i].used_per_mille);
        CU_ASSERT(marked.queue_bytes_mean <= table[i].queue_bytes);
        CU_ASSERT(marked.stats[0].packets_lost < lost.stats[0].packets_lost ||
                  lost.stats[0].packets_lost == 0);
    }
}

/* Two flows whose packets are marked: the second one begins later, and both get about the same. */
static void test_two_flows_share(void)
{
    for (int kind = HG_CC_CUBIC; kind < HG_CC_KIND_COUNT; kind++) {
        const struct bottleneck_config config = {.seed = 1,
                                                 .rate_bytes_per_s = 12500000,
                                                 .queue_bytes = QUEUE,
                                                 .mark_bytes = QUEUE / 4,
                                                 .ecn = true,
                                                 .delay_ns = 20 * MS,
                                                 .flow_count = 2,
                                                 .kind = kind,
                                                 .flow_start_ns = {1000, 2 * HG_NS_PER_S},
                                                 .measure_from_ns = 10 * HG_NS_PER_S,
                                                 .end_ns = 40 * HG_NS_PER_S};
        struct bottleneck_result result = bottleneck_run(&config);
        uint64_t all = result.carried_bytes[0] + result.carried_bytes[1];
        CU_ASSERT(result.used_per_mille >= 950 && result.queue_bytes_mean <= QUEUE / 4);
        for (uint32_t i = 0; i < 2; i++) {
            CU_ASSERT(result.carried_bytes[i] >= all * 2 / 5);
            CU_ASSERT(stats_say(&result.stats[i], "on") && result.stats[i].ecn_marked_there > 0);
        }
    }
}

/* A receiver that hides marks makes its sender one without ECN, and no faster. */
static void test_marks_hidden(void)
{
    for (int kind = HG_CC_CUBIC; kind < HG_CC_KIND_COUNT; kind++) {
        struct bottleneck_result plain = queue_run(kind, false, false);
        struct bottleneck_result hidden = queue_run(kind, true, true);
        CU_ASSERT_EQUAL(hidden.stats[0].ecn_marked_there, 0);
        CU_ASSERT_EQUAL(hidden.carried_bytes[0], plain.carried_bytes[0]);
        CU_ASSERT_EQUAL(hidden.stats[0].packets_lost, plain.stats[0].packets_lost);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lane_ecn", NULL, NULL);
    CU_add_test(suite, "bad links keep it", test_bad_links_keep_it);
    CU_add_test(suite, "bad paths", test_bad_paths);
    CU_add_test(suite, "all CE", test_all_ce);
    CU_add_test(suite, "cut", test_cut);
    CU_add_test(suite, "two flows share", test_two_flows_share);
    if (!HG_TEST_IS_SANITIZED) {
        CU_add_test(suite, "queue that marks", test_queue_that_marks);
        CU_add_test(suite, "marks hidden", test_marks_hidden);
    }
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
